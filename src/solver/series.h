/* Truncated power series: a[0..order] stands for sum over k of a[k] h^k, terms beyond h^order dropped. `out` must be
 * another array than the inputs, except where it says "in place". order >= 0. */
#ifndef SOLVER_SERIES_H
#define SOLVER_SERIES_H

void series_add(int order, const double *a, const double *b, double *out); /* in place */
void series_scale(int order, double factor, const double *a, double *out); /* in place */
void series_mul(int order, const double *a, const double *b, double *out);
void series_div(int order, const double *a, const double *b, double *out); /* b[0] != 0 */
void series_exp(int order, const double *a, double *out);
void series_log(int order, const double *a, double *out);                      /* a[0] > 0 */
void series_sqrt(int order, const double *a, double *out);                     /* a[0] > 0 */
void series_compose(int order, const double *a, const double *b, double *out); /* a(b(h)); b[0] counts as 0 */
double series_value(int order, const double *a, double h);                     /* the sum at h */

#endif
