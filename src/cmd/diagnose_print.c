/* What diagnose measured, as tables and a chart. */
#include "cmd/diagnose_print.h"

#include "base/print.h"
#include "base/text.h"
#include "format/json_file.h"
#include "job/job.h"
#include "report/chart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double value_at(const json_t *object, const char *key) { /* NAN for null */
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static const char *name_at(const json_t *object, const char *key) {
    const char *name = json_string_value(json_object_get(object, key));
    return name ? name : "";
}

static const char *order_at(const json_t *object, char text[16]) {
    const json_t *order = json_object_get(object, "order");
    if (json_is_integer(order)) snprintf(text, 16, "%d", (int)json_integer_value(order));
    else snprintf(text, 16, "%s", json_string_value(order));
    return text;
}

/* A number in a column, or blanks where there is none. */
static void print_number(double value, int width, const char *format) {
    char text[32];
    snprintf(text, sizeof text, format, value);
    printf("%*s", width, isnan(value) ? "" : text);
}

static void print_constancy(const json_t *found) {
    json_t *step;
    size_t i;
    printf("\nHow near epsilon is to constant along a path, over the steps t -> s of the job's grid (%s, NFE %d)\n\n"
           "       t        s  lambda  rms(epsilon)   |d epsilon/d lambda|/|epsilon|      |change|/|epsilon|\n",
           name_at(found, "grid"), (int)value_at(found, "nfe"));
    json_array_foreach(json_object_get(found, "constancy"), i, step) {
        const json_t *rate = json_object_get(step, "rate"), *change = json_object_get(step, "change");
        printf("%8.4g %8.4g %7.2f %13.4f", value_at(step, "t"), value_at(step, "s"), value_at(step, "logsnr"),
               value_at(step, "epsilon"));
        print_number(value_at(rate, "value"), 22, "%.3g");
        print_number(value_at(rate, "error"), 10, "+- %.1g");
        print_number(value_at(change, "value"), 14, "%.3g");
        print_number(value_at(change, "error"), 10, "+- %.1g");
        printf("\n");
    }
}

/* A derivative as "miss cosine", with a mark where it is not known well. */
static void print_derivative(const json_t *derivative) {
    double miss = value_at(json_object_get(derivative, "miss"), "value"), doubt = value_at(derivative, "uncertainty");
    bool vague = doubt > 0.1;
    if (vague && doubt > 0.5 * miss) {
        printf("  %12s", strcmp(name_at(derivative, "limit"), "noise") == 0 ? "(noise)" : "(step)");
        return;
    }
    printf("  %6.3f%c", miss, vague ? '~' : ' ');
    print_number(value_at(derivative, "cosine"), 5, "%.2f"); /* an ideal derivative of 0 has none */
}

static const json_t *clock_of(const json_t *probe, const char *clock) {
    return json_object_get(json_object_get(probe, "clocks"), clock);
}

static void print_derivatives(const json_t *found) {
    json_t *probe, *derivative;
    size_t i, k;
    double noise = 0;
    const json_t *probes = json_object_get(found, "derivatives");
    const char *clock = name_at(found, "clock");
    if (json_array_size(json_object_get(clock_of(json_array_get(probes, 0), clock), "path")) == 0) clock = "logsnr";
    printf("\nIdeal derivatives against true ones in clock %s: |ideal - true|/|true| and their cosine (score S, path "
           "x; x' is exact)\n\n"
           "       t  lambda              S'           S''          S'''           x''          x'''         x''''\n",
           clock);
    json_array_foreach(probes, i, probe) {
        const json_t *both = clock_of(probe, clock);
        printf("%8.4g %7.2f", value_at(probe, "t"), value_at(probe, "logsnr"));
        json_array_foreach(json_object_get(both, "score"), k, derivative) print_derivative(derivative);
        json_array_foreach(json_object_get(both, "path"), k, derivative) if (k > 0) print_derivative(derivative);
        printf("\n");
        noise = fmax(noise, value_at(json_object_get(probe, "noise"), "value"));
    }
    printf("~: the finite differences are sure to no more than 10 %%; (noise), (step): not at all, for the rounding of "
           "the network\n"
           "(up to %.1e in epsilon) or their step\n",
           noise);
}

static bool is(const json_t *method, const char *key, const char *name) {
    return strcmp(name_at(method, key), name) == 0;
}

/* Also of a method that is the same in every clock. */
static bool in_clock(const json_t *method, const char *clock) {
    return json_is_null(json_object_get(method, "clock")) || is(method, "clock", clock);
}

/* The steps' errors of one method as a line of the chart; those that are not positive numbers are left out. */
static int add_line(struct chart *chart, const json_t *method) {
    const json_t *steps = json_object_get(method, "steps");
    char order[16];
    struct chart_line *line = &chart->lines[chart->count];
    char *name = text_new(is(method, "order", ".inf") ? "order %s (DDIM)" : "order %s", order_at(method, order));
    line->name = name;
    line->points = calloc(json_array_size(steps) + 1, sizeof *line->points);
    chart->count++;
    if (!line->name || !line->points) return -1;
    for (size_t k = 0; k < json_array_size(steps); k++) {
        double y = value_at(json_array_get(steps, k), "value");
        if (isfinite(y) && y > 0) line->points[line->count++] = (struct chart_point){.x = (double)k + 1, .y = y};
    }
    chart->points += line->count;
    return 0;
}

/* The errors of one step over the job's grid, a line an order. */
static int plot_local(const json_t *found, struct error *err) {
    const char *clock = name_at(found, "clock"), *grid = name_at(found, "grid");
    const json_t *local = json_object_get(found, "local");
    struct chart chart = {.lines = calloc(json_array_size(local) + 1, sizeof *chart.lines),
                          .x.title = "step of the job's grid",
                          .y = {.title = "error of one step", .log = true}};
    struct text out = {0};
    json_t *method;
    size_t i;
    int rc = chart.lines ? 0 : -1;
    json_array_foreach(local, i, method) if (rc == 0 && is(method, "grid", grid) && in_clock(method, clock) &&
                                             value_at(method, "nfe") == value_at(found, "nfe"))
        rc = add_line(&chart, method);
    text_add(&out,
             "\nError of one step from the exact path, rms over elements and paths, in clock %s; noise on the left\n\n",
             clock);
    if (chart.points > 0) {
        chart_fit(&chart);
        chart_print(&chart, &out);
    }
    if (rc != 0 || out.failed) rc = error_memory(err);
    else print_block(stdout, out.data);
    for (size_t k = 0; k < chart.count; k++) free((char *)chart.lines[k].name);
    text_release(&out);
    chart_release(&chart);
    return rc;
}

/* Of a list's methods the one on a row and in a column of a table; NULL: none. */
static const json_t *look_up(const json_t *list, const json_t *row, const char *clock, const char *solver,
                             const char *wanted) {
    json_t *method;
    size_t i;
    char order[16];
    json_array_foreach(list, i, method) if (value_at(method, "nfe") == value_at(row, "nfe") &&
                                            is(method, "grid", name_at(row, "grid")) && in_clock(method, clock) &&
                                            is(method, "solver", solver) &&
                                            strcmp(order_at(method, order), wanted) == 0) return method;
    return NULL;
}

/* The place of the first method with the NFE and the grid of this one. */
static size_t first_of_row(const json_t *list, const json_t *row) {
    json_t *method;
    size_t i;
    json_array_foreach(list, i, method) if (value_at(method, "nfe") == value_at(row, "nfe") &&
                                            is(method, "grid", name_at(row, "grid"))) break;
    return i;
}

/* A row for each NFE, grid and clock. */
static void print_table(const json_t *list, const char *solver, const char *key) {
    static const struct {
        const char *solver, *order;
    } columns[] = {{"taylor", "1"},    {"taylor", "2"},    {"taylor", "3"},      {"taylor", "4"},
                   {"taylor", ".inf"}, {"taylor-2m", "2"}, {"taylor-2m", ".inf"}};
    size_t i, column, all = *solver ? 7 : 5;
    json_t *row;
    printf("  NFE  grid            clock     order 1        2        3        4     .inf%s\n",
           all == 7 ? "     2m 2  2m .inf" : "");
    json_array_foreach(list, i, row) {
        if (first_of_row(list, row) != i) continue;
        for (int clock = CLOCK_T; clock <= CLOCK_LOGSNR; clock++) {
            const json_t *cell[7];
            bool any = false;
            for (column = 0; column < all; column++) {
                cell[column] = look_up(list, row, clock_names[clock], *solver ? columns[column].solver : "",
                                       columns[column].order);
                any |= column < 2 && cell[column];
            }
            if (!any) continue;
            printf("%5g  %-15s %-8s", value_at(row, "nfe"), name_at(row, "grid"), clock_names[clock]);
            for (column = 0; column < all; column++) {
                if (!cell[column]) printf("%9s", "");
                else if (isnan(value_at(cell[column], key))) printf("%9s", "inf");
                else print_number(value_at(cell[column], key), 9, "%.4f");
            }
            printf("\n");
        }
    }
}

static void print_sampler(const char *before, const json_t *sampler, bool compare) {
    char order[16];
    const json_t *times = json_object_get(sampler, "times");
    printf("%s%s, order %s", before, name_at(sampler, "solver"), order_at(sampler, order));
    if (*name_at(sampler, "clock")) printf(", clock %s", name_at(sampler, "clock"));
    printf(", grid %s: rmse %.5f +- %.5f", name_at(sampler, "grid"), value_at(sampler, "rmse"),
           value_at(sampler, "error"));
    if (compare) printf(", %.3f +- %.3f times that", value_at(times, "value"), value_at(times, "error"));
    printf("\n");
}

static void print_recommendation(const json_t *found) {
    const json_t *recommendation = json_object_get(found, "recommendation"),
                 *ties = json_object_get(recommendation, "ties");
    const json_t *own = json_object_get(recommendation, "own"),
                 *multistep = json_object_get(recommendation, "taylor-2m");
    const json_t *times = json_object_get(multistep, "times");
    json_t *tie;
    size_t i;
    if (!json_is_object(recommendation)) return;
    printf("\nAt NFE %g the nearest to the exact samples, of quasi-Taylor:\n", value_at(found, "nfe"));
    print_sampler("  ", json_object_get(recommendation, "taylor"), false);
    json_array_foreach(ties, i, tie) print_sampler("  within two standard errors of it: ", tie, true);
    if (own) print_sampler("  the job's own: ", own, true);
    if (multistep) {
        double gain = value_at(times, "value"), error = value_at(times, "error");
        print_sampler(gain + 2 * error < 1   ? "  better still, by the derivative of the step before: "
                      : gain - 2 * error > 1 ? "  the derivative of the step before does not help: "
                                             : "  the derivative of the step before makes no sure difference: ",
                      multistep, true);
    }
    printf("Nearness to the exact solution of the ODE is not FID: an error that all samples share may cost little.\n");
}

static void print_fit(const char *name, const json_t *fit, const char *more) {
    printf("  %-28s", name);
    print_number(value_at(fit, "error"), 10, "%.5f");
    print_number(value_at(fit, "uncertainty"), 11, "+- %.5f");
    print_line(stdout, "  %s%s", name_at(fit, "grid"), more);
}

static void print_fits(const json_t *fits) {
    const json_t *registry = json_object_get(fits, "registry"), *sampler = json_object_get(registry, "sampler");
    json_t *fit;
    size_t i;
    if (!fits) return;
    printf(
        "\nWhat qtaylor tune could gain at NFE %g: errors of a sample, rms, on %g paths that nothing was fitted to\n",
        value_at(fits, "nfe"), value_at(json_object_get(fits, "paths"), "judge"));
    char *grid = json_text(json_object_get(sampler, "grid"), JSON_COMPACT | JSON_ENCODE_ANY);
    char *name = text_new("the registry's %s", name_at(sampler, "solver"));
    print_fit(name ? name : "", registry, grid ? grid : "");
    free(name);
    free(grid);
    json_array_foreach(json_object_get(fits, "orders"), i, fit) {
        char order[16], title[32];
        snprintf(title, sizeof title, "a fit of order %s", order_at(fit, order));
        print_fit(title, fit, i == 0 ? ": the most that any one-step formula can do, quasi-Taylor's too" : "");
    }
}

int diagnose_print(const json_t *found, struct error *err) {
    const json_t *reference = json_object_get(found, "reference"),
                 *difference = json_object_get(reference, "difference");
    json_t *note;
    size_t i;
    printf("%g paths, exact by %s with %g evaluations: half as many steps change a sample by %.1e (rms)\n",
           value_at(found, "paths"), name_at(reference, "solver"), value_at(reference, "nfe"),
           value_at(difference, "value"));
    json_array_foreach(json_object_get(found, "notes"), i, note)
        print_line(stdout, "note: %s", json_string_value(note));
    print_constancy(found);
    print_derivatives(found);
    if (plot_local(found, err) != 0) return -1;
    printf("\nErrors of one step, summed over the steps\n\n");
    print_table(json_object_get(found, "local"), "", "sum");
    printf("\nError of a sample against the exact one, rms (2m: taylor-2m)\n\n");
    print_table(json_object_get(found, "samples"), "taylor", "rmse");
    print_recommendation(found);
    print_fits(json_object_get(found, "fits"));
    return 0;
}
