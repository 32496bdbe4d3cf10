/* A plan out of JSON, run.json's or a file's: every op by the table of its fields. */
#include "solver/plan.h"

#include "base/text.h"
#include "format/json_file.h"

#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { REGISTERS_MOST = 64, OPS_MOST = 1000000, FIELDS_MOST = 6 };

enum field_kind { FIELD_REGISTER, FIELD_NUMBER, FIELD_OPEN, FIELD_STREAM, FIELD_NAME, FIELD_TERMS, FIELD_CHANNELS };
struct field {
    const char *name;
    enum field_kind kind;
    size_t offset;    /* in struct op */
    double low, high; /* of a number; FIELD_OPEN: null is infinity */
    bool optional;
};

#define IN(member) offsetof(struct op, member)
#define REGISTER(name, member) {name, FIELD_REGISTER, IN(member), 0, 0, false}
#define NUMBER(name, member, low, high) {name, FIELD_NUMBER, IN(member), low, high, false}
static const struct field fields[OP_KINDS][FIELDS_MOST + 1] = {
    [OP_EVAL] = {REGISTER("dst", dst),
                 REGISTER("src", src),
                 NUMBER("time", time, -DBL_MAX, DBL_MAX),
                 {"labels", FIELD_NAME, IN(labels), 0, 0, false},
                 {"model", FIELD_REGISTER, IN(model), 0, 1, true},
                 {"dst2", FIELD_REGISTER, IN(dst2), 0, 0, true}},
    [OP_LINCOMB] = {REGISTER("dst", dst),
                    {"terms", FIELD_TERMS, 0, 0, 0, false},
                    {"channels", FIELD_CHANNELS, 0, 0, 0, true}},
    [OP_NOISE] = {REGISTER("dst", dst), {"stream", FIELD_STREAM, IN(stream), 1, UINT32_MAX, false}},
    [OP_CLAMP] = {REGISTER("dst", dst), NUMBER("lo", low, -DBL_MAX, DBL_MAX), NUMBER("hi", high, -DBL_MAX, DBL_MAX)},
    [OP_RESCALE] = {REGISTER("dst", dst), REGISTER("src", src), REGISTER("like", like), NUMBER("phi", phi, 0, 1)},
    [OP_MULEXP] = {REGISTER("dst", dst), REGISTER("src", src), NUMBER("a", a, -DBL_MAX, DBL_MAX),
                   NUMBER("b", b, -DBL_MAX, DBL_MAX)},
    [OP_THRESHOLD] = {REGISTER("dst", dst),
                      NUMBER("quantile", quantile, 0, 1),
                      NUMBER("lo", low, DBL_MIN, DBL_MAX),
                      {"hi", FIELD_OPEN, IN(high), DBL_MIN, DBL_MAX, false}},
    [OP_PROJECT] = {REGISTER("dst", dst), REGISTER("src", src), REGISTER("onto", like)},
    [OP_LIMIT] = {REGISTER("dst", dst), NUMBER("norm", high, DBL_MIN, DBL_MAX)},
    [OP_GUIDE] = {REGISTER("dst", dst),
                  REGISTER("src", src),
                  REGISTER("guide", like),
                  {"channels", FIELD_CHANNELS, 0, 0, 0, true}},
};

static bool is_whole(const json_t *value, double low, double high) {
    return json_is_integer(value) && (double)json_integer_value(value) >= low &&
           (double)json_integer_value(value) <= high;
}

static int read_terms(const struct plan *plan, struct op *op, const json_t *terms, struct error *err) {
    json_t *pair;
    size_t i;
    if (!json_is_array(terms)) return json_refuse(err, "terms", "a list of [coefficient, register]", terms);
    op->terms = calloc(json_array_size(terms) + 1, sizeof *op->terms);
    if (!op->terms) return error_memory(err);
    json_array_foreach(terms, i, pair) {
        const json_t *coefficient = json_array_get(pair, 0), *source = json_array_get(pair, 1);
        if (json_array_size(pair) != 2 || !json_is_number(coefficient))
            return json_refuse(err, "terms", "pairs of a coefficient and a register", pair);
        if (fabs(json_number_value(coefficient)) > FLT_MAX)
            return json_refuse(err, "terms", "coefficients that float32 can hold", pair);
        if (!is_whole(source, 0, plan->registers - 1)) return json_refuse(err, "terms", "registers of the plan", pair);
        op->terms[op->terms_count++] = (struct term){json_number_value(coefficient), (int)json_integer_value(source)};
    }
    return 0;
}

static int read_channels(struct op *op, const json_t *channels, struct error *err) {
    const json_t *first = json_array_get(channels, 0), *beyond = json_array_get(channels, 1);
    if (json_array_size(channels) != 2 || !is_whole(first, 0, INT_MAX) || !is_whole(beyond, 0, INT_MAX) ||
        json_integer_value(beyond) <= json_integer_value(first))
        return json_refuse(err, "channels", "[first, beyond], first below beyond", channels);
    if (op->kind == OP_LINCOMB && op->terms_count == 0)
        return error_set(err, CODE_DATA, "channels: the others are those of the first term, and there is none");
    op->channels[0] = (int)json_integer_value(first);
    op->channels[1] = (int)json_integer_value(beyond);
    return 0;
}

static int read_field(const struct plan *plan, struct op *op, const struct field *field, const json_t *value,
                      struct error *err) {
    void *member = (char *)op + field->offset;
    char expected[100];
    double high = field->high > 0 ? field->high : plan->registers - 1;
    switch (field->kind) {
        case FIELD_REGISTER:
            snprintf(expected, sizeof expected,
                     field->high > 0 ? "a whole number from 0 to %g" : "a register from 0 to %g", high);
            if (!is_whole(value, 0, high)) return json_refuse(err, field->name, expected, value);
            *(int *)member = (int)json_integer_value(value);
            return 0;
        case FIELD_STREAM:
            if (!is_whole(value, field->low, field->high))
                return json_refuse(err, field->name, "a whole number of 1 or more (0 is the start)", value);
            *(uint32_t *)member = (uint32_t)json_integer_value(value);
            return 0;
        case FIELD_OPEN:
            if (json_is_null(value)) {
                *(double *)member = INFINITY;
                return 0;
            }
            __attribute__((fallthrough));
        case FIELD_NUMBER:
            if (field->low == -DBL_MAX) snprintf(expected, sizeof expected, "a number");
            else if (field->low > 0) snprintf(expected, sizeof expected, "a number above 0");
            else snprintf(expected, sizeof expected, "a number from %g to %g", field->low, field->high);
            if (!json_is_number(value) || !(json_number_value(value) >= field->low) ||
                !(json_number_value(value) <= field->high))
                return json_refuse(err, field->name, expected, value);
            *(double *)member = json_number_value(value);
            return 0;
        case FIELD_NAME: {
            int name = text_find(json_string_value(value), plan_label_names);
            if (!value) return error_set(err, CODE_DATA, "%s: missing; expected given, null or none", field->name);
            if (name < 0) return json_refuse(err, field->name, "given, null or none", value);
            *(enum eval_labels *)member = (enum eval_labels)name;
            return 0;
        }
        case FIELD_TERMS: return read_terms(plan, op, value, err);
        case FIELD_CHANNELS: return read_channels(op, value, err);
    }
    return 0;
}

static int op_from_json(const struct plan *plan, struct op *op, const json_t *json, struct error *err) {
    const json_t *name = json_object_get(json, "op");
    struct text known = {0};
    int kind = text_find(json_string_value(name), plan_op_names);
    if (kind < 0) {
        text_add_names(&known, plan_op_names, ", ", " or ");
        int rc = json_refuse(err, "op", known.data ? known.data : "an op", name ? name : json);
        text_release(&known);
        return rc;
    }
    op->kind = (enum op_kind)kind;
    size_t read = 1;
    for (const struct field *field = fields[kind]; field->name; field++) {
        const json_t *value = json_object_get(json, field->name);
        read += value != NULL;
        if ((value || !field->optional) && read_field(plan, op, field, value, err) != 0) return -1;
    }
    if (read == json_object_size(json)) return 0;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)json, key, value) {
        const struct field *field = fields[kind];
        while (field->name && strcmp(field->name, key) != 0) field++;
        if (!field->name && strcmp(key, "op") != 0)
            return error_set(err, CODE_DATA, "%.40s: %s has no such field", key, plan_op_names[kind]);
    }
    return 0;
}

static int step_from_json(struct plan_step *step, const json_t *json, struct error *err) {
    static const char *const names[] = {"t", "s", "alpha", "sigma", "logsnr"};
    double *const members[] = {&step->t, &step->s, &step->alpha, &step->sigma, &step->logsnr};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const json_t *value = json_object_get(json, names[i]);
        bool infinite = members[i] == &step->logsnr && json_is_null(value);
        if (!json_is_number(value) && !infinite) return json_refuse(err, names[i], "a number", value);
        *members[i] = infinite ? INFINITY : json_number_value(value);
    }
    return 0;
}

/* What is there but the ops and steps. */
static int head_from_json(struct plan *plan, const json_t *json, struct error *err) {
    static const char *const counts[] = {"nfe", "model_calls"};
    const json_t *solver = json_object_get(json, "solver"), *registers = json_object_get(json, "registers"),
                 *scale = json_object_get(json, "initial_scale"), *adaptive = json_object_get(json, "adaptive");
    if (!json_is_object(json)) return error_set(err, CODE_DATA, "expected a map with registers, initial_scale and ops");
    const char *name = solver ? json_string_value(solver) : "plan";
    if (!name || !*name || strlen(name) >= sizeof plan->solver)
        return json_refuse(err, "solver", "a name of 1 to 31 characters", solver);
    if (!is_whole(registers, 1, REGISTERS_MOST))
        return json_refuse(err, "registers", "a whole number from 1 to 64", registers);
    for (size_t i = 0; i < 2; i++) {
        const json_t *count = json_object_get(json, counts[i]);
        if (count && !json_is_null(count) && !is_whole(count, 1, INT_MAX))
            return json_refuse(err, counts[i], "a whole number of 1 or more", count);
    }
    if (!json_is_number(scale) || !(json_number_value(scale) > 0) || !isfinite(json_number_value(scale)))
        return json_refuse(err, "initial_scale", "a number above 0", scale);
    *plan = (struct plan){.nfe = (int)json_integer_value(json_object_get(json, "nfe")),
                          .model_calls = (int)json_integer_value(json_object_get(json, "model_calls")),
                          .registers = (int)json_integer_value(registers),
                          .initial_scale = json_number_value(scale),
                          .adaptive = adaptive != NULL,
                          .rtol = json_number_value(json_object_get(adaptive, "rtol")),
                          .atol = json_number_value(json_object_get(adaptive, "atol"))};
    strcpy(plan->solver, name);
    return 0;
}

static int lists_from_json(struct plan *plan, const json_t *json, struct error *err) {
    const json_t *ops = json_object_get(json, "ops"), *steps = json_object_get(json, "steps");
    size_t count = json_array_size(ops), steps_count = json_array_size(steps);
    if (!json_is_array(ops)) return json_refuse(err, "ops", "a list", ops);
    if (steps && !json_is_array(steps)) return json_refuse(err, "steps", "a list", steps);
    if (count > OPS_MOST) return error_set(err, CODE_DATA, "ops: expected at most %d, found %zu", OPS_MOST, count);
    plan->ops = calloc(count + 1, sizeof *plan->ops);
    plan->steps = calloc(steps_count + 1, sizeof *plan->steps);
    if (!plan->ops || !plan->steps) return error_memory(err);
    for (size_t i = 0; i < count; i++) {
        const json_t *op = json_array_get(ops, i);
        const char *name = json_string_value(json_object_get(op, "op"));
        if (op_from_json(plan, &plan->ops[plan->ops_count++], op, err) != 0)
            return error_prefix(err, name ? "op %zu (%.20s)" : "op %zu", i + 1, name);
    }
    for (size_t i = 0; i < steps_count; i++)
        if (step_from_json(&plan->steps[plan->steps_count++], json_array_get(steps, i), err) != 0)
            return error_prefix(err, "step %zu", i + 1);
    return 0;
}

int plan_from_json(struct plan *plan, const json_t *json, const char *where, struct error *err) {
    *plan = (struct plan){0};
    if (head_from_json(plan, json, err) == 0 && lists_from_json(plan, json, err) == 0) return 0;
    plan_release(plan);
    return err->code == CODE_DATA ? error_prefix(err, "%s", where) : -1;
}
