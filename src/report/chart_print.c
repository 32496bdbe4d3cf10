/* A chart in letters. */
#include "report/chart.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { WIDTH = 80, LEFT = 9, ROWS = 18, COLUMNS = WIDTH - LEFT - 2 };

static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

static char letter(size_t line) {
    return letters[line % (sizeof letters - 1)];
}

static int cell_at(double place, int cells) {
    int at = (int)lround(place * (cells - 1));
    return at < 0 ? 0 : at >= cells ? cells - 1 : at;
}

/* Numbers under the x axis, as many as do not touch. */
static void print_x(const struct chart *chart, struct text *out) {
    double ticks[CHART_TICKS];
    char numbers[WIDTH + 1], marks[WIDTH + 1], number[32];
    size_t count = chart_ticks(&chart->x, ticks);
    int free_from = 0;
    memset(numbers, ' ', WIDTH);
    memset(marks, '-', WIDTH);
    numbers[WIDTH] = marks[WIDTH] = '\0';
    for (size_t i = 0; i < count; i++) {
        int at = LEFT + 1 + cell_at(chart_place(&chart->x, ticks[i]), COLUMNS);
        int length = snprintf(number, sizeof number, "%.4g", ticks[i]), from = at - length / 2;
        if (from + length > WIDTH) from = WIDTH - length;
        marks[at] = '+';
        if (from < free_from) continue;
        memcpy(numbers + from, number, (size_t)length);
        free_from = from + length + 1;
    }
    memset(marks, ' ', LEFT);
    marks[LEFT] = '+';
    int end = WIDTH;
    while (end > 0 && numbers[end - 1] == ' ') end--;
    text_add(out, "%.*s\n%.*s\n%*s%s\n", WIDTH - 1, marks, end, numbers, LEFT + 1, "", chart->x.title);
}

void chart_print(const struct chart *chart, struct text *out) {
    char sheet[ROWS][COLUMNS + 1];
    char labels[ROWS][16];
    double ticks[CHART_TICKS];
    size_t count = chart_ticks(&chart->y, ticks);
    memset(sheet, ' ', sizeof sheet);
    memset(labels, 0, sizeof labels);
    for (size_t i = 0; i < count; i++)
        snprintf(labels[ROWS - 1 - cell_at(chart_place(&chart->y, ticks[i]), ROWS)], sizeof labels[0], "%*.4g",
                 LEFT - 1, ticks[i]);
    for (size_t i = chart->count; i-- > 0;) /* the first line's letters stay on top */
        for (size_t k = 0; k < chart->lines[i].count; k++) {
            const struct chart_point *point = &chart->lines[i].points[k];
            sheet[ROWS - 1 - cell_at(chart_place(&chart->y, point->y), ROWS)]
                 [cell_at(chart_place(&chart->x, point->x), COLUMNS)] = letter(i);
        }
    text_add(out, "%s\n", chart->y.title);
    for (int row = 0; row < ROWS; row++) {
        int end = COLUMNS;
        while (end > 0 && sheet[row][end - 1] == ' ') end--;
        text_add(out, "%-*.*s|%.*s\n", LEFT, LEFT, labels[row], end, sheet[row]);
    }
    print_x(chart, out);
    for (size_t i = 0; i < chart->count; i++)
        if (chart->lines[i].count > 0) text_add(out, "  %c  %s\n", letter(i), chart->lines[i].name);
    if (chart->note) text_add(out, "  %s\n", chart->note);
}
