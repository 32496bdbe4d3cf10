/* A plot for the terminal: one character a point, a logarithmic y axis, series told apart by their marks. */
#ifndef REPORT_PLOT_H
#define REPORT_PLOT_H

#include <stddef.h>
#include <stdio.h>

struct plot_series {
    char mark;
    const double *x, *y; /* [count]; points whose y is not positive and finite are left out */
    size_t count;
};

/* x runs from left to right as given by left and right. Where two marks fall on one place there is a *. */
void plot_print(const struct plot_series *series, size_t count, double left, double right, FILE *out);

#endif
