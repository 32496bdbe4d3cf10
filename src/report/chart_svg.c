/* A chart as SVG. Colours are Okabe and Ito's, which people of every colour vision tell apart, some of them darker to
 * be seen on white; every line has a mark of its own besides, and a dash pattern once the colours come round again. */
#include "report/chart.h"
#include "report/markup.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* In units of the view box, which are pixels in a file. */
enum {
    WIDTH = 480,
    LEFT = 60,
    RIGHT = 14,
    TOP = 12,
    PLOT = 270,
    FOOT = 48,
    ROW = 19,
    KEY = 34,
    GAP = 16, /* between a name of the legend and the next entry */
    LETTER = 13,
    NAME_MOST = 48,
    COLOURS = 7,
    MARKS = 8
};

static const char *const marks[MARKS] = {
    "M4.5 0A4.5 4.5 0 1 1-4.5 0A4.5 4.5 0 1 1 4.5 0Z",
    "M-4-4H4V4H-4Z",
    "M0-5.2L4.8 3.6H-4.8Z",
    "M0-5.6L5.6 0L0 5.6L-5.6 0Z",
    "M0 5.2L4.8-3.6H-4.8Z",
    "M-5 0H5M0-5V5",
    "M-4-4L4 4M4-4L-4 4",
    "M0-5.5L1.5-1.5L5.5 0L1.5 1.5L0 5.5L-1.5 1.5L-5.5 0L-1.5-1.5Z",
};
static const char *const dashes[] = {"", " stroke-dasharray=\"6 3\"", " stroke-dasharray=\"2 2\"",
                                     " stroke-dasharray=\"8 3 2 3\""};

static double x_of(const struct chart *chart, double value) {
    return LEFT + chart_place(&chart->x, value) * (WIDTH - LEFT - RIGHT);
}

/* Below the axis' low end (a bar cut off): at it. */
static double y_of(const struct chart *chart, double value) {
    return TOP + (1 - fmax(0, chart_place(&chart->y, value))) * PLOT;
}

/* How wide a name is at most in fonts that pages and figures have: of the 95 printable ASCII characters DejaVu Sans'
 * widths, the widest of them, in 1/1000 of the letters' size; of others a whole one. */
static size_t width_of(const char *name) {
    static const short widths[95] = {318,  401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361, 318, 337,
                                     636,  636, 636, 636, 636, 636, 636, 636, 636, 636, 337, 337, 838, 838, 838, 531,
                                     1000, 684, 686, 698, 770, 632, 575, 775, 752, 295, 295, 656, 557, 863, 748, 787,
                                     603,  787, 695, 635, 611, 732, 684, 989, 685, 611, 685, 390, 337, 390, 838, 500,
                                     500,  613, 635, 550, 635, 615, 352, 635, 634, 278, 278, 579, 278, 974, 634, 612,
                                     635,  635, 411, 521, 392, 634, 592, 818, 592, 592, 525, 636, 337, 636, 838};
    size_t width = 0, seen = 0;
    for (; *name && seen <= NAME_MOST; name++) {
        if (((unsigned char)*name & 0xc0) == 0x80) continue;
        width += *name >= ' ' && *name <= '~' ? (size_t)widths[*name - ' '] : 1000;
        seen++;
    }
    return (width * LETTER + 999) / 1000;
}

static void draw_axes(const struct chart *chart, struct text *out) {
    double ticks[CHART_TICKS];
    size_t count = chart_ticks(&chart->x, ticks);
    const double middle = (LEFT + WIDTH - RIGHT) / 2.0, foot = TOP + PLOT;
    double used = 0; /* up to where there are numbers: as many as do not touch */
    text_add(out, "<g class=\"x\" text-anchor=\"middle\">\n");
    for (size_t i = 0; i < count; i++) {
        char number[32];
        snprintf(number, sizeof number, "%.4g", ticks[i]);
        double x = x_of(chart, ticks[i]), half = (double)width_of(number) / 2;
        if (x - half < used) continue;
        used = x + half + GAP / 4;
        text_add(out, "<path class=\"rule\" d=\"M%.2f %dV%g\"/><text x=\"%.2f\" y=\"%g\">%.4g</text>\n", x, TOP, foot,
                 x, foot + 18, ticks[i]);
    }
    text_add(out, "<text x=\"%g\" y=\"%g\">", middle, foot + 38);
    markup_add(out, chart->x.title);
    text_add(out, "</text></g>\n<g class=\"y\" text-anchor=\"end\">\n");
    count = chart_ticks(&chart->y, ticks);
    for (size_t i = 0; i < count; i++) {
        double y = y_of(chart, ticks[i]);
        text_add(out, "<path class=\"rule\" d=\"M%d %.2fH%d\"/><text x=\"%d\" y=\"%.2f\" dy=\"0.35em\">%.4g</text>\n",
                 LEFT, y, WIDTH - RIGHT, LEFT - 6, y, fabs(ticks[i]) < 1e-12 * chart->y.high ? 0 : ticks[i]);
    }
    text_add(out, "<text transform=\"translate(16 %g) rotate(-90)\" text-anchor=\"middle\">", TOP + PLOT / 2.0);
    markup_add(out, chart->y.title);
    text_add(out, "</text></g>\n<path class=\"axis\" d=\"M%d %dV%gH%d\"/>\n", LEFT, TOP, foot, WIDTH - RIGHT);
}

static void draw_point(const struct chart *chart, const struct chart_line *line, const struct chart_point *point,
                       const char *mark, struct text *out) {
    double x = x_of(chart, point->x), y = y_of(chart, point->y);
    text_add(out, "<g class=\"point\"><title>");
    markup_add(out, line->name);
    text_add(out, "\n%s %.4g\n", chart->over == CHART_NFE ? "NFE" : "ms a sample:", point->x);
    markup_add(out, chart->y.title);
    text_add(out, " %.6g", point->y);
    if (point->error > 0) text_add(out, " \xc2\xb1 %.2g", point->error);
    text_add(out, "\n");
    markup_add(out, point->cell);
    text_add(out, "</title>");
    if (point->error > 0) {
        double top = y_of(chart, point->y + point->error), bottom = y_of(chart, point->y - point->error);
        text_add(out, "<path class=\"bar\" d=\"M%.2f %.2fV%.2fM%.2f %.2fh6M%.2f %.2fh6\"/>", x, top, bottom, x - 3, top,
                 x - 3, bottom);
    }
    if (point->front && chart->over == CHART_TIME)
        text_add(out, "<circle class=\"ring\" cx=\"%.2f\" cy=\"%.2f\" r=\"8\"/>", x, y);
    text_add(out, "<path class=\"mark\" transform=\"translate(%.2f %.2f)\" d=\"%s\"/></g>\n", x, y, mark);
}

static void draw_line(const struct chart *chart, size_t number, struct text *out) {
    const struct chart_line *line = &chart->lines[number];
    if (line->count == 0) return;
    text_add(out, "<g class=\"series s%zu\"><path class=\"line\"%s d=\"", number % COLOURS,
             dashes[number / COLOURS % 4]);
    for (size_t i = 0; i < line->count; i++)
        text_add(out, "%s%.2f %.2f", i ? "L" : "M", x_of(chart, line->points[i].x), y_of(chart, line->points[i].y));
    text_add(out, "\"/>\n");
    for (size_t i = 0; i < line->count; i++) draw_point(chart, line, &line->points[i], marks[number % MARKS], out);
    text_add(out, "</g>\n");
}

/* The Pareto front as one broken line through its points. */
static void draw_front(const struct chart *chart, struct text *out) {
    double last = -INFINITY;
    const struct chart_point *next;
    if (chart->over != CHART_TIME) return;
    text_add(out, "<path class=\"front\" d=\"");
    for (size_t count = 0;; count++) {
        next = NULL;
        for (size_t a = 0; a < chart->count; a++)
            for (size_t i = 0; i < chart->lines[a].count; i++) {
                const struct chart_point *point = &chart->lines[a].points[i];
                if (point->front && point->x > last && (!next || point->x < next->x)) next = point;
            }
        if (!next) break;
        text_add(out, "%s%.2f %.2f", count ? "L" : "M", x_of(chart, next->x), y_of(chart, next->y));
        last = next->x;
    }
    text_add(out, "\"/>\n");
}

static void add_name(const char *name, struct text *out) {
    size_t bytes = 0, seen = 0;
    while (name[bytes] && (seen += ((unsigned char)name[bytes] & 0xc0) != 0x80) <= NAME_MOST) bytes++;
    char *cut = text_new("%.*s%s", (int)bytes, name, name[bytes] ? "\xe2\x80\xa6" : "");
    if (cut) markup_add(out, cut);
    else out->failed = true;
    free(cut);
}

struct legend {
    size_t entries, columns, rows, width;
};

static struct legend measure(const struct chart *chart) {
    struct legend legend = {0};
    size_t widest = 0;
    for (size_t i = 0; i < chart->count; i++) {
        size_t width = width_of(chart->lines[i].name);
        if (chart->lines[i].count == 0) continue;
        legend.entries++;
        if (width > widest) widest = width;
    }
    legend.width = KEY + widest + GAP;
    legend.columns = (WIDTH - 20 + GAP) / legend.width > 0 ? (WIDTH - 20 + GAP) / legend.width : 1;
    legend.rows = (legend.entries + legend.columns - 1) / legend.columns;
    return legend;
}

static void draw_legend(const struct chart *chart, const struct legend *legend, struct text *out) {
    size_t k = 0;
    text_add(out, "<g class=\"legend\">\n");
    for (size_t i = 0; i < chart->count; i++) {
        if (chart->lines[i].count == 0) continue;
        size_t x = 10 + k % legend->columns * legend->width, y = TOP + PLOT + FOOT + 12 + k / legend->columns * ROW;
        text_add(out,
                 "<g class=\"s%zu\"><path class=\"line\"%s d=\"M%zu %zuh26\"/><path class=\"mark\" "
                 "transform=\"translate(%zu %zu)\" d=\"%s\"/></g><text x=\"%zu\" y=\"%zu\" dy=\"0.35em\">",
                 i % COLOURS, dashes[i / COLOURS % 4], x, y, x + 13, y, marks[i % MARKS], x + KEY, y);
        add_name(chart->lines[i].name, out);
        text_add(out, "</text>\n");
        k++;
    }
    size_t y = TOP + PLOT + FOOT + 12 + legend->rows * ROW;
    if (chart->over == CHART_TIME)
        text_add(out,
                 "<circle class=\"ring\" cx=\"23\" cy=\"%zu\" r=\"8\"/><path class=\"front\" d=\"M10 %zuh26\"/><text "
                 "x=\"%d\" y=\"%zu\" dy=\"0.35em\">Pareto front</text>\n",
                 y, y, 10 + KEY, y);
    text_add(out, "</g>\n");
    if (chart->note)
        text_add(out, "<text class=\"note\" x=\"10\" y=\"%zu\" dy=\"0.35em\">%s</text>\n",
                 y + (chart->over == CHART_TIME) * ROW, chart->note);
}

void chart_svg(const struct chart *chart, bool standalone, struct text *out) {
    struct legend legend = measure(chart);
    size_t height = TOP + PLOT + FOOT + (legend.rows + (chart->over == CHART_TIME) + !!chart->note) * ROW + 8;
    text_add(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" role=\"img\" viewBox=\"0 0 %d %zu\"",
             WIDTH, height);
    if (standalone) /* fonts that papers use, where there are any */
        text_add(out,
                 " width=\"%d\" height=\"%zu\" font-family=\"Helvetica, Arial, Liberation Sans, DejaVu Sans, "
                 "sans-serif\" color=\"#000000\"",
                 WIDTH, height);
    text_add(out, ">\n<title>");
    markup_add(out, chart->y.title);
    text_add(out, " over ");
    markup_add(out, chart->x.title);
    text_add(out, "</title>\n");
    if (standalone)
        text_add(out, "<style>\n%s</style>\n<path fill=\"#ffffff\" d=\"M0 0H%dV%zuH0Z\"/>\n", chart_css, WIDTH, height);
    draw_axes(chart, out);
    draw_front(chart, out);
    for (size_t i = 0; i < chart->count; i++) draw_line(chart, i, out);
    draw_legend(chart, &legend, out);
    text_add(out, "</svg>\n");
}
