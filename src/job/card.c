/* The model card: keys, checks and defaults. */
#include "job/card.h"

#include "config/keys.h"
#include "job/card_inputs.h"
#include "job/decoder.h"

#include <float.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const prediction_names[] = {"epsilon", "x0",     "v",      "score",     "velocity",
                                        "edm",     "edm-vp", "edm-ve", "edm-iddpm", NULL};
static const char *const time_names[] = {"continuous", "discrete", "sigma", "log-sigma", "c_noise", NULL};
static const char *const schedule_names[] = {
    "linear", "cosine", "log-linear", "discrete-linear", "discrete-scaled-linear", "discrete-cosine", "table", "edm",
    "flow",   "gvp",    NULL};

enum { STEPS_MOST = 1000000 };

/* ---- kinds of its own (a card is never written: card->json has it) ---- */

static int read_shape(KEY_READ_ARGUMENTS) {
    enum { LONGEST = 16384, LARGEST = 1 << 28 };
    int *sides = member;
    json_int_t elements = 1;
    bool good = json_array_size(value) == 3;
    for (size_t i = 0; good && i < 3; i++) {
        json_int_t side = json_integer_value(json_array_get(value, i)); /* 0 when it is no integer */
        good = side >= 1 && side <= LONGEST && (elements *= side) <= LARGEST;
        sides[i] = (int)side;
    }
    return good ? 0 : key_fail(reader, path, key->expected, value);
}

/* A bool by two names, of which the second says true. */
static int read_either(KEY_READ_ARGUMENTS) {
    enum { FIRST, SECOND } name = FIRST;
    if (KEY_NAME.read(reader, key, path, value, &name) != 0) return -1;
    *(bool *)member = name == SECOND;
    return 0;
}

static int read_cumprod(KEY_READ_ARGUMENTS) { /* the member is the card */
    struct card *card = member;
    size_t count;
    free(card->schedule.alphas_cumprod);
    if (key_numbers(reader, path, value, key->expected, &card->schedule.alphas_cumprod, &count) != 0) return -1;
    const double *table = card->schedule.alphas_cumprod;
    for (size_t i = 0; i < count; i++)
        if (!((i + 1 == count ? table[i] >= 0 : table[i] > 0) && table[i] < (i ? table[i - 1] : 1)))
            return key_fail_item(reader, path, i, key->expected, json_array_get(value, i));
    return count <= STEPS_MOST ? 0 : key_error(reader, path, "expected %s, found %zu", key->expected, count);
}

static int read_noise_at(KEY_READ_ARGUMENTS) {
    int noise_at;
    if (KEY_INT.read(reader, key, path, value, &noise_at) != 0) return -1;
    *(bool *)member = noise_at == 0;
    return 0;
}

/* One number for each trained step, 0 or more. */
static int read_levels(KEY_READ_ARGUMENTS) {
    size_t count;
    free(*(double **)member);
    *(double **)member = NULL;
    if (key_numbers(reader, path, value, key->expected, (double **)member, &count) != 0) return -1;
    for (size_t i = 0; i < count; i++)
        if (!((*(double **)member)[i] >= 0))
            return key_fail_item(reader, path, i, key->expected, json_array_get(value, i));
    return count <= STEPS_MOST ? 0 : key_error(reader, path, "expected %s, found %zu", key->expected, count);
}

static int read_range(KEY_READ_ARGUMENTS) {
    if (!json_is_null(value)) return KEY_PAIR.read(reader, key, path, value, member);
    ((double *)member)[0] = -INFINITY;
    ((double *)member)[1] = INFINITY;
    return 0;
}

const struct key_kind CARD_SHAPE = {read_shape, NULL}, CARD_RANGE = {read_range, NULL};
static const struct key_kind EITHER = {read_either, NULL}, CUMPROD = {read_cumprod, NULL}, LEVELS = {read_levels, NULL},
                             NOISE_AT = {read_noise_at, NULL};

/* ---- the tables ---- */

#define AT(member) offsetof(struct card, member)
static const char some_levels[] = "a list of at most 1000000 numbers of 0 or more, one a trained step";
static const char a_positive[] = "a number above 0", some_steps[] = "a whole number from 1 to 1000000";
static const char *const dtype_names[] = {"float32", "int64", NULL}, *const variance_kinds[] = {"fixed", "learned",
                                                                                                NULL};

static const char *const inside_names[] = {"float32", "bfloat16", "float16", NULL};

static const struct key time_rows[] = {
    {"kind", &KEY_NAME, AT(time.kind), .names = time_names, .required = true},
    {"scale", &KEY_NUMBER, AT(time.scale), .expected = a_positive, KEY_RANGE(DBL_MIN, DBL_MAX)},
    {"noise_at", &NOISE_AT, AT(time.reversed), .expected = "1 (noise at time 1) or 0 (noise at 0, data at 1)",
     KEY_RANGE(0, 1)},
    {"steps", &KEY_INT, AT(time.steps), .expected = some_steps, KEY_RANGE(1, STEPS_MOST)},
    {"dtype", &EITHER, AT(time.integer), .names = dtype_names},
};
static const struct key schedule_rows[] = {
    {"kind", &KEY_NAME, AT(schedule.kind), .names = schedule_names, .required = true},
    {"beta0", &KEY_NUMBER, AT(schedule.beta0), .expected = a_positive, KEY_RANGE(DBL_MIN, DBL_MAX)},
    {"beta1", &KEY_NUMBER, AT(schedule.beta1), .expected = a_positive, KEY_RANGE(DBL_MIN, DBL_MAX)},
    {"s", &KEY_NUMBER, AT(schedule.s), .expected = "a number from 0 to 1", KEY_RANGE(0, 1)},
    {"logsnr", &KEY_PAIR, AT(schedule.logsnr_end), .expected = "two numbers that go up, at t = 1 and at t = 0"},
    {"sigma_min", &KEY_NUMBER, AT(schedule.sigma_min), .expected = a_positive, KEY_RANGE(DBL_MIN, DBL_MAX)},
    {"sigma_max", &KEY_NUMBER, AT(schedule.sigma_max), .expected = a_positive, KEY_RANGE(DBL_MIN, DBL_MAX)},
    {"steps", &KEY_INT, AT(schedule.steps), .expected = some_steps, KEY_RANGE(1, STEPS_MOST)},
    {"alphas_cumprod", &CUMPROD, 0,
     .expected = "a list of at most 1000000 numbers between 0 and 1 that go down, of which the last may be 0"},
    {"alphas", &LEVELS, AT(schedule.alphas), .expected = some_levels},
    {"sigmas", &LEVELS, AT(schedule.sigmas), .expected = some_levels},
    {"noise_scale", &KEY_NUMBER, AT(schedule.noise_scale), .expected = a_positive, KEY_RANGE(DBL_MIN, DBL_MAX)},
};
static const struct key label_rows[] = {
    {"classes", &KEY_INT64, AT(classes), .expected = "a whole number from 0 to 2147483647", KEY_RANGE(0, INT_MAX),
     .required = true},
    {"null", &KEY_INT64, AT(null_label), .expected = "a label, -1 or null", KEY_RANGE(-1, INT_MAX), .nullable = true},
};
static const struct key_kind INPUTS = {card_read_inputs, NULL};
static const struct key_table time_keys = KEY_TABLE(time_rows), schedule_keys = KEY_TABLE(schedule_rows),
                              label_keys = KEY_TABLE(label_rows);
static const struct key rows[] = {
    {"shape", &CARD_SHAPE, AT(channels), .expected = "[channels, height, width], whole numbers of 1 or more",
     .required = true},
    {"range", &CARD_RANGE, AT(low), .expected = "two numbers that go up, such as [-1, 1], or null"},
    {"prediction", &KEY_NAME, AT(prediction), .names = prediction_names, .required = true},
    {"sigma_data", &KEY_NUMBER, AT(sigma_data), .expected = a_positive, KEY_RANGE(DBL_MIN, DBL_MAX)},
    {"time", &KEY_TABLE_OF, 0, .expected = "a map such as {kind: continuous}", .table = &time_keys, .required = true},
    {"schedule", &KEY_TABLE_OF, 0, .expected = "a map such as {kind: linear}", .table = &schedule_keys,
     .required = true},
    {"labels", &KEY_TABLE_OF, 0, .table = &label_keys, .nullable = true},
    {"inputs", &INPUTS, 0, .expected = "a list of at most 8 maps {name, shape, dtype, null}"},
    {"batch", &KEY_INT, AT(batch), .expected = "a whole number from 1 to 2147483647, or null", KEY_RANGE(1, INT_MAX),
     .nullable = true},
    {"variance", &EITHER, AT(learned_variance), .names = variance_kinds},
    {"dtype", &KEY_NAME, AT(inside), .names = inside_names},
};
static const struct key_table card_keys = KEY_TABLE(rows);

/* Which kinds of time and schedule a key belongs to. */
#define KIND(kind) (1u << (kind))
#define DISCRETE \
    (KIND(SCHEDULE_DISCRETE_LINEAR) | KIND(SCHEDULE_DISCRETE_SCALED_LINEAR) | KIND(SCHEDULE_DISCRETE_COSINE))
struct belongs {
    const char *key;
    unsigned kinds;
};
static const struct belongs time_belongs[] = {
    {"scale", KIND(TIME_CONTINUOUS)},
    {"noise_at", KIND(TIME_CONTINUOUS)},
    {"steps", KIND(TIME_DISCRETE)},
    {"dtype", KIND(TIME_DISCRETE)},
    {NULL, 0},
};
static const struct belongs schedule_belongs[] = {
    {"beta0", KIND(SCHEDULE_LINEAR) | DISCRETE}, /* squaredcos_cap_v2 has no use for them, but files carry them */
    {"beta1", KIND(SCHEDULE_LINEAR) | DISCRETE},
    {"s", KIND(SCHEDULE_COSINE)},
    {"logsnr", KIND(SCHEDULE_LOG_LINEAR)},
    {"sigma_min", KIND(SCHEDULE_EDM)},
    {"sigma_max", KIND(SCHEDULE_EDM)},
    {"steps", DISCRETE | KIND(SCHEDULE_TABLE)},
    {"alphas_cumprod", KIND(SCHEDULE_TABLE)},
    {"alphas", KIND(SCHEDULE_TABLE)},
    {"sigmas", KIND(SCHEDULE_TABLE)},
    {"noise_scale", KIND(SCHEDULE_FLOW)},
    {NULL, 0},
};

/* By schedule kind: score_sde's VP-SDE, DDPM and latent diffusion; 0 where there is none. */
static const double default_betas[][2] = {
    [SCHEDULE_LINEAR] = {0.1, 20},
    [SCHEDULE_DISCRETE_LINEAR] = {1e-4, 0.02},
    [SCHEDULE_DISCRETE_SCALED_LINEAR] = {0.00085, 0.012},
    [SCHEDULE_GVP] = {0}, /* the last */
};

/* ---- checks over several keys ---- */

/* key_error for a key of the card; path: of the card, "" or "model.card". */
__attribute__((format(printf, 4, 5))) static int card_error(const struct key_reader *reader, const char *path,
                                                            const char *key, const char *format, ...) {
    char below[100], message[300];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    snprintf(below, sizeof below, "%s%s%s", path, *path ? "." : "", key);
    return key_error(reader, below, "%s", message);
}

static int check_belongs(const struct key_reader *reader, const char *path, const json_t *map, const char *part,
                         const struct belongs *belongs, unsigned kind, const char *kind_name) {
    for (; belongs->key; belongs++) {
        if (belongs->kinds & KIND(kind) || !json_object_get(json_object_get(map, part), belongs->key)) continue;
        char key[50];
        snprintf(key, sizeof key, "%s.%s", part, belongs->key);
        return card_error(reader, path, key, "expected no such key beside %s.kind \"%s\"; leave it out", part,
                          kind_name);
    }
    return 0;
}

/* alphas_cumprod, or alphas and sigmas: *steps numbers each. */
static int check_table(const struct key_reader *reader, const char *path, const struct card *card,
                       const json_t *schedule, int *steps) {
    const double *alphas = card->schedule.alphas, *sigmas = card->schedule.sigmas;
    size_t counts[3];
    const char *keys[] = {"alphas_cumprod", "alphas", "sigmas"};
    for (int i = 0; i < 3; i++) counts[i] = json_array_size(json_object_get(schedule, keys[i]));
    *steps = (int)(counts[0] ? counts[0] : counts[1]);
    if (!counts[0] && (!counts[1] || !counts[2]))
        return card_error(reader, path, "schedule.alphas_cumprod",
                          "missing; expected the list of a table schedule (or alphas and sigmas)");
    if (counts[0] && (counts[1] || counts[2]))
        return card_error(reader, path, "schedule.alphas", "expected alphas_cumprod, or alphas and sigmas, found both");
    if (!counts[0] && counts[1] != counts[2])
        return card_error(reader, path, "schedule.sigmas", "expected as many as alphas, %zu, found %zu", counts[1],
                          counts[2]);
    for (int i = 0; !counts[0] && i < *steps; i++) {
        bool falls = i == 0 || alphas[i] * sigmas[i - 1] < alphas[i - 1] * sigmas[i];
        if (!(sigmas[i] > 0) || !(alphas[i] > 0 || i + 1 == *steps) || !falls)
            return card_error(reader, path, "schedule.alphas",
                              "expected alpha/sigma that falls, with no sigma 0 and at most the last alpha 0, found "
                              "%g/%g at number %d",
                              alphas[i], sigmas[i], i);
    }
    return 0;
}

static int check_schedule(const struct key_reader *reader, const char *path, struct card *card, const json_t *map) {
    enum schedule_kind kind = card->schedule.kind;
    bool discrete = KIND(kind) & DISCRETE, table = kind == SCHEDULE_TABLE;
    bool has_betas = kind != SCHEDULE_DISCRETE_COSINE && default_betas[kind][1] > 0;
    double *beta0 = &card->schedule.beta0, *beta1 = &card->schedule.beta1;
    if (isnan(*beta0)) *beta0 = default_betas[kind][0];
    if (isnan(*beta1)) *beta1 = default_betas[kind][1];
    if (has_betas && !(*beta0 <= *beta1))
        return card_error(reader, path, "schedule.beta1", "expected at least beta0, %g, found %g", *beta0, *beta1);
    if (has_betas && discrete && !(*beta1 < 1))
        return card_error(reader, path, "schedule.beta1", "expected a discrete beta below 1, found %g", *beta1);
    if (!(card->schedule.sigma_min < card->schedule.sigma_max))
        return card_error(reader, path, "schedule.sigma_max", "expected more than sigma_min, %g, found %g",
                          card->schedule.sigma_min, card->schedule.sigma_max);
    const json_t *schedule = json_object_get(map, "schedule");
    int numbers = 0;
    if (table && check_table(reader, path, card, schedule, &numbers) != 0) return -1;
    if (table && json_object_get(schedule, "steps") && card->schedule.steps != numbers)
        return card_error(reader, path, "schedule.steps", "expected one step a number of %s, %d, found %d",
                          card->schedule.alphas ? "alphas" : "alphas_cumprod", numbers, card->schedule.steps);
    if (kind == SCHEDULE_GVP) card->schedule.s = 0; /* the cosine schedule without its offset */
    if (!discrete) card->schedule.steps = table ? numbers : 0;
    return 0;
}

static int check_time(const struct key_reader *reader, const char *path, struct card *card) {
    int trained = card->schedule.steps;
    if (card->time.kind != TIME_DISCRETE) return 0;
    if (card->time.steps == 0) card->time.steps = trained;
    if (card->time.steps == 0)
        return card_error(reader, path, "time.steps", "missing; expected the number of trained steps");
    if (trained && card->time.steps != trained)
        return card_error(reader, path, "time.steps", "expected the schedule's %d steps, found %d", trained,
                          card->time.steps);
    return 0;
}

static int card_check(const struct key_reader *reader, const char *path, struct card *card, const json_t *map) {
    if (check_belongs(reader, path, map, "time", time_belongs, card->time.kind, time_names[card->time.kind]) != 0)
        return -1;
    if (check_belongs(reader, path, map, "schedule", schedule_belongs, card->schedule.kind,
                      schedule_names[card->schedule.kind]) != 0)
        return -1;
    if (check_schedule(reader, path, card, map) != 0 || check_time(reader, path, card) != 0) return -1;
    /* classes itself is the usual null label, but a model without labels has none */
    if (card->null_label > card->classes || (card->classes == 0 && card->null_label == 0))
        return card_error(reader, path, "labels.null",
                          "expected -1, or beside classes at most their number, %" PRId64 "; found %" PRId64,
                          card->classes, card->null_label);
    return 0;
}

int card_from(struct card *card, const struct key_reader *reader, const char *path, const json_t *map) {
    *card = (struct card){.low = -1,
                          .high = 1,
                          .sigma_data = 0.5,
                          .null_label = -1,
                          .time = {.scale = 1, .integer = true},
                          .schedule = {.beta0 = NAN,
                                       .beta1 = NAN,
                                       .s = 0.008,
                                       .logsnr_end = -5,
                                       .logsnr_start = 5,
                                       .sigma_min = 0.002,
                                       .sigma_max = 80,
                                       .noise_scale = 1,
                                       .steps = 1000}};
    card->json = json_deep_copy(map);
    bool copied = json_equal(card->json, map); /* json_deep_copy leaves members out when memory is short */
    int rc = !copied ? error_memory(reader->err) : keys_read(reader, &card_keys, path, map, card);
    if (rc == 0) rc = card_check(reader, path, card, map);
    if (rc) card_release(card);
    return rc;
}

int card_parse(struct card *card, const json_t *json, const char *where, struct error *err) {
    struct key_reader reader = {.where = where, .err = err};
    return card_from(card, &reader, "", json);
}

int card_check_part(const struct key_reader *reader, const char *path, const json_t *map) {
    struct key_reader part = *reader;
    struct card card = {.low = 0};
    part.partial = true;
    int rc = keys_read(&part, &card_keys, path, map, &card);
    card_release(&card);
    return rc;
}

void card_release(struct card *card) {
    if (card->guide) card_release(card->guide);
    free(card->guide);
    decoder_free(card->decoder);
    for (size_t i = 0; i < card->inputs_count; i++) free(card->inputs[i].null);
    free(card->schedule.alphas_cumprod);
    free(card->schedule.alphas);
    free(card->schedule.sigmas);
    json_decref(card->json);
    json_decref(card->overridden);
    *card = (struct card){0};
}

bool card_takes_steps(const struct card *card) {
    return card->time.kind == TIME_DISCRETE && card->time.integer;
}

size_t card_elements(const struct card *card) {
    return (size_t)card->channels * (size_t)card->height * (size_t)card->width;
}

struct sample_form card_sample(const struct card *card) {
    if (card->decoder) return card->decoder->image;
    return (struct sample_form){card->channels, card->height, card->width, card->low, card->high};
}

bool sample_bounded(const struct sample_form *form) {
    return isfinite(form->low);
}

size_t sample_elements(const struct sample_form *form) {
    return (size_t)form->channels * (size_t)form->height * (size_t)form->width;
}
