/* Step by step: the network is asked at the student's own states, and the teacher's next point is regressed on x and
 * the last evaluations. Each coefficient is drawn towards that of the exponential integrator of order 2 (order 1 where
 * there is one evaluation) by a ridge as strong as the residual says: the posterior mean under a prior of the size of
 * the target, with as many independent observations as there are paths. */
#include "tune/fit.h"

#include "cluster/agree.h"
#include "base/blas.h"
#include "format/json_file.h"
#include "solver/exponential.h"

#include <lapacke.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TERMS_MOST = TUNE_ORDERS + 1, SUMS = TERMS_MOST * TERMS_MOST + TERMS_MOST + 1 };
static const double RIDGE_LEAST = 1e-13; /* of the regressors' own squares: what rounding would make of less */

double fit_rms(const double *errors, size_t first, size_t count) {
    double sum = 0;
    for (size_t i = first; i < first + count; i++) sum += errors[i];
    return count ? sqrt(sum / (double)count) : NAN;
}

static size_t terms_of(const struct fit *fit, size_t step) {
    size_t evaluations = step + 1 < (size_t)fit->order ? step + 1 : (size_t)fit->order;
    return evaluations + 1;
}

json_t *fit_table(const struct fit *fit) {
    json_t *times = json_array(), *steps = json_array();
    for (size_t i = 0; i <= fit->steps; i++) json_list_add(&times, json_real(fit->times[i]));
    for (size_t i = 0; i < fit->steps; i++) {
        json_t *b = json_array();
        for (size_t j = 0; j + 1 < terms_of(fit, i); j++) json_list_add(&b, json_real(fit->b[i][j]));
        json_list_add(&steps, json_pack("{sf so}", "x", fit->a[i], multistep_names[fit->kind], b));
    }
    return json_pack("{so so}", "times", times, "steps", steps);
}

void fit_release(struct fit *fit) {
    free(fit->errors);
    fit->errors = NULL;
}

/* ---- what the coefficients are drawn towards ---- */

static struct node node_of(const struct schedule *schedule, double t) {
    return t > 0 ? node_at(schedule, t) : (struct node){0, 1, 0, INFINITY};
}

/* Of step i: [x, newest, one before, ...]. */
static void prior(const struct fit *fit, const struct schedule *schedule, size_t i, double *c) {
    struct node from = node_of(schedule, fit->times[i]), to = node_of(schedule, fit->times[i + 1]);
    double last = i > 0 ? fit->times[i - 1] : 0, before = i > 0 ? schedule_logsnr(schedule, last) : -INFINITY;
    memset(c, 0, TERMS_MOST * sizeof *c);
    if (fit->kind == MULTISTEP_VELOCITY) {
        double h = to.t - from.t, part = i > 0 && fit->order > 1 ? h / (from.t - last) / 2 : 0;
        c[0] = 1;
        c[1] = h * (1 + part);
        if (part != 0) c[2] = -h * part;
        return;
    }
    bool epsilon = fit->kind == MULTISTEP_EPSILON;
    c[0] = epsilon ? to.alpha / from.alpha : to.sigma / from.sigma;
    c[1] = epsilon ? to.sigma - c[0] * from.sigma : to.alpha - c[0] * from.alpha;
    if (fit->order == 1 || !isfinite(before) || to.sigma == 0) return;
    struct transfer transfer = transfer_between(epsilon ? HELD_EPSILON : HELD_X0, &from, &to);
    double slope = transfer.scale * psi(1, transfer.z) * transfer.h / (from.logsnr - before);
    c[1] += slope;
    c[2] -= slope;
}

/* ---- one step ---- */

struct student { /* all paths, of which this rank has its blocks' */
    struct fit *fit;
    struct engine *engine;
    const struct teacher *teacher;
    struct plan plan;          /* of a table on these times: its ops ask, and their last LINCOMB is ours */
    size_t *ends;              /* [steps]: that LINCOMB's place */
    double *x;                 /* [paths][elements] */
    double *held[TUNE_ORDERS]; /* the same, a ring of evaluations */
    double *sums;              /* [blocks][SUMS] */
    size_t step;
    struct teacher_weights target;
};

/* Sums of products of the regressors and the target over one path. */
static void add_path(const struct student *student, size_t path, const double *target, double *sums) {
    size_t elements = student->engine->elements, count = terms_of(student->fit, student->step), at = path * elements;
    const double *z[TERMS_MOST] = {student->x + at};
    for (size_t j = 0; j + 1 < count; j++) z[j + 1] = student->held[(student->step - j) % TUNE_ORDERS] + at;
    for (size_t i = 0; i < elements; i++) {
        for (size_t r = 0; r < count; r++) {
            for (size_t c = 0; c <= r; c++) sums[r * TERMS_MOST + c] += z[r][i] * z[c][i];
            sums[TERMS_MOST * TERMS_MOST + r] += z[r][i] * target[i];
        }
        sums[SUMS - 1] += target[i] * target[i];
    }
}

/* x = a x + sum of b_j F_(i-j), as the table's LINCOMB does it. */
static void advance(const struct student *student, size_t step, size_t first, size_t rows) {
    const struct fit *fit = student->fit;
    size_t elements = student->engine->elements;
    for (size_t i = first * elements; i < (first + rows) * elements; i++) {
        double sum = fit->a[step] * student->x[i];
        for (size_t j = 0; j + 1 < terms_of(fit, step); j++)
            sum += fit->b[step][j] * student->held[(step - j) % TUNE_ORDERS][i];
        student->x[i] = sum;
    }
}

static int ask(void *context, struct executor *executor, double *scratch, size_t block, struct error *err) {
    struct student *student = context;
    struct engine *engine = student->engine;
    size_t first, step = student->step, elements = engine->elements;
    struct batch batch = engine_batch(engine, block, &first);
    struct plan part = student->plan;
    double *x = student->x + first * elements, *held = student->held[step % TUNE_ORDERS] + first * elements;
    double *sums = student->sums + block * SUMS;
    if (executor_start(executor, &batch, err) != 0) return -1;
    if (step == 0 && executor_get(executor, 0, x, err) != 0) return -1;
    if (step > 0) {
        advance(student, step - 1, first, batch.rows);
        if (executor_set(executor, 0, x, err) != 0) return -1;
    }
    size_t from = step > 0 ? student->ends[step - 1] + 1 : 0;
    part.ops += from;
    part.ops_count = student->ends[step] - from;
    const struct op *end = &student->plan.ops[student->ends[step]];
    int source = end->terms[end->terms_count - 1].source;
    if (executor_ops(executor, &part, err) != 0 || executor_get(executor, source, held, err) != 0) return -1;
    memset(sums, 0, SUMS * sizeof *sums);
    for (size_t row = 0; row < batch.rows && first + row < engine->asked->fit; row++) {
        size_t path = first + row;
        bool last = step + 1 == student->fit->steps;
        if (!last) teacher_x(student->teacher, engine, &student->target, path, scratch);
        add_path(student, path, last ? student->teacher->samples + path * elements : scratch, sums);
    }
    return 0;
}

/* The posterior mean: first almost without a ridge, for the residual, then with one. False: not finite. */
static bool regress(const struct fit *fit, const struct engine *engine, const double *sums, const double *towards,
                    size_t step, double *c) {
    size_t count = terms_of(fit, step);
    double square = sums[SUMS - 1], ridge = RIDGE_LEAST;
    for (int pass = 0; pass < 2; pass++) {
        double matrix[TERMS_MOST * TERMS_MOST], residual = square;
        for (size_t r = 0; r < count; r++) {
            c[r] = sums[TERMS_MOST * TERMS_MOST + r];
            for (size_t k = 0; k < count; k++) {
                double value = sums[(r > k ? r : k) * TERMS_MOST + (r > k ? k : r)];
                matrix[r * count + k] = value;
                c[r] -= value * towards[k];
            }
        }
        for (size_t r = 0; r < count; r++)
            matrix[r * count + r] += (pass == 0 ? RIDGE_LEAST : ridge) * matrix[r * count + r];
        if (LAPACKE_dposv(LAPACK_ROW_MAJOR, 'L', (int)count, 1, matrix, (int)count, c, 1) != 0) return false;
        for (size_t r = 0; r < count; r++) c[r] += towards[r];
        for (size_t r = 0; r < count; r++) {
            residual -= 2 * c[r] * sums[TERMS_MOST * TERMS_MOST + r];
            for (size_t k = 0; k < count; k++)
                residual += c[r] * c[k] * sums[(r > k ? r : k) * TERMS_MOST + (r > k ? k : r)];
        }
        ridge = fmax(RIDGE_LEAST, residual / square / (double)engine->asked->fit);
    }
    for (size_t r = 0; r < count; r++)
        if (!isfinite(c[r])) return false;
    return true;
}

static int solve(struct student *student, bool *finite, struct error *err) {
    struct fit *fit = student->fit;
    struct engine *engine = student->engine;
    double total[SUMS] = {0}, towards[TERMS_MOST], c[TERMS_MOST];
    if (engine_share(engine, student->sums, engine->blocks, SUMS, err) != 0) return -1;
    for (size_t block = 0; block < engine->blocks; block++)
        for (size_t i = 0; i < SUMS; i++) total[i] += student->sums[block * SUMS + i];
    prior(fit, engine->schedule, student->step, towards);
    *finite = regress(fit, engine, total, towards, student->step, c);
    if (!*finite) memset(c, 0, sizeof c); /* such a fit's errors are infinite; what is kept of it are numbers */
    fit->a[student->step] = c[0];
    for (size_t j = 0; j + 1 < terms_of(fit, student->step); j++) fit->b[student->step][j] = c[j + 1];
    return 0;
}

/* ---- all steps ---- */

static int measure(void *context, struct executor *executor, double *scratch, size_t block, struct error *err) {
    struct student *student = context;
    struct engine *engine = student->engine;
    size_t first, elements = engine->elements;
    struct batch batch = engine_batch(engine, block, &first);
    (void)executor, (void)scratch, (void)err;
    advance(student, student->fit->steps - 1, first, batch.rows);
    for (size_t row = 0; row < batch.rows; row++) {
        double sum = 0;
        for (size_t i = (first + row) * elements; i < (first + row + 1) * elements; i++)
            sum += pow(student->x[i] - student->teacher->samples[i], 2);
        student->fit->errors[first + row] = isfinite(sum) ? sum / (double)elements : INFINITY;
    }
    return 0;
}

/* A table on the fit's times with any coefficients: what asks the network, with guidance and clipping. */
static int compile(struct student *student, struct error *err) {
    struct fit *fit = student->fit;
    const struct tuning *asked = student->engine->asked;
    struct sampler wanted = tune_sampler(asked, "table"), resolved;
    int order = fit->order;
    fit->order = 1;
    for (size_t i = 0; i < fit->steps; i++) fit->a[i] = fit->b[i][0] = 1;
    json_t *table = fit_table(fit);
    fit->order = order;
    int rc = table ? multistep_read(&wanted.table, table, err) : error_memory(err);
    if (rc == 0) rc = tune_compile(&resolved, &student->plan, &wanted, asked->card, err);
    json_decref(wanted.table);
    json_decref(table);
    if (rc != 0) return -1;
    sampler_release(&resolved);
    size_t found = 0;
    if (!(student->ends = calloc(fit->steps, sizeof *student->ends))) return error_memory(err);
    for (size_t i = 0; i < student->plan.ops_count; i++)
        if (student->plan.ops[i].dst == 0 && found++ < fit->steps) student->ends[found - 1] = i;
    if (found == fit->steps && student->plan.registers <= ENGINE_REGISTERS) return 0;
    return error_set(err, CODE_INTERNAL, "the table's plan has %zu steps, expected %zu", found, fit->steps);
}

static int allocate(struct student *student, struct error *err) {
    const struct engine *engine = student->engine;
    size_t values = engine->paths * engine->elements;
    student->x = calloc(values, sizeof *student->x);
    student->sums = calloc(engine->blocks * SUMS, sizeof *student->sums);
    student->fit->errors = calloc(engine->paths, sizeof *student->fit->errors);
    if (!student->x || !student->sums || !student->fit->errors) return error_memory(err);
    for (int i = 0; i < TUNE_ORDERS; i++)
        if (!(student->held[i] = calloc(values, sizeof *student->held[i]))) return error_memory(err);
    return compile(student, err);
}

static int run(struct student *student, struct error *err) {
    struct engine *engine = student->engine;
    struct fit *fit = student->fit;
    bool finite = true;
    for (size_t i = 0; i < fit->steps && finite; i++) {
        student->step = i;
        if (i + 1 < fit->steps || fit->times[i + 1] > 0)
            student->target = teacher_at(student->teacher, engine->schedule, fit->times[i + 1]);
        int calls = student->plan.model_calls / student->plan.nfe; /* of an evaluation, with guidance */
        if (engine_each(engine, engine->blocks, calls, ask, student, err) != 0 || solve(student, &finite, err) != 0)
            return -1;
    }
    for (size_t path = 0; !finite && path < engine->paths; path++) fit->errors[path] = INFINITY;
    if (!finite) return 0;
    if (engine_each(engine, engine->blocks, 0, measure, student, err) != 0) return -1;
    double *errors = calloc(engine->blocks * engine->block, sizeof *errors);
    if (errors) memcpy(errors, fit->errors, engine->paths * sizeof *errors);
    int rc = ranks_agree(engine->asked->comm, errors ? 0 : error_memory(err), err);
    if (rc == 0) rc = engine_share(engine, errors, engine->blocks, engine->block, err);
    if (rc == 0) memcpy(fit->errors, errors, engine->paths * sizeof *errors);
    free(errors);
    return rc;
}

/* The same, or as an earlier tuning found it. */
static int run_or_recall(struct student *student, struct error *err) {
    struct engine *engine = student->engine;
    struct fit *fit = student->fit;
    double asked[FIT_STEPS + 3] = {(double)fit->steps, fit->order}, *values;
    size_t own = fit->steps * (1 + TUNE_ORDERS), count = own + engine->paths;
    uint64_t before = engine->rows;
    char key[SHA256_HEX];
    bool kept = false;
    memcpy(asked + 2, fit->times, (fit->steps + 1) * sizeof *asked);
    engine_key(engine, key, "fit", asked, (fit->steps + 3) * sizeof *asked);
    int rc = ranks_agree(engine->asked->comm, (values = calloc(count, sizeof *values)) ? 0 : error_memory(err), err);
    if (rc == 0) rc = engine_recall(engine, key, values, count, &kept, err);
    if (rc == 0 && !kept) rc = run(student, err);
    double *const parts[] = {fit->a, *fit->b, fit->errors};
    const size_t sizes[] = {fit->steps, fit->steps * TUNE_ORDERS, engine->paths};
    for (size_t i = 0, at = 0; rc == 0 && i < 3; at += sizes[i++]) {
        if (kept) memcpy(parts[i], values + at, sizes[i] * sizeof *values);
        else memcpy(values + at, parts[i], sizes[i] * sizeof *values);
    }
    if (rc == 0 && !kept) rc = engine_keep(engine, key, values, count, engine->rows - before, err);
    free(values);
    return rc;
}

int fit_run(struct fit *fit, struct engine *engine, const struct teacher *teacher, const double *times, size_t steps,
            int order, struct error *err) {
    struct student student = {.fit = fit, .engine = engine, .teacher = teacher};
    const struct sampler *own = engine->asked->sampler;
    *fit = (struct fit){.steps = steps, .order = order};
    memcpy(fit->times, times, (steps + 1) * sizeof *times);
    bool noise_alone = schedule_alpha(engine->schedule, own->t_start) == 0; /* where epsilon says nothing */
    fit->kind = schedule_is_flow(engine->schedule) ? MULTISTEP_VELOCITY
                : noise_alone                      ? MULTISTEP_X0
                                                   : MULTISTEP_EPSILON;
    int rc = allocate(&student, err);
    if (rc == 0) rc = blas_enter(err);
    bool entered = rc == 0;
    rc = ranks_agree(engine->asked->comm, rc, err);
    if (rc == 0) rc = run_or_recall(&student, err);
    if (entered) blas_leave();
    plan_release(&student.plan);
    free(student.ends);
    free(student.x);
    free(student.sums);
    for (int i = 0; i < TUNE_ORDERS; i++) free(student.held[i]);
    if (rc != 0) fit_release(fit);
    return rc;
}
