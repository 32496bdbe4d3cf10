/* The keys of `sampler:` as a value. */
#include "job/sampler.h"

#include "base/text.h"
#include "config/keys.h"
#include "format/json_file.h"
#include "job/multistep.h"

#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const clock_names[] = {NULL, "t", "logsnr", NULL};
const char *const grid_names[] = {NULL,    "uniform", "quadratic", "uniform-logsnr", "karras",   "exponential",
                                  "lu",    "beta",    "leading",   "linspace",       "trailing", "linspace-fractional",
                                  "times", "sigmas",  "logsnr",    "steps",          NULL};
static const char *const final_names[] = {NULL, "none", "zero", "denoise", "acp0", "mean", "tweedie", NULL};
const char *const diffusion_names[] = {
    NULL, "constant", "sbdm", "sigma", "linear", "decreasing", "increasing-decreasing", NULL};
static const char *const solver_type_names[] = {NULL, "midpoint", "heun", NULL};
static const char *const variance_names[] = {NULL, "small", "large", "learned", NULL};
static const char *const clip_names[] = {"follows", "kept", NULL}, *const form_names[] = {NULL, "cfg-zero*", "apg",
                                                                                          NULL};
static const char *const state_names[] = {"float64", "float32", NULL};

void sampler_init(struct sampler *sampler) {
    *sampler = (struct sampler){
        .order = NAN,
        .rho = NAN,
        .beta = {NAN, NAN},
        .t_start = NAN,
        .t_end = NAN,
        .eta = NAN,
        .tau = NAN,
        .steps_offset = -1,
        .shift = NAN,
        .churn = {NAN, 0, INFINITY, 1},
        .diffusion = {.norm = 1},
        .last_step = NAN,
        .guidance = {.scale = 1, .interval = {0, INFINITY}, .eta = NAN, .norm_threshold = NAN, .momentum = NAN},
        .clip = {.range = NAN, .threshold = NAN, .threshold_max = NAN},
        .rtol = NAN,
        .atol = NAN};
}

void sampler_release(struct sampler *sampler) {
    free(sampler->plan);
    json_decref(sampler->table);
    free(sampler->times);
    free(sampler->guidance.model);
    free(sampler->guidance.scales);
    free(sampler->guidance.scale_rows);
    *sampler = (struct sampler){0};
}

/* New; NULL of NULL. *whole: false where memory is short. */
static void *copy_bytes(const void *of, size_t size, bool *whole) {
    void *copy = of ? malloc(size) : NULL;
    if (copy) memcpy(copy, of, size);
    *whole &= !of || copy;
    return copy;
}

static char *copy_text(const char *of, bool *whole) {
    return copy_bytes(of, of ? strlen(of) + 1 : 0, whole);
}

int sampler_copy(struct sampler *copy, const struct sampler *of, struct error *err) {
    const struct guidance *guidance = &of->guidance;
    bool whole = true;
    *copy = *of;
    copy->plan = copy_text(of->plan, &whole);
    copy->table = json_incref(of->table);
    copy->times = copy_bytes(of->times, of->times_count * sizeof *of->times, &whole);
    copy->guidance.model = copy_text(guidance->model, &whole);
    copy->guidance.scales = copy_bytes(guidance->scales, 2 * guidance->scales_count * sizeof(double), &whole);
    copy->guidance.scale_rows = copy_text(guidance->scale_rows, &whole);
    if (whole) return 0;
    sampler_release(copy);
    return error_memory(err);
}

/* ---- kinds of its own ---- */

static int read_solver(KEY_READ_ARGUMENTS) {
    const char *name = json_string_value(value);
    char *solver = member;
    if (!name || !*name || strlen(name) >= sizeof((struct sampler *)0)->solver)
        return key_fail(reader, path, key->expected, value);
    strcpy(solver, name);
    return 0;
}

static json_t *write_solver(const struct key *key, const void *member) {
    (void)key;
    return *(const char *)member ? json_string(member) : json_null();
}

static int read_order(KEY_READ_ARGUMENTS) {
    double order;
    if (KEY_NUMBER.read(reader, key, path, value, &order) != 0) return -1;
    if (order != 1.5 && order != trunc(order)) return key_fail(reader, path, key->expected, value);
    *(double *)member = order;
    return 0;
}

#define IN_CHURN(member) offsetof(struct churn, member)
static const char not_negative[] = "a number of 0 or more", above_0[] = "a number above 0";
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

#define IN_RESTART(member) offsetof(struct restart_interval, member)
static const char points[] = "a whole number of grid points from 2 to 10000";
static const struct key restart_rows[] = {
    {"steps", &KEY_INT, IN_RESTART(steps), .expected = points, KEY_RANGE(2, 10000), .required = true},
    {"times", &KEY_INT, IN_RESTART(times), .expected = "a whole number from 1 to 10000", KEY_RANGE(1, 10000)},
    {"low", &KEY_NUMBER, IN_RESTART(low), .expected = above_0, KEY_RANGE(DBL_MIN, DBL_MAX), .required = true},
    {"high", &KEY_NUMBER, IN_RESTART(high), .expected = above_0, KEY_RANGE(DBL_MIN, DBL_MAX), .required = true},
    {"s_noise", &KEY_NUMBER, IN_RESTART(noise), .expected = not_negative, KEY_RANGE(0, DBL_MAX)},
};
static const struct key_table restart_table = KEY_TABLE(restart_rows);

static int read_restart(KEY_READ_ARGUMENTS) { /* a list of intervals */
    struct restart *restart = member;
    size_t count = json_array_size(value);
    *restart = (struct restart){.count = 0};
    if (count == 0 || count > RESTARTS_MOST) return key_fail(reader, path, key->expected, value);
    for (size_t i = 0; i < count; i++) {
        struct restart_interval *interval = &restart->list[restart->count++];
        char *item = text_new("%s[%zu]", path, i);
        *interval = (struct restart_interval){.times = 1, .noise = 1};
        int rc = !item ? error_memory(reader->err)
                 : !json_is_object(json_array_get(value, i))
                     ? key_fail(reader, item, "a map {steps, times, low, high, s_noise}", json_array_get(value, i))
                     : keys_read(reader, &restart_table, item, json_array_get(value, i), interval);
        if (rc == 0 && !(interval->low < interval->high))
            rc = key_error(reader, item, "expected low below high, found %g and %g", interval->low, interval->high);
        free(item);
        if (rc != 0) return -1;
    }
    return 0;
}

static json_t *write_restart(const struct key *key, const void *member) {
    (void)key;
    const struct restart *restart = member;
    json_t *list = restart->count > 0 ? json_array() : json_null();
    for (int i = 0; i < restart->count; i++) json_list_add(&list, keys_write(&restart_table, &restart->list[i]));
    return list;
}

static int read_map(KEY_READ_ARGUMENTS) {
    return KEY_TABLE_OF.read(reader, key, path, value, member);
}

#define IN_DIFFUSION(member) offsetof(struct diffusion, member)
static const struct key diffusion_rows[] = {
    {"form", &KEY_NAME, IN_DIFFUSION(form), .names = diffusion_names, .required = true},
    {"norm", &KEY_NUMBER, IN_DIFFUSION(norm), .expected = above_0, KEY_RANGE(DBL_MIN, DBL_MAX)},
};
static const struct key_table diffusion_table = KEY_TABLE(diffusion_rows);

static json_t *write_diffusion(const struct key *key, const void *member) {
    return ((const struct diffusion *)member)->form == DIFFUSION_UNSET ? json_null() : KEY_TABLE_OF.write(key, member);
}

/* [low, high] of sigma/alpha, or {t: [low, high]}; high .inf where it is open. The member is the guidance. */
static const struct key interval_end = {.kind = &KEY_NUMBER,
                                        .expected = "[low, high] of sigma/alpha, or {t: [low, high]}, of 0 or more",
                                        KEY_RANGE(0, INFINITY)};

static int read_interval(KEY_READ_ARGUMENTS) {
    struct guidance *guidance = member;
    double *interval = guidance->interval;
    guidance->interval_in_t = json_object_size(value) == 1 && json_object_get(value, "t");
    if (guidance->interval_in_t) value = json_object_get(value, "t");
    if (json_array_size(value) != 2) return key_fail(reader, path, key->expected, value);
    for (size_t i = 0; i < 2; i++)
        if (KEY_NUMBER.read(reader, &interval_end, path, json_array_get(value, i), &interval[i]) != 0) return -1;
    return interval[0] < interval[1] ? 0 : key_fail(reader, path, key->expected, value);
}

static json_t *write_interval(const struct key *key, const void *member) {
    (void)key;
    const struct guidance *guidance = member;
    const double *interval = guidance->interval;
    if (interval[0] == 0 && isinf(interval[1])) return json_null();
    json_t *pair = json_pack("[o, o]", KEY_NUMBER.write(&interval_end, &interval[0]),
                             KEY_NUMBER.write(&interval_end, &interval[1]));
    return guidance->interval_in_t ? json_pack("{s:o}", "t", pair) : pair;
}

/* A number, a list of [t, scale] with falling t, or a path. The member is the guidance. */
static int read_scale(KEY_READ_ARGUMENTS) {
    struct guidance *guidance = member;
    size_t count = json_array_size(value);
    free(guidance->scales);
    guidance->scales = NULL;
    guidance->scales_count = 0;
    free(guidance->scale_rows);
    guidance->scale_rows = NULL;
    if (json_is_string(value)) {
        guidance->scale = NAN;
        return KEY_PATH.read(reader, key, path, value, &guidance->scale_rows);
    }
    if (count == 0) return KEY_NUMBER.read(reader, key, path, value, &guidance->scale);
    double *x = guidance->scales = malloc(2 * count * sizeof *x);
    if (!x) return error_memory(reader->err);
    for (size_t i = 0; i < count; i++, x += 2) {
        const json_t *pair = json_array_get(value, i);
        for (size_t k = 0; k < 2; k++) x[k] = json_number_value(json_array_get(pair, k));
        if (json_array_size(pair) != 2 || !json_is_number(json_array_get(pair, 0)) ||
            !json_is_number(json_array_get(pair, 1)) || (i > 0 && !(x[0] < x[-2])))
            return key_fail_item(reader, path, i, key->expected, pair);
    }
    guidance->scales_count = count;
    guidance->scale = NAN;
    return 0;
}

static json_t *write_scale(const struct key *key, const void *member) {
    const struct guidance *guidance = member;
    if (guidance->scale_rows) return KEY_PATH.write(key, &guidance->scale_rows);
    if (!guidance->scales) return KEY_NUMBER.write(key, &guidance->scale);
    json_t *list = json_array();
    for (size_t i = 0; i < guidance->scales_count; i++)
        json_list_add(&list, json_pack("[f, f]", guidance->scales[2 * i], guidance->scales[2 * i + 1]));
    return list;
}

/* true, false or auto. false is left out, as if it were not said. */
static int read_batched(KEY_READ_ARGUMENTS) {
    bool on = false;
    bool measured = json_is_string(value) && strcmp(json_string_value(value), "auto") == 0;
    if (!measured && KEY_BOOL.read(reader, key, path, value, &on) != 0) return -1;
    *(enum batched *)member = measured ? BATCHED_AUTO : on ? BATCHED_ON : BATCHED_OFF;
    return 0;
}

static json_t *write_batched(const struct key *key, const void *member) {
    (void)key;
    enum batched batched = *(const enum batched *)member;
    return batched == BATCHED_OFF ? json_null() : batched == BATCHED_ON ? json_true() : json_string("auto");
}

static const struct key_kind INTERVAL = {read_interval, write_interval}, SCALE = {read_scale, write_scale},
                             BATCHED = {read_batched, write_batched};
static const struct key guidance_rows[] = {
    {"scale", &SCALE, 0, .expected = "a number, a list of [t, scale] with falling t, or a path (.npy)",
     KEY_RANGE(-DBL_MAX, DBL_MAX), .required = true},
    {"rescale", &KEY_NUMBER, offsetof(struct guidance, rescale), .expected = "a number from 0 to 1", KEY_RANGE(0, 1)},
    {"interval", &INTERVAL, 0, .expected = "[low, high] of sigma/alpha, or {t: [low, high]}"},
    {"channels", &KEY_INT, offsetof(struct guidance, channels), .expected = "a number of channels from 1 to 2147483647",
     KEY_RANGE(1, INT_MAX)},
    {"model", &KEY_PATH, offsetof(struct guidance, model), .expected = "the path of the model that guides"},
    {"form", &KEY_NAME, offsetof(struct guidance, form), .names = form_names},
    {"zero_init_steps", &KEY_INT, offsetof(struct guidance, zero_init_steps), .expected = "a whole number of 1 or more",
     KEY_RANGE(1, 1000000)},
    {"eta", &KEY_NUMBER, offsetof(struct guidance, eta), .expected = not_negative, KEY_RANGE(0, DBL_MAX)},
    {"norm_threshold", &KEY_NUMBER, offsetof(struct guidance, norm_threshold), .expected = above_0,
     KEY_RANGE(DBL_MIN, DBL_MAX)},
    {"momentum", &KEY_NUMBER, offsetof(struct guidance, momentum), .expected = "a number",
     KEY_RANGE(-DBL_MAX, DBL_MAX)},
    {"batched", &BATCHED, offsetof(struct guidance, batched), .expected = "true, false or auto"},
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
                 !guidance->channels && !guidance->model && !guidance->scales && !guidance->scale_rows &&
                 guidance->form == GUIDANCE_PLAIN && guidance->batched == BATCHED_OFF;
    return plain ? KEY_NUMBER.write(key, &guidance->scale) : keys_write(&guidance_table, member);
}

static const struct key clip_rows[] = {
    {"range", &KEY_NUMBER, offsetof(struct clip, range), .expected = above_0, KEY_RANGE(DBL_MIN, DBL_MAX)},
    {"epsilon", &KEY_NAME, offsetof(struct clip, epsilon), .names = clip_names},
    {"threshold", &KEY_NUMBER, offsetof(struct clip, threshold), .expected = "a quantile from 0 to 1", KEY_RANGE(0, 1)},
    {"threshold_max", &KEY_NUMBER, offsetof(struct clip, threshold_max), .expected = above_0,
     KEY_RANGE(DBL_MIN, DBL_MAX)},
};
static const struct key_table clip_table = KEY_TABLE(clip_rows);

static int read_clip(KEY_READ_ARGUMENTS) { /* true, false, or a map */
    struct clip *clip = member;
    *clip = (struct clip){.on = json_is_object(value), .range = NAN, .threshold = NAN, .threshold_max = NAN};
    if (!json_is_object(value)) return KEY_BOOL.read(reader, key, path, value, &clip->on);
    if (json_object_size(value) == 0) return key_fail(reader, path, key->expected, value);
    return keys_read(reader, &clip_table, path, value, clip);
}

static json_t *write_clip(const struct key *key, const void *member) {
    const struct clip *clip = member;
    bool plain = clip->epsilon == CLIP_FOLLOWS && isnan(clip->range) && isnan(clip->threshold);
    return plain ? KEY_BOOL.write(key, &clip->on) : keys_write(&clip_table, clip);
}

/* A table, or the path of one: either way it is part of the job from then on. */
static int read_table(KEY_READ_ARGUMENTS) {
    json_t **table = member, *found = NULL;
    char *file = NULL;
    struct error why = {0};
    if (!json_is_string(value) && !json_is_object(value)) return key_fail(reader, path, key->expected, value);
    if (json_is_string(value) && KEY_PATH.read(reader, key, path, value, &file) != 0) return -1;
    int rc = file ? json_file_read(&found, file, &why) : 0;
    if (rc == 0) rc = multistep_read(table, file ? found : value, &why);
    if (rc != 0 && why.code == CODE_DATA && file && found) error_prefix(&why, "%s", file);
    if (rc != 0 && why.code == CODE_DATA) key_error(reader, path, "%s", why.message);
    else if (rc != 0) *reader->err = why;
    json_decref(found);
    free(file);
    return rc;
}

static json_t *write_table(const struct key *key, const void *member) {
    (void)key;
    json_t *table = *(json_t *const *)member;
    return table ? json_incref(table) : json_null();
}

static const struct key_kind SOLVER = {read_solver, write_solver}, ORDER = {read_order, write_number},
                             GUIDANCE = {read_guidance, write_guidance}, TOGGLE = {read_toggle, write_toggle},
                             CHURN = {read_map, write_churn}, DIFFUSION = {read_map, write_diffusion},
                             RESTART = {read_restart, write_restart}, CLIP = {read_clip, write_clip},
                             TABLE = {read_table, write_table};

/* ---- the table ---- */

#define AT(member) offsetof(struct sampler, member)
static const char some_steps[] = "a whole number from 1 to 1000000";

static const struct key rows[] = {
    {"solver", &SOLVER, AT(solver), .expected = "the name of a solver (qtaylor plan --list)"},
    {"order", &ORDER, AT(order), .expected = "a whole number of 1 or more, 1.5 or .inf", KEY_RANGE(1, INFINITY)},
    {"nfe", &KEY_INT, AT(nfe), .expected = some_steps, KEY_RANGE(1, 1000000)},
    {"steps", &KEY_INT, AT(steps), .expected = some_steps, KEY_RANGE(1, 1000000)},
    {"clock", &KEY_NAME, AT(clock), .names = clock_names},
    {"grid", &KEY_GRID, 0, .names = grid_names},
    {"steps_offset", &KEY_INT, AT(steps_offset), .expected = "a whole number of 0 or more", KEY_RANGE(0, 1000000)},
    {"shift", &KEY_NUMBER, AT(shift), .expected = above_0, KEY_RANGE(DBL_MIN, DBL_MAX)},
    {"t_start", &KEY_NUMBER, AT(t_start), .expected = above_0, KEY_RANGE(DBL_MIN, DBL_MAX)},
    {"t_end", &KEY_NUMBER, AT(t_end), .expected = not_negative, KEY_RANGE(0, DBL_MAX)},
    {"final", &KEY_NAME, AT(final), .names = final_names},
    {"eta", &KEY_NUMBER, AT(eta), .expected = not_negative, KEY_RANGE(0, DBL_MAX)},
    {"variance", &KEY_NAME, AT(variance), .names = variance_names},
    {"tau", &KEY_NUMBER, AT(tau), .expected = not_negative, KEY_RANGE(0, DBL_MAX)},
    {"churn", &CHURN, AT(churn), .expected = "a map {s_churn, s_min, s_max, s_noise}", .table = &churn_table},
    {"restart", &RESTART, AT(restart), .expected = "a list of 1 to 16 maps {steps, times, low, high, s_noise}"},
    {"lower_order_final", &TOGGLE, AT(lower_order_final), .expected = "true or false"},
    {"guidance", &GUIDANCE, AT(guidance),
     .expected = "a number, or {scale, rescale, interval, channels, model, form, ...}", KEY_RANGE(-DBL_MAX, DBL_MAX)},
    {"clip", &CLIP, AT(clip), .expected = "true, false or {range, epsilon, threshold, threshold_max}"},
    {"rtol", &KEY_NUMBER, AT(rtol), .expected = above_0, KEY_RANGE(DBL_MIN, DBL_MAX)},
    {"atol", &KEY_NUMBER, AT(atol), .expected = above_0, KEY_RANGE(DBL_MIN, DBL_MAX)},
    {"state", &KEY_NAME, AT(state), .names = state_names},
    {"diffusion", &DIFFUSION, AT(diffusion), .expected = "a map {form, norm}", .table = &diffusion_table},
    {"solver_type", &KEY_NAME, AT(solver_type), .names = solver_type_names},
    {"last_step", &KEY_NUMBER, AT(last_step), .expected = above_0, KEY_RANGE(DBL_MIN, DBL_MAX)},
    {"plan", &KEY_PATH, AT(plan), .expected = "the path of a plan (what plan --json prints)"},
    {"table", &TABLE, AT(table), .expected = "the path of a table {times, steps}, or one"},
};
const struct key_table sampler_keys = KEY_TABLE(rows);

json_t *sampler_to_json(const struct sampler *sampler) {
    return keys_write(&sampler_keys, sampler);
}
