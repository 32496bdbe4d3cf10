/* The numbers of metric/score.h as lines on stdout. */
#ifndef CLI_PRINT_VALUES_H
#define CLI_PRINT_VALUES_H

#include <jansson.h>

/* Those of a network among several; NULL: of the only one. */
void values_print(const json_t *values, const char *network);
/* What is of all networks together, where there is any. */
void values_print_mean(const json_t *values);

#endif
