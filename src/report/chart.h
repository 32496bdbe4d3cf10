/* What a report's plots show, apart from how: lines of points, their axes, and the Pareto front. */
#ifndef REPORT_CHART_H
#define REPORT_CHART_H

#include "base/error.h"
#include "base/text.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum chart_over { CHART_NFE, CHART_TIME };
enum { CHART_TICKS = 16 };

struct chart_point {
    double x, y, error; /* error: half a bar's length; 0 none */
    const char *cell;   /* its name, borrowed */
    bool front;         /* no other point is as good in less time, or better in the same */
};

struct chart_line {
    const char *name;           /* borrowed */
    struct chart_point *points; /* by x */
    size_t count;
};

struct chart_axis {
    const char *title; /* borrowed, y's of chart->title */
    bool log;
    double low, high;
};

struct chart {
    enum chart_over over;
    struct chart_axis x, y;
    char *title;      /* y's */
    const char *bars; /* what error bars are; NULL: there are none */
    char *note;       /* of how many samples the points are, where these are not as many for all; or NULL */
    bool upright;     /* several points, all at one x: lines would lie on one another */
    struct chart_line *lines;
    size_t count, points;
};

/* From a report's data (see report/data.h): `metric` (a column) over NFE or time, a line a series. Cells that have no
 * such number, and those that only repeat another cell of their series, are left out; *chart may have no points. */
int chart_make(struct chart *chart, const json_t *data, const char *metric, enum chart_over over, struct error *err);
/* Sets the ends of the axes, whose titles and `log` are set, so that they hold every point and its error bar. y is made
 * linear where a value is not positive; on a logarithmic y a bar that reaches below half its point's value is cut off
 * there. x must be positive where it is logarithmic. */
void chart_fit(struct chart *chart);
void chart_release(struct chart *chart);
enum { CHART_COLUMN = 128 }; /* bytes of a column's name, with its end */
/* The column that a column's error is of: `name` becomes COLUMN_corrected where any cell has that, else COLUMN. A
 * metric with its bias has no error of its own beside the one without. */
void chart_corrected(const json_t *data, const char *column, char name[CHART_COLUMN]);
/* The column of its error; false: it has none. */
bool chart_error(const json_t *data, const char *column, char name[CHART_COLUMN]);
/* What a column is called in words: "FID", of several networks "NAME: FID"; NULL: it can't be plotted. *network: the
 * length of "NAME." in it. */
const char *chart_title(const char *column, size_t *network);
bool chart_lower(const char *column); /* is less better? */
/* Is it a column that chart_make can plot, and is any cell's a number? */
bool chart_has(const json_t *data, const char *metric);
/* The columns for which that is true, the first one the one to show unless another is asked for: new; NULL when out of
 * memory. */
json_t *chart_metrics(const json_t *data);

/* Where a value is on an axis: 0 at its low end, 1 at its high one. */
double chart_place(const struct chart_axis *axis, double value);
/* The values to write at an axis. Returns how many. */
size_t chart_ticks(const struct chart_axis *axis, double ticks[CHART_TICKS]);

/* An <svg> element. standalone: a file of its own, with styles, white ground and sizes; else for inside the page. */
void chart_svg(const struct chart *chart, bool standalone, struct text *out);
/* For a terminal, 80 columns wide, ASCII, with its legend; the points of a line are its letter. */
void chart_print(const struct chart *chart, struct text *out);

#endif
