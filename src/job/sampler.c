#include "job/sampler.h"

#include "job/keys.h"

#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const clock_names[] = {NULL, "t", "logsnr", NULL};
const char *const grid_names[] = {NULL,      "uniform",  "quadratic", "uniform-logsnr", "karras", "exponential",
                                  "leading", "linspace", "trailing",  "times",          NULL};
const char *const final_names[] = {NULL, "none", "zero", "denoise", "mean", "tweedie", NULL};
const char *const diffusion_names[] = {NULL, "constant", "sbdm", "sigma", "linear", "decreasing", "increasing-decreasing", NULL};
const char *const solver_type_names[] = {NULL, "midpoint", "heun", NULL};
const char *const variance_names[] = {NULL, "small", "large", "learned", NULL};
const char *const state_names[] = {"float64", "float32", NULL};

void sampler_init(struct sampler *sampler) {
    *sampler = (struct sampler){.order = NAN, .rho = NAN, .t_start = NAN, .t_end = NAN, .eta = NAN, .tau = NAN,
                                .churn = {NAN, 0, INFINITY, 1}, .diffusion = {.norm = 1}, .last_step = NAN,
                                .guidance = {.scale = 1, .interval = {0, INFINITY}},
                                .rtol = NAN, .atol = NAN};
}

/* ---- kinds of its own ---- */

static int read_solver(KEY_READ_ARGUMENTS) {
    const char *name = json_string_value(value);
    char *solver = member;
    if (!name || !*name || strlen(name) >= sizeof ((struct sampler *)0)->solver)
        return key_fail(reader, path, key->expected, value);
    strcpy(solver, name);
    return 0;
}

static json_t *write_solver(const struct key *key, const void *member) {
    (void)key;
    return json_string(member);
}

static int read_order(KEY_READ_ARGUMENTS) {
    double order;
    if (KEY_NUMBER.read(reader, key, path, value, &order) != 0) return -1;
    if (order != 1.5 && order != trunc(order)) return key_fail(reader, path, key->expected, value);
    *(double *)member = order;
    return 0;
}

static int read_times(KEY_READ_ARGUMENTS) {
    struct sampler *sampler = member;
    free(sampler->times);
    if (key_numbers(reader, path, value, key->expected, &sampler->times, &sampler->times_count) != 0) return -1;
    for (size_t i = 0; i < sampler->times_count; i++)
        if (!(sampler->times[i] >= 0) || (i > 0 && !(sampler->times[i] < sampler->times[i - 1])))
            return key_fail_item(reader, path, i, key->expected, json_array_get(value, i));
    sampler->grid = GRID_TIMES;
    return 0;
}

static json_t *write_times(const struct key *key, const void *member) {
    (void)key;
    const struct sampler *sampler = member;
    json_t *list = sampler->times ? json_array() : json_null();
    for (size_t i = 0; list && i < sampler->times_count; i++) {
        if (json_array_append_new(list, json_real(sampler->times[i])) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}

static const struct key_kind TIMES = {read_times, write_times};
static const struct key grid_rows[] = {
    {"times", &TIMES, 0, .expected = "a list of times that go down, of 0 or more"},
    {"karras", &KEY_NUMBER, offsetof(struct sampler, rho), .expected = "rho, a number above 0", KEY_RANGE(DBL_MIN, DBL_MAX)},
};
static const struct key_table grid_table = KEY_TABLE(grid_rows);

/* A name, {times: [...]} or {karras: RHO}; the member is the whole sampler. */
static int read_grid(KEY_READ_ARGUMENTS) {
    struct sampler *sampler = member;
    if (json_is_object(value)) {
        if (json_object_size(value) != 1) return key_fail(reader, path, key->expected, value);
        if (json_object_get(value, "karras")) sampler->grid = GRID_KARRAS;
        return keys_read(reader, &grid_table, path, value, member);
    }
    const char *name = json_string_value(value);
    if (name && strcmp(name, grid_names[GRID_TIMES]) == 0) return key_fail(reader, path, key->expected, value);
    return KEY_NAME.read(reader, key, path, value, &sampler->grid);
}

static json_t *write_grid(const struct key *key, const void *member) {
    const struct sampler *sampler = member;
    bool whole = sampler->grid == GRID_TIMES || (sampler->grid == GRID_KARRAS && !isnan(sampler->rho));
    return whole ? keys_write(&grid_table, sampler) : KEY_NAME.write(key, &sampler->grid);
}

#define IN_CHURN(member) offsetof(struct churn, member)
static const char not_negative[] = "a number of 0 or more";
static const struct key churn_rows[] = {
    {"s_churn", &KEY_NUMBER, IN_CHURN(amount), .expected = not_negative, KEY_RANGE(0, DBL_MAX), .required = true},
    {"s_min", &KEY_NUMBER, IN_CHURN(low), .expected = not_negative, KEY_RANGE(0, DBL_MAX)},
    {"s_max", &KEY_NUMBER, IN_CHURN(high), .expected = not_negative, KEY_RANGE(0, INFINITY)},
    {"s_noise", &KEY_NUMBER, IN_CHURN(noise), .expected = not_negative, KEY_RANGE(0, DBL_MAX)},
};
static const struct key_table churn_table = KEY_TABLE(churn_rows);

static json_t *write_churn(const struct key *key, const void *member) {
    return isnan(((const struct churn *)member)->amount) ? json_null() : KEY_TABLE_OF.write(key, member);
}

static int read_map(KEY_READ_ARGUMENTS) {
    return KEY_TABLE_OF.read(reader, key, path, value, member);
}

#define IN_DIFFUSION(member) offsetof(struct diffusion, member)
static const struct key diffusion_rows[] = {
    {"form", &KEY_NAME, IN_DIFFUSION(form), .names = diffusion_names, .required = true},
    {"norm", &KEY_NUMBER, IN_DIFFUSION(norm), .expected = "a number above 0", KEY_RANGE(DBL_MIN, DBL_MAX)},
};
static const struct key_table diffusion_table = KEY_TABLE(diffusion_rows);

static json_t *write_diffusion(const struct key *key, const void *member) {
    return ((const struct diffusion *)member)->form == DIFFUSION_UNSET ? json_null() : KEY_TABLE_OF.write(key, member);
}

/* [low, high], high .inf where it is open. */
static const struct key interval_end = {.kind = &KEY_NUMBER, .expected = "[low, high] of sigma/alpha", KEY_RANGE(0, INFINITY)};

static int read_interval(KEY_READ_ARGUMENTS) {
    double *interval = member;
    if (json_array_size(value) != 2) return key_fail(reader, path, key->expected, value);
    for (size_t i = 0; i < 2; i++)
        if (KEY_NUMBER.read(reader, &interval_end, path, json_array_get(value, i), &interval[i]) != 0) return -1;
    return interval[0] < interval[1] ? 0 : key_fail(reader, path, key->expected, value);
}

static json_t *write_interval(const struct key *key, const void *member) {
    (void)key;
    const double *interval = member;
    if (interval[0] == 0 && isinf(interval[1])) return json_null();
    return json_pack("[o, o]", KEY_NUMBER.write(&interval_end, &interval[0]), KEY_NUMBER.write(&interval_end, &interval[1]));
}

static const struct key_kind INTERVAL = {read_interval, write_interval};
static const struct key guidance_rows[] = {
    {"scale", &KEY_NUMBER, offsetof(struct guidance, scale), .expected = "a number", KEY_RANGE(-DBL_MAX, DBL_MAX),
     .required = true},
    {"rescale", &KEY_NUMBER, offsetof(struct guidance, rescale), .expected = "a number from 0 to 1", KEY_RANGE(0, 1)},
    {"interval", &INTERVAL, offsetof(struct guidance, interval), .expected = "[low, high] of sigma/alpha"},
    {"channels", &KEY_INT, offsetof(struct guidance, channels),
     .expected = "a number of channels from 1 to 2147483647", KEY_RANGE(1, INT_MAX)},
    {"model", &KEY_PATH, offsetof(struct guidance, model), .expected = "the path of the model that guides"},
};
static const struct key_table guidance_table = KEY_TABLE(guidance_rows);

static int read_guidance(KEY_READ_ARGUMENTS) { /* a number, or a map */
    if (json_is_object(value)) return keys_read(reader, &guidance_table, path, value, member);
    return KEY_NUMBER.read(reader, key, path, value, member);
}

static int read_toggle(KEY_READ_ARGUMENTS) {
    bool on;
    if (KEY_BOOL.read(reader, key, path, value, &on) != 0) return -1;
    *(enum toggle *)member = on ? TOGGLE_ON : TOGGLE_OFF;
    return 0;
}

static json_t *write_toggle(const struct key *key, const void *member) {
    (void)key;
    enum toggle toggle = *(const enum toggle *)member;
    return toggle == TOGGLE_UNSET ? json_null() : json_boolean(toggle == TOGGLE_ON);
}

static json_t *write_number(const struct key *key, const void *member) {
    return KEY_NUMBER.write(key, member);
}

static json_t *write_guidance(const struct key *key, const void *member) {
    const struct guidance *guidance = member;
    bool plain = guidance->interval[0] == 0 && isinf(guidance->interval[1]) && guidance->rescale == 0 &&
                 !guidance->channels && !guidance->model;
    return plain ? KEY_NUMBER.write(key, &guidance->scale) : keys_write(&guidance_table, member);
}

static const struct key_kind SOLVER = {read_solver, write_solver}, ORDER = {read_order, write_number},
                             GRID = {read_grid, write_grid}, GUIDANCE = {read_guidance, write_guidance},
                             TOGGLE = {read_toggle, write_toggle}, CHURN = {read_map, write_churn}, DIFFUSION = {read_map, write_diffusion};

/* ---- the table ---- */

#define AT(member) offsetof(struct sampler, member)
static const char a_positive[] = "a number above 0", some_steps[] = "a whole number from 1 to 1000000";

static const struct key rows[] = {
    {"solver", &SOLVER, AT(solver), .expected = "the name of a solver (qtaylor plan --list)"},
    {"order", &ORDER, AT(order), .expected = "a whole number of 1 or more, 1.5 or .inf", KEY_RANGE(1, INFINITY)},
    {"nfe", &KEY_INT, AT(nfe), .expected = some_steps, KEY_RANGE(1, 1000000)},
    {"steps", &KEY_INT, AT(steps), .expected = some_steps, KEY_RANGE(1, 1000000)},
    {"clock", &KEY_NAME, AT(clock), .names = clock_names},
    {"grid", &GRID, 0,
     "one of uniform, quadratic, uniform-logsnr, karras, exponential, leading, linspace, trailing, {times: [...]} or {karras: RHO}",
     .names = grid_names},
    {"t_start", &KEY_NUMBER, AT(t_start), .expected = a_positive, KEY_RANGE(DBL_MIN, DBL_MAX)},
    {"t_end", &KEY_NUMBER, AT(t_end), .expected = "a number of 0 or more", KEY_RANGE(0, DBL_MAX)},
    {"final", &KEY_NAME, AT(final), .names = final_names},
    {"eta", &KEY_NUMBER, AT(eta), .expected = "a number of 0 or more", KEY_RANGE(0, DBL_MAX)},
    {"variance", &KEY_NAME, AT(variance), .names = variance_names},
    {"tau", &KEY_NUMBER, AT(tau), .expected = "a number of 0 or more", KEY_RANGE(0, DBL_MAX)},
    {"churn", &CHURN, AT(churn), .expected = "a map {s_churn, s_min, s_max, s_noise}", .table = &churn_table},
    {"lower_order_final", &TOGGLE, AT(lower_order_final), .expected = "true or false"},
    {"guidance", &GUIDANCE, AT(guidance),
     .expected = "a number, or {scale, rescale, interval, channels, model}", KEY_RANGE(-DBL_MAX, DBL_MAX)},
    {"clip", &KEY_BOOL, AT(clip), .expected = "true or false"},
    {"rtol", &KEY_NUMBER, AT(rtol), .expected = a_positive, KEY_RANGE(DBL_MIN, DBL_MAX)},
    {"atol", &KEY_NUMBER, AT(atol), .expected = a_positive, KEY_RANGE(DBL_MIN, DBL_MAX)},
    {"state", &KEY_NAME, AT(state), .names = state_names},
    {"diffusion", &DIFFUSION, AT(diffusion), .expected = "a map {form, norm}", .table = &diffusion_table},
    {"solver_type", &KEY_NAME, AT(solver_type), .names = solver_type_names},
    {"last_step", &KEY_NUMBER, AT(last_step), .expected = a_positive, KEY_RANGE(DBL_MIN, DBL_MAX)},
};
const struct key_table sampler_keys = KEY_TABLE(rows);

json_t *sampler_to_json(const struct sampler *sampler) {
    return keys_write(&sampler_keys, sampler);
}
