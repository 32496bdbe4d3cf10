#include "report/plot.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

enum { WIDTH = 72, HEIGHT = 16 };

static bool shows(double y) {
    return isfinite(y) && y > 0;
}

static int place(double value, double from, double to, int cells) {
    int cell = from == to ? 0 : (int)lround((value - from) / (to - from) * (cells - 1));
    return cell < 0 ? 0 : cell >= cells ? cells - 1 : cell;
}

void plot_print(const struct plot_series *series, size_t count, double left, double right, FILE *out) {
    char canvas[HEIGHT][WIDTH + 1];
    double low = INFINITY, high = -INFINITY;
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < series[i].count; k++)
            if (shows(series[i].y[k])) {
                low = fmin(low, log10(series[i].y[k]));
                high = fmax(high, log10(series[i].y[k]));
            }
    if (!(low <= high)) return;
    if (high - low < 0.5) low = high - 0.5;
    for (int row = 0; row < HEIGHT; row++) {
        memset(canvas[row], ' ', WIDTH);
        canvas[row][WIDTH] = '\0';
    }
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < series[i].count; k++) {
            if (!shows(series[i].y[k])) continue;
            char *cell = &canvas[place(log10(series[i].y[k]), high, low, HEIGHT)][place(series[i].x[k], left, right, WIDTH)];
            *cell = *cell == ' ' || *cell == series[i].mark ? series[i].mark : '*';
        }
    for (int row = 0; row < HEIGHT; row++) {
        bool labelled = row % 5 == 0;
        if (labelled) fprintf(out, "%8.1e |%s\n", pow(10, high + (low - high) * row / (HEIGHT - 1)), canvas[row]);
        else fprintf(out, "%8s |%s\n", "", canvas[row]);
    }
    fprintf(out, "%8s +", "");
    for (int i = 0; i < WIDTH; i++) fputc('-', out);
    fprintf(out, "\n%8s  %-*.4g%*.4g\n", "", WIDTH / 2, left, WIDTH / 2, right);
}
