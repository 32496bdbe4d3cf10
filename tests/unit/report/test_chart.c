/* What pages and plots are made of: axes, escaping, smaller pictures. The whole page is tested in
 * tests/cli/test_report.py. */
#include "report/chart.h"
#include "report/data.h"
#include "report/markup.h"
#include "report/page.h"
#include "report/picture.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void check_axis(const struct chart_axis *axis) {
    double ticks[CHART_TICKS];
    size_t count = chart_ticks(axis, ticks);
    double span = axis->high - axis->low;
    if (count < 2 || count > CHART_TICKS) fail_msg("%zu ticks from %.17g to %.17g", count, axis->low, axis->high);
    for (size_t i = 0; i < count; i++) {
        double place = chart_place(axis, ticks[i]), share = (ticks[i] - axis->low) / span;
        if (axis->log) share = log(ticks[i] / axis->low) / log(axis->high / axis->low);
        assert_true(place > -1e-9 && place < 1 + 1e-9 && fabs(place - share) < 1e-9);
        assert_true(i == 0 || ticks[i] > ticks[i - 1]);
    }
}

/* Whatever the numbers, an axis has some at which to read it, all of them on it. */
static void axes(void **state) {
    (void)state;
    srand(1);
    for (int i = 0; i < 20000; i++) {
        double size = pow(10, rand() % 17 - 8), from = size * (1 + rand() % 1000 / 10.0),
               span = from * pow(10, rand() % 400 / 100.0 - 2);
        check_axis(&(struct chart_axis){.log = true, .low = from, .high = from + span});
        check_axis(&(struct chart_axis){.low = from - (rand() % 2 ? span : 0), .high = from + span});
    }
}

static json_t *sweep_of(const char *cells) {
    json_error_t at;
    json_t *rows = json_loads(cells, 0, &at);
    if (!rows) fail_msg("%s", at.text);
    json_t *data = json_pack("{s:s, s:s, s:s, s:s, s:[s,s], s:[s,s,s,s], s:o, s:[]}", "kind", "sweep", "name", "n",
                             "dir", "d", "metric", "fid", "keys", "solver", "nfe", "columns", "cell", "solver", "nfe",
                             "fid", "cells", rows, "missing");
    json_object_set_new(data, "series", data_series(data));
    json_object_set_new(data, "metrics", json_pack("[s]", "fid"));
    json_object_set_new(data, "best", data_best(data, NULL));
    return data;
}

/* One number, equal ones, zero, negative, huge, tiny, none: a chart comes out, its axes hold every point. */
static void odd_numbers(void **state) {
    (void)state;
    static const char *const fids[][2] = {{"3", "3"},      {"0", "0"},          {"-2", "5"},       {"1e300", "1e-300"},
                                          {"0", "1e-300"}, {"1e308", "-1e308"}, {"null", "\"x\""}, {"1", "null"}};
    for (size_t i = 0; i < sizeof fids / sizeof *fids; i++) {
        char cells[400];
        snprintf(cells, sizeof cells,
                 "[{\"cell\": \"a\", \"solver\": \"a\", \"nfe\": 4, \"samples_per_second\": 2.0, \"fid\": %s, "
                 "\"fid_error\": 0.5}, {\"cell\": \"b\", \"solver\": \"b\", \"nfe\": 4, \"samples_per_second\": 3.0, "
                 "\"fid\": %s}]",
                 fids[i][0], fids[i][1]);
        json_t *data = sweep_of(cells);
        struct error err = {0};
        struct page_pictures none = {0};
        struct text page = {0}, print = {0};
        assert_int_equal(page_make(data, &none, &page, &err), 0);
        assert_int_equal(data_print(data, "fid", &print, &err), 0);
        const char *odd = strstr(page.data, "nan");
        if (odd) fail_msg("case %zu: %.60s", i, odd - 30);
        assert_null(strstr(page.data, "inf"));
        for (enum chart_over over = CHART_NFE; over <= CHART_TIME; over++) {
            struct chart chart;
            assert_int_equal(chart_make(&chart, data, "fid", over, &err), 0);
            for (size_t line = 0; line < chart.count; line++)
                for (size_t k = 0; k < chart.lines[line].count; k++) {
                    double x = chart_place(&chart.x, chart.lines[line].points[k].x),
                           y = chart_place(&chart.y, chart.lines[line].points[k].y);
                    assert_true(x >= 0 && x <= 1 && y >= 0 && y <= 1);
                }
            chart_release(&chart);
        }
        text_release(&page);
        text_release(&print);
        json_decref(data);
    }
}

static void escaping(void **state) {
    (void)state;
    struct text text = {0};
    markup_add(&text, "a<b>&\"'\n\t\x01\x7f\xc3\xa9");
    assert_string_equal(text.data, "a&lt;b&gt;&amp;&quot;&#39;\n\t\xef\xbf\xbd\xef\xbf\xbd\xc3\xa9");
    text_release(&text);
}

static void values(void **state) {
    (void)state;
    srand(2);
    for (int i = 0; i < 2000; i++) {
        double number = ldexp(rand(), rand() % 200 - 100) / 3;
        json_t *json = json_real(number);
        char *text = markup_value(json, 0), *five = markup_value(json, 5);
        assert_true(strtod(text, NULL) == number && fabs(strtod(five, NULL) - number) <= 1e-4 * number);
        free(text);
        free(five);
        json_decref(json);
    }
}

/* Means over boxes, against sums of our own. */
static void smaller(void **state) {
    (void)state;
    enum { H = 7, W = 5, C = 3, BY = 3, h = 3, w = 2 };
    uint8_t image[H * W * C], out[h * w * C];
    for (int i = 0; i < H * W * C; i++) image[i] = (uint8_t)(i * 37 % 251);
    picture_shrink(image, H, W, C, BY, out);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            for (int c = 0; c < C; c++) {
                double sum = 0, count = 0;
                for (int i = 0; i < H * W; i++)
                    if (i / W / BY == y && i % W / BY == x) sum += image[i * C + c], count++;
                assert_true(fabs(out[(y * w + x) * C + c] - sum / count) <= 0.5);
            }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(axes),   cmocka_unit_test(odd_numbers), cmocka_unit_test(escaping),
        cmocka_unit_test(values), cmocka_unit_test(smaller),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
