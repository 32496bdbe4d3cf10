/* The key `grid` of a sampler: a name, a list or a map. */
#include "job/sampler.h"

#include "base/text.h"
#include "config/keys.h"
#include "format/json_file.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The lists of a grid: from noise to data, each number in the key's range. */
static const struct grid_list {
    const char *name;
    enum grid_kind grid;
    bool rises, whole, with_points;
} grid_lists[] = {{"times", GRID_TIMES, false, false, false},
                  {"sigmas", GRID_SIGMAS, false, false, true},
                  {"logsnr", GRID_LOGSNR, true, false, true},
                  {"steps", GRID_STEPS, false, true, false}};

static const struct grid_list *list_of(const struct key *key) {
    const struct grid_list *list = grid_lists;
    while (strcmp(list->name, key->name) != 0) list++;
    return list;
}

static int read_list(KEY_READ_ARGUMENTS) {
    struct sampler *sampler = member;
    const struct grid_list *list = list_of(key);
    free(sampler->times);
    if (key_numbers(reader, path, value, key->expected, &sampler->times, &sampler->times_count) != 0) return -1;
    const double *x = sampler->times;
    for (size_t i = 0; i < sampler->times_count; i++)
        if (!(x[i] >= key->low) || (i > 0 && !(list->rises ? x[i] > x[i - 1] : x[i] < x[i - 1])) ||
            (list->whole && x[i] != trunc(x[i])))
            return key_fail_item(reader, path, i, key->expected, json_array_get(value, i));
    sampler->grid = list->grid;
    return 0;
}

static json_t *write_list(const struct key *key, const void *member) {
    const struct sampler *sampler = member;
    if (sampler->grid != list_of(key)->grid) return json_null();
    json_t *list = json_array();
    for (size_t i = 0; i < sampler->times_count; i++) json_list_add(&list, json_real(sampler->times[i]));
    return list;
}

/* [alpha, beta] of a beta distribution; the member is the two. */
static int read_beta(KEY_READ_ARGUMENTS) {
    const struct key shape = {.kind = &KEY_NUMBER, .expected = key->expected, KEY_RANGE(key->low, key->high)};
    double *beta = member;
    if (json_array_size(value) != 2) return key_fail(reader, path, key->expected, value);
    for (size_t i = 0; i < 2; i++)
        if (KEY_NUMBER.read(reader, &shape, path, json_array_get(value, i), &beta[i]) != 0) return -1;
    return 0;
}

static json_t *write_beta(const struct key *key, const void *member) {
    (void)key;
    const double *beta = member;
    return isnan(beta[0]) ? json_null() : json_pack("[f, f]", beta[0], beta[1]);
}

static const struct key_kind LIST = {read_list, write_list}, BETA = {read_beta, write_beta};
static const struct key grid_rows[] = {
    {"times", &LIST, 0, .expected = "a list of times that go down, of 0 or more", .low = 0},
    {"sigmas", &LIST, 0, .expected = "a list of sigma/alpha that goes down, above 0", .low = DBL_MIN},
    {"logsnr", &LIST, 0, .expected = "a list of log(alpha/sigma) that goes up", .low = -DBL_MAX},
    {"steps", &LIST, 0, .expected = "a list of whole timesteps that go down, of 0 or more", .low = 0},
    {"points", &KEY_INT, offsetof(struct sampler, points), .expected = "a whole number from 2 to 1000000",
     KEY_RANGE(2, 1000000)},
    {"karras", &KEY_NUMBER, offsetof(struct sampler, rho), .expected = "rho, a number above 0",
     KEY_RANGE(DBL_MIN, DBL_MAX)},
    {"beta", &BETA, offsetof(struct sampler, beta), .expected = "[alpha, beta], two numbers from 0.01 to 100",
     KEY_RANGE(0.01, 100)},
};
static const struct key_table grid_table = KEY_TABLE(grid_rows);

enum { LISTS = sizeof grid_lists / sizeof *grid_lists };

static int grid_fail(const struct key_reader *reader, const char *path, const json_t *value) {
    struct text expected = {0};
    const char *name = json_string_value(value), *names[GRID_TIMES] = {NULL}; /* that stand without a list */
    memcpy(names, grid_names + 1, (GRID_TIMES - 1) * sizeof *names);
    text_add(&expected, "one of ");
    text_add_names(&expected, names, ", ", ", ");
    for (size_t i = 0; i < LISTS; i++)
        text_add(&expected, ", {%s: [...]}%s", grid_lists[i].name,
                 grid_lists[i].with_points ? " (also with points: N)" : "");
    text_add(&expected, ", {beta: [ALPHA, BETA]} or {karras: RHO}");
    int rc = expected.failed
                 ? error_memory(reader->err)
                 : key_fail_name(reader, path, expected.data, value, name ? text_nearest(name, names) : NULL);
    text_release(&expected);
    return rc;
}

/* A name, a list such as {times: [...]}, {karras: RHO} or {beta: [A, B]}; the member is the whole sampler. */
static int read_grid(KEY_READ_ARGUMENTS) {
    struct sampler *sampler = member;
    (void)key;
    if (json_is_object(value)) {
        bool points = json_object_get(value, "points"), listed = false;
        for (size_t i = 0; i < LISTS; i++)
            listed |= grid_lists[i].with_points && json_object_get(value, grid_lists[i].name);
        if (json_object_size(value) != (size_t)(points ? 2 : 1) || (points && !listed))
            return grid_fail(reader, path, value);
        if (json_object_get(value, "karras")) sampler->grid = GRID_KARRAS;
        if (json_object_get(value, "beta")) sampler->grid = GRID_BETA;
        return keys_read(reader, &grid_table, path, value, member);
    }
    int grid = 1 + text_find(json_string_value(value), grid_names + 1);
    if (grid < 1 || grid_is_list((enum grid_kind)grid)) return grid_fail(reader, path, value);
    sampler->grid = (enum grid_kind)grid;
    return 0;
}

static json_t *write_grid(const struct key *key, const void *member) {
    const struct sampler *sampler = member;
    bool whole = grid_is_list(sampler->grid) || (sampler->grid == GRID_KARRAS && !isnan(sampler->rho)) ||
                 (sampler->grid == GRID_BETA && !isnan(sampler->beta[0]));
    return whole ? keys_write(&grid_table, sampler) : KEY_NAME.write(key, &sampler->grid);
}

const struct key_kind KEY_GRID = {read_grid, write_grid};
