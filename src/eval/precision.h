/* How sure a FID is, and what it would be with endless samples. */
#ifndef EVAL_PRECISION_H
#define EVAL_PRECISION_H

#include "base/error.h"
#include "eval/features.h"
#include "eval/frechet.h"

#include <stdbool.h>

enum {
    JACKKNIFE_BLOCKS = 20, /* of equal size, by position in the sample list: independent of shards and ranks */
    JACKKNIFE_LEAST = 200, /* samples below which a standard error means nothing */
    INFINITY_POINTS = 15,
};

/* A number, and what the delete-block jackknife says of it (Efron & Stein 1981; Kunsch 1989): the leading bias, of
 * order 1/N, is taken out of `corrected`; low..high is its 95 % interval by Student's t with 19 degrees. It covers
 * what the samples' randomness does, not the reference's. Near a distance of 0 the interval is wider than it need be.
 */
struct estimate {
    double value, corrected, error, low, high;
    bool rounded; /* the error can't be measured: it is below the rounding of these numbers, which `error` is then */
};

/* From the whole's value and those without each block. */
void jackknife(double value, const double without[JACKKNIFE_BLOCKS], struct estimate *estimate);
/* The same of the difference one - other of two such numbers, [0]: the whole's, of sets that share their blocks; 0
 * without error where all are the same. */
void jackknife_difference(const double one[1 + JACKKNIFE_BLOCKS], const double other[1 + JACKKNIFE_BLOCKS],
                          struct estimate *estimate);

/* Two-sided, of the hypothesis that what is estimated is 0: Student's t of corrected / error with 19 degrees. */
double jackknife_p(const struct estimate *estimate);
/* "p = 0.03", or "p < 1e-15". */
enum { P_TEXT = 20 };
void p_text(char text[P_TEXT], double p);
/* Replaces `count` p-values by those that Holm's step-down procedure (1979) makes of them, each of which may be held
 * against the same level however many there are. */
int holm(double *p, size_t count, struct error *err);

/* fids[0]: FID of all rows; fids[1 + k]: without block k. At least JACKKNIFE_LEAST rows. */
int fid_without_blocks(const struct features *features, const struct frechet *reference,
                       double fids[1 + JACKKNIFE_BLOCKS], struct error *err);

/* FID against 1/N over prefixes of the rows, N in 15 equal steps from 5,000 (a tenth of the rows, where there are fewer
 * than 50,000) to all, extrapolated to 1/N = 0 by least squares: Chong & Forsyth 2020. */
int fid_infinity(const struct features *features, const struct frechet *reference, double *value, struct error *err);

#endif
