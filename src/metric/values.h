/* Numbers with their errors as members of a JSON object, and differences of two such. */
#ifndef METRIC_VALUES_H
#define METRIC_VALUES_H

#include "base/error.h"
#include "eval/precision.h"
#include "eval/side.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Of how many samples the numbers of a side are. */
struct sample_counts {
    size_t rows;         /* whose features are there */
    bool own;            /* its statistics are a file's own, and not of these: */
    uint64_t statistics; /* of how many they are; 0: the file does not say */
};
struct sample_counts values_counts(const struct side *side);
/* The same as a number, or null where nobody says. New. */
json_t *values_count(const struct side *side);

/* CODE_DATA: no finite number. */
int value_set(json_t *values, const char *name, double value, struct error *err);
/* numbers[0], and where there are `enough` samples what those without each block say of it: NAME_corrected, NAME_error,
 * NAME_low, NAME_high, and NAME_without itself; without error, low and high (and that is said) where these numbers
 * differ by no more than rounding. */
int value_set_jackknifed(json_t *values, const char *name, const double numbers[1 + JACKKNIFE_BLOCKS], bool enough,
                         struct error *err);
/* Only numbers[0] and NAME_without, for paired differences: the whole's own correction would be of half of its bias. */
int value_set_uncorrected(json_t *values, const char *name, const double numbers[1 + JACKKNIFE_BLOCKS],
                          struct error *err);
/* The numbers of value_set_jackknifed; false: there are none without blocks. */
bool value_get_jackknifed(const json_t *values, const char *name, double numbers[1 + JACKKNIFE_BLOCKS]);
/* Puts values among those of other networks, as NETWORK.NAME; network NULL: by their own names. */
int values_put(json_t *to, const char *network, json_t *values, struct error *err);
/* For each number that has blocks in both: NAME_delta, the difference one - other of sets that share their seeds, row
 * by row, corrected for bias, with its paired standard error, NAME_delta_error, NAME_delta_low, NAME_delta_high, and
 * NAME_delta_p of jackknife_p; left out, and said, where its error is rounding. to may be `one`. */
int values_difference(json_t *to, const json_t *one, const json_t *other, struct error *err);
/* Beside each NAME_delta_p, where there are two or more, NAME_delta_p_holm. */
int values_holm(json_t *values, struct error *err);
/* The mean of NETWORK.NAME over all networks, as NAME, corrected and with its error where each is. */
int values_mean(json_t *values, const char *name, struct error *err);

#endif
