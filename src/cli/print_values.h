/* The numbers of metric/score.h as lines on stdout. */
#ifndef CLI_PRINT_VALUES_H
#define CLI_PRINT_VALUES_H

#include "cli/operands.h"

#include <jansson.h>

/* {"name", "sha256", "unknown": ["B"]}: the network that made the features of A, B, A2 and V (NULL: there is none), and
 * of which of them no file says so. New; NULL: no memory. */
json_t *values_network(const struct network_sides *sides);
/* The same as a line: "network        NAME 0123456789ab; unknown of B". */
void values_print_network(const struct network_sides *sides);

/* {"A": 5000, "B": null}: of how many samples each side's numbers are; null: its file does not say. New; NULL: no
 * memory. */
json_t *values_samples(const struct network_sides *sides);
/* The same as lines, with the operands' paths: "A              runs/x: 5000 samples". */
void values_print_samples(const struct network_sides *sides, const char *const paths[OPERANDS]);

/* Those of a network among several; NULL: of the only one. */
void values_print(const json_t *values, const char *network);
/* What is of all networks together, where there is any. */
void values_print_mean(const json_t *values);

#endif
