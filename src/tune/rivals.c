/* The best that the registry has at an NFE. */
#include "tune/rivals.h"

#include "cluster/agree.h"
#include "solver/registry.h"
#include "tune/fit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const enum grid_kind grids[] = {GRID_UNIFORM, GRID_QUADRATIC, GRID_UNIFORM_LOGSNR,
                                       GRID_KARRAS,  GRID_TRAILING,  GRID_LINSPACE};
enum { GRIDS = sizeof grids / sizeof *grids };

struct candidate {
    json_t *said; /* what was asked, as a job has it */
    struct plan plan;
    char digest[SHA256_HEX];
    double error;
};

struct field {
    struct candidate *list;
    size_t count, capacity;
    struct engine *engine;
    const struct teacher *teacher;
    size_t first, blocks; /* that are run: the block to begin with, and how many */
    double *errors;       /* [count][blocks][block] */
};

static void release(struct candidate *candidate) {
    json_decref(candidate->said);
    plan_release(&candidate->plan);
}

/* Of the ODE, from the teacher's start to its end, and no program that is there already. */
static bool wanted_here(const struct field *field, const struct candidate *candidate, const struct sampler *resolved) {
    const struct sampler *own = field->engine->asked->sampler;
    const struct plan *plan = &candidate->plan;
    const struct plan_step *last = &plan->steps[plan->steps_count - 1];
    double rounding = 0.5 / fmax(schedule_steps(field->engine->schedule), 1e9);
    bool to_zero = final_is_x0(own->final), ends = to_zero ? last->s == 0 : fabs(last->s - own->t_end) <= rounding;
    if (plan->adaptive || plan->registers > ENGINE_REGISTERS || !ends ||
        fabs(plan->steps[0].t - resolved->t_start) > rounding)
        return false;
    for (size_t i = 0; i < plan->ops_count; i++)
        if (plan->ops[i].kind == OP_NOISE) return false;
    for (size_t i = 0; i < field->count; i++)
        if (strcmp(field->list[i].digest, candidate->digest) == 0) return false;
    return true;
}

static int add(struct field *field, const struct solver *solver, double order, enum clock_kind clock,
               enum grid_kind grid, int nfe, struct error *err) {
    const struct tuning *asked = field->engine->asked;
    struct sampler wanted = tune_sampler(asked, solver->name), resolved;
    struct candidate candidate = {.error = INFINITY};
    wanted.order = order;
    wanted.clock = grid == GRID_UNIFORM && clock == CLOCK_UNSET ? CLOCK_T : clock;
    wanted.grid = grid;
    wanted.nfe = nfe;
    wanted.final = asked->sampler->final;
    if (!grid_has_ends(grid)) {
        wanted.t_start = asked->sampler->t_start;
        wanted.t_end = asked->sampler->t_end;
    }
    if (tune_compile(&resolved, &candidate.plan, &wanted, asked->card, err) != 0)
        return err->code == CODE_DATA ? 0 : -1;
    int rc = plan_digest(&candidate.plan, candidate.digest, err);
    bool keep = rc == 0 && wanted_here(field, &candidate, &resolved);
    sampler_release(&resolved);
    if (keep && !(candidate.said = sampler_to_json(&wanted))) rc = error_memory(err);
    json_object_del(candidate.said, "guidance"); /* the job's own */
    json_object_del(candidate.said, "clip");
    json_object_del(candidate.said, "state");
    if (keep && rc == 0 && field->count == field->capacity) {
        size_t capacity = field->capacity ? 2 * field->capacity : 64;
        struct candidate *list = realloc(field->list, capacity * sizeof *list);
        if (!list) rc = error_memory(err);
        else field->list = list, field->capacity = capacity;
    }
    if (keep && rc == 0) field->list[field->count++] = candidate;
    else release(&candidate);
    return rc;
}

static int enter(struct field *field, int nfe, struct error *err) {
    const struct solver *solver;
    for (size_t i = 0; (solver = solver_at(i)); i++) {
        if (strncmp(solver->kind, "ODE", 3) != 0 || solver->evaluations == 0 || solver->options & SOLVER_TABLE)
            continue;
        for (int g = 0; g < GRIDS; g++) {
            const double orders[] = {NAN, 2};
            for (int k = 0; k < 2; k++) {
                if (k > 0 && (!solver_takes_order(solver, orders[k]) || solver->default_order == orders[k])) continue;
                if (add(field, solver, orders[k], CLOCK_UNSET, grids[g], nfe, err) != 0) return -1;
                if (solver->options & SOLVER_CLOCK && grids[g] != GRID_UNIFORM &&
                    add(field, solver, orders[k], CLOCK_LOGSNR, grids[g], nfe, err) != 0)
                    return -1;
            }
        }
    }
    return 0;
}

static int try(void *context, struct executor *executor, double *scratch, size_t item, struct error *err) {
    struct field *field = context;
    struct engine *engine = field->engine;
    const struct plan *plan = &field->list[item / field->blocks].plan;
    size_t first, elements = engine->elements;
    struct batch batch = engine_batch(engine, field->first + item % field->blocks, &first);
    double *errors = field->errors + item * engine->block;
    if (engine_run(executor, &batch, plan, scratch, err) != 0) return -1;
    for (size_t row = 0; row < batch.rows; row++) {
        const double *samples = field->teacher->samples + (first + row) * elements;
        double sum = 0;
        for (size_t i = 0; i < elements; i++) sum += pow(scratch[row * elements + i] - samples[i], 2);
        errors[row] = isfinite(sum) ? sum / (double)elements : INFINITY;
    }
    return 0;
}

/* What their errors are kept as. */
static int name(const struct field *field, char key[SHA256_HEX], struct error *err) {
    size_t numbers[] = {field->first, field->blocks}, size = sizeof numbers + field->count * SHA256_HEX;
    char *text = malloc(size);
    if (!text) return error_memory(err);
    memcpy(text, numbers, sizeof numbers);
    for (size_t i = 0; i < field->count; i++)
        memcpy(text + sizeof numbers + i * SHA256_HEX, field->list[i].digest, SHA256_HEX);
    engine_key(field->engine, key, "errors", text, size);
    free(text);
    return 0;
}

/* All candidates over the field's blocks. */
static int race(struct field *field, int nfe, struct error *err) {
    struct engine *engine = field->engine;
    size_t items = field->count * field->blocks;
    free(field->errors);
    field->errors = calloc(items * engine->block, sizeof *field->errors);
    uint64_t before = engine->rows;
    char key[SHA256_HEX];
    bool kept = false;
    int rc = field->errors ? name(field, key, err) : error_memory(err);
    rc = ranks_agree(engine->asked->comm, rc, err);
    if (rc == 0) rc = engine_recall(engine, key, field->errors, items * engine->block, &kept, err);
    if (rc != 0 || kept) return rc;
    rc = engine_each(engine, items, nfe, try, field, err);
    if (rc == 0) rc = engine_share(engine, field->errors, items, engine->block, err);
    if (rc != 0) return -1;
    return engine_keep(engine, key, field->errors, items * engine->block, engine->rows - before, err);
}

static int by_error(const void *a, const void *b) {
    const struct candidate *x = a, *y = b;
    return x->error != y->error ? (x->error > y->error) - (x->error < y->error) : strcmp(x->digest, y->digest);
}

/* Each one's error over paths from..to-1, and the best first. */
static void rank(struct field *field, size_t from, size_t to) {
    size_t block = field->engine->block, width = field->blocks * block, start = field->first * block;
    for (size_t i = 0; i < field->count; i++)
        field->list[i].error = fit_rms(field->errors + i * width, from - start, to - from);
}

static int by_rival_error(const void *a, const void *b) {
    const struct rival *x = a, *y = b;
    return (x->error > y->error) - (x->error < y->error);
}

static int choose(struct rivals *rivals, struct field *field, int nfe, struct error *err) {
    struct engine *engine = field->engine;
    const struct tuning *asked = engine->asked;
    size_t block = engine->block, from = asked->fit, judge = asked->fit + asked->select;
    rivals->tried = field->count;
    field->first = from / block;
    field->blocks = 1;
    if (race(field, nfe, err) != 0) return -1;
    rank(field, from, judge < (field->first + 1) * block ? judge : (field->first + 1) * block);
    qsort(field->list, field->count, sizeof *field->list, by_error);
    while (field->count > RIVALS) release(&field->list[--field->count]);
    field->first = judge / block;
    field->blocks = engine->blocks - field->first;
    if (race(field, nfe, err) != 0) return -1;
    rank(field, judge, engine->paths);
    for (size_t i = 0; i < field->count; i++) {
        struct rival *rival = &rivals->list[rivals->count++];
        *rival = (struct rival){.sampler = json_incref(field->list[i].said),
                                .plan = field->list[i].plan,
                                .errors = calloc(engine->paths, sizeof *rival->errors),
                                .error = field->list[i].error};
        field->list[i].plan = (struct plan){0};
        if (!rival->errors) return error_memory(err);
        size_t start = field->first * block;
        memcpy(rival->errors + start, field->errors + i * field->blocks * block,
               (engine->paths - start) * sizeof *rival->errors);
    }
    qsort(rivals->list, rivals->count, sizeof *rivals->list, by_rival_error);
    return 0;
}

int rivals_best(struct rivals *rivals, struct engine *engine, const struct teacher *teacher, int nfe,
                struct error *err) {
    struct field field = {.engine = engine, .teacher = teacher};
    *rivals = (struct rivals){0};
    int rc = enter(&field, nfe, err);
    if (rc == 0 && field.count == 0)
        rc = error_set(err, CODE_DATA, "no solver of the registry has a sampler of at most %d evaluations here", nfe);
    rc = ranks_agree(engine->asked->comm, rc, err);
    if (rc == 0) rc = choose(rivals, &field, nfe, err);
    while (field.count > 0) release(&field.list[--field.count]);
    free(field.list);
    free(field.errors);
    if (rc != 0) rivals_release(rivals);
    return rc;
}

void rivals_release(struct rivals *rivals) {
    for (size_t i = 0; i < rivals->count; i++) {
        json_decref(rivals->list[i].sampler);
        plan_release(&rivals->list[i].plan);
        free(rivals->list[i].errors);
    }
    *rivals = (struct rivals){0};
}
