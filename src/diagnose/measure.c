/* Runs the study: the fine paths of every batch with all that is measured along them, and then the candidates' samples.
 */
#include "base/crash.h"
#include "base/log.h"
#include "diagnose/study.h"
#include "sample/execute.h"

#include <math.h>
#include <stdlib.h>

struct walk { /* a batch on its way along the path, one a thread */
    struct study *study;
    struct executor *executor;
    struct batch batch;           /* what the executor works on */
    size_t elements, first, rows; /* of the batch: paths first .. first + rows - 1 */
    double **x, **epsilon;        /* [path.count] each [rows][elements], or NULL: not there yet, or no longer needed */
    double *scratch;              /* [rows][elements] */
    double *derivative[EPSILON_ORDERS + 1], *value; /* [elements]: of one path */
};

static int run_start(struct walk *walk, struct error *err) {
    const struct diagnosis *asked = walk->study->asked;
    walk->batch = (struct batch){.rows = walk->rows,
                                 .seeds = asked->seeds + walk->first,
                                 .labels = asked->labels ? asked->labels + walk->first : NULL,
                                 .condition_rows = asked->condition_rows ? asked->condition_rows + walk->first : NULL};
    return executor_start(walk->executor, &walk->batch, err);
}

static double mean_square(const double *values, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += values[i] * values[i];
    return sum / (double)count;
}

/* ---- steps of the grids ---- */

static void measure_step(const struct walk *walk, struct track *track, size_t step) {
    const struct study *study = walk->study;
    size_t from = track->points[step], to = track->points[step + 1], paths = study->asked->paths;
    double t = study->path.times[to],
           scale = hypot(schedule_alpha(study->schedule, t), schedule_sigma(study->schedule, t));
    for (size_t row = 0; row < walk->rows; row++) {
        size_t at = row * walk->elements, place = step * paths + walk->first + row;
        const double *x = walk->x[from] + at, *end = walk->x[to] + at, *epsilon = walk->epsilon[from] + at;
        double change = 0;
        for (size_t i = 0; i < walk->elements; i++) change += pow(walk->epsilon[to][at + i] - epsilon[i], 2);
        track->level[place] = mean_square(epsilon, walk->elements);
        track->change[place] = change / (double)walk->elements;
        for (size_t m = 0; m < METHODS; m++) {
            const double *rho_mu = &track->rho_mu[(step * METHODS + m) * 2];
            double sum = 0;
            for (size_t i = 0; i < walk->elements; i++)
                sum += pow(rho_mu[0] * x[i] + rho_mu[1] * epsilon[i] - end[i], 2);
            track->errors[m * track->steps * paths + place] = sum / (double)walk->elements / (scale * scale);
        }
    }
}

/* ---- derivatives ---- */

static double norm2(const double *weights) {
    double sum = 0;
    for (int i = 0; i < STENCIL_POINTS; i++) sum += weights[i] * weights[i];
    return sum;
}

/* derivative[k] of one path by the level that promises the smaller error; the squares of its two parts. */
static void differentiate(const struct walk *walk, const struct probe *probe, size_t row, int k, double noise2,
                          double *truncation2, double *rounding2) {
    const struct stencil *stencil = &probe->stencil;
    double best = INFINITY;
    for (int level = 0; level < STENCIL_LEVELS; level++) {
        double *value = walk->value, miss = 0, rounding = noise2 * norm2(stencil->extrapolated[level][k]);
        for (size_t i = 0; i < walk->elements; i++) {
            double simple = value[i] = 0;
            for (int p = 0; p < stencil->count; p++) {
                double epsilon = walk->epsilon[probe->points[p]][row * walk->elements + i];
                value[i] += stencil->extrapolated[level][k][p] * epsilon;
                simple += stencil->simple[level][k][p] * epsilon;
            }
            miss += pow(value[i] - simple, 2) / (double)walk->elements;
        }
        if (miss + rounding >= best) continue;
        best = miss + rounding;
        *truncation2 = miss;
        *rounding2 = rounding;
        for (size_t i = 0; i < walk->elements; i++) walk->derivative[k][i] = value[i];
    }
}

/* One derivative of x or of the score from its coefficients, on_x and [EPSILON_ORDERS + 1] of epsilon's derivatives. */
static void compare(const struct walk *walk, const double *x, double on_x, const double *on_epsilon,
                    const double *truncation2, const double *rounding2, size_t path, double *const values[QUANTITIES]) {
    double sums[MISS2 + 1] = {0};
    for (size_t i = 0; i < walk->elements; i++) {
        double ideal = on_x * x[i] + on_epsilon[0] * walk->derivative[0][i], miss = 0;
        for (int j = 1; j <= EPSILON_ORDERS; j++)
            if (on_epsilon[j] != 0) miss += on_epsilon[j] * walk->derivative[j][i];
        sums[TRUE2] += pow(ideal + miss, 2);
        sums[IDEAL2] += ideal * ideal;
        sums[PRODUCT] += ideal * (ideal + miss);
        sums[MISS2] += miss * miss;
    }
    for (int q = 0; q <= MISS2; q++) values[q][path] = sums[q] / (double)walk->elements;
    for (int j = 1; j <= EPSILON_ORDERS; j++) {
        values[TRUNCATION2][path] += pow(on_epsilon[j], 2) * truncation2[j];
        values[NOISE2][path] += pow(on_epsilon[j], 2) * rounding2[j];
    }
}

static void measure_probe(const struct walk *walk, struct probe *probe) {
    size_t centre = probe->points[probe->stencil.centre];
    for (size_t row = 0; row < walk->rows; row++) {
        size_t path = walk->first + row;
        const double *x = walk->x[centre] + row * walk->elements;
        double truncation2[EPSILON_ORDERS + 1] = {0}, rounding2[EPSILON_ORDERS + 1] = {0};
        for (size_t i = 0; i < walk->elements; i++)
            walk->derivative[0][i] = walk->epsilon[centre][row * walk->elements + i];
        for (int k = 1; k <= EPSILON_ORDERS; k++)
            differentiate(walk, probe, row, k, probe->noise[path], &truncation2[k], &rounding2[k]);
        for (int k = 0; k <= EPSILON_ORDERS; k++) {
            probe->epsilon[k][path] = mean_square(walk->derivative[k], walk->elements);
            probe->doubt[k][path] = truncation2[k] + rounding2[k];
        }
        for (int c = 0; c < CLOCKS; c++) {
            const struct derivative_map *map = &probe->maps[c];
            if (!probe->has[c]) continue;
            for (int k = 1; k <= PATH_ORDERS; k++)
                compare(walk, x, map->on_x[k], map->path[k], truncation2, rounding2, path, probe->values[c][k - 1]);
            for (int k = 1; k <= EPSILON_ORDERS; k++)
                compare(walk, x, 0, map->score[k], truncation2, rounding2, path, probe->values[c][SCORE_FIRST + k - 1]);
        }
    }
}

/* ---- along the path ---- */

/* out = epsilon of x by the program `ask`. */
static int ask(struct walk *walk, const struct plan *program, const double *x, double *out, struct error *err) {
    int at = walk->study->x;
    if (executor_set(walk->executor, at, x, err) != 0 || executor_ops(walk->executor, program, err) != 0) return -1;
    return executor_get(walk->executor, at + 1, out, err);
}

/* The rounding of the network and of its inputs at a probe: fourth differences of epsilon over small nudges of x and,
 * but for a model that knows no times between its own, of t. All that is smooth cancels in them, and their variance is
 * 70 times that of a value (Hamming 1962; More & Wild 2011, estimating computational noise). */
static int measure_noise(struct walk *walk, struct probe *probe, size_t point, struct error *err) {
    static const double binomials[] = {1, -4, 6, -4, 1};
    enum { TERMS = sizeof binomials / sizeof *binomials, DIFFERENCES = NUDGES - TERMS + 1 };
    size_t values = walk->rows * walk->elements;
    double *sums = calloc(DIFFERENCES * values, sizeof *sums), *nudged = malloc(values * sizeof *nudged);
    int rc = sums && nudged ? 0 : error_memory(err);
    for (int k = 0; k < NUDGES && rc == 0; k++) {
        for (size_t i = 0; i < values; i++) nudged[i] = walk->x[point][i] * (1 + k * NUDGE);
        rc = ask(walk, &probe->nudged[k], nudged, walk->scratch, err);
        for (int d = k < DIFFERENCES ? k : DIFFERENCES - 1; rc == 0 && d >= 0 && k - d < TERMS; d--)
            for (size_t i = 0; i < values; i++) sums[(size_t)d * values + i] += binomials[k - d] * walk->scratch[i];
    }
    for (size_t row = 0; row < walk->rows && rc == 0; row++)
        for (size_t d = 0; d < DIFFERENCES; d++)
            probe->noise[walk->first + row] += mean_square(sums + d * values + row * walk->elements, walk->elements) /
                                               (70 * DIFFERENCES);
    free(sums);
    free(nudged);
    return rc;
}

static int keep(struct walk *walk, size_t point, struct error *err) {
    struct study *study = walk->study;
    size_t values = walk->rows * walk->elements;
    double *x = walk->x[point] = malloc(values * sizeof *x),
           *epsilon = walk->epsilon[point] = malloc(values * sizeof *epsilon);
    if (!x || !epsilon) return error_memory(err);
    if (executor_get(walk->executor, 0, x, err) != 0 || ask(walk, &study->asks[point], x, epsilon, err) != 0) return -1;
    for (size_t i = 0; i < values; i++)
        if (!isfinite(x[i]) || !isfinite(epsilon[i]))
            return error_set(err, CODE_DATA, "at t = %g the model's output for seed %llu is not finite",
                             study->path.times[point],
                             (unsigned long long)study->asked->seeds[walk->first + i / walk->elements]);
    return 0;
}

/* What ends at this point. */
static int measure_at(struct walk *walk, size_t point, struct error *err) {
    struct study *study = walk->study;
    for (size_t i = 0; i < study->probes_count; i++) {
        struct probe *probe = &study->probes[i];
        const struct stencil *stencil = &probe->stencil;
        if (probe->points[stencil->centre] == point && measure_noise(walk, probe, point, err) != 0) return -1;
        if (probe->points[stencil->count - 1] == point) measure_probe(walk, probe);
    }
    for (size_t i = 0; i < study->tracks_count; i++)
        for (size_t step = 0; step < study->tracks[i].steps; step++)
            if (study->tracks[i].points[step + 1] == point) measure_step(walk, &study->tracks[i], step);
    return 0;
}

static void forget(struct walk *walk, size_t point) {
    free(walk->x[point]);
    free(walk->epsilon[point]);
    walk->x[point] = walk->epsilon[point] = NULL;
}

/* Of a path: x0 at a point. */
static double x0_at(const struct walk *walk, size_t point, size_t i) {
    double t = walk->study->path.times[point];
    double alpha = schedule_alpha(walk->study->schedule, t), sigma = schedule_sigma(walk->study->schedule, t);
    return (walk->x[point][i] - sigma * walk->epsilon[point][i]) / alpha;
}

/* The fine samples, x at the end or x0 there where samplers step to sigma 0; and the errors of those steps. */
static void measure_end(const struct walk *walk) {
    struct study *study = walk->study;
    size_t end = study->path.count - 1, elements = walk->elements;
    double *samples = study->samples + walk->first * elements;
    bool to_zero = final_is_x0(study->asked->sampler->final);
    for (size_t i = 0; i < walk->rows * elements; i++) samples[i] = to_zero ? x0_at(walk, end, i) : walk->x[end][i];
    for (size_t k = 0; k < study->tracks_count; k++) {
        const struct track *track = &study->tracks[k];
        for (size_t i = 0; track->to_zero && i < walk->rows * elements; i++)
            track->last[walk->first + i / elements] += pow(x0_at(walk, track->points[track->steps], i) - samples[i],
                                                           2) /
                                                       (double)elements;
    }
}

static int walk_path(struct walk *walk, struct error *err) {
    struct study *study = walk->study;
    const struct path *path = &study->path;
    if (run_start(walk, err) != 0) return -1;
    for (size_t point = 0; point < path->count; point++) {
        if (point > 0) {
            struct plan part = path_part(path, point - 1);
            if (executor_ops(walk->executor, &part, err) != 0) return -1;
        }
        if (study->last[point] == 0) continue;
        if (keep(walk, point, err) != 0 || measure_at(walk, point, err) != 0) return -1;
        if (point == path->count - 1) measure_end(walk);
        for (size_t i = 0; i <= point; i++)
            if (study->last[i] <= point) forget(walk, i);
    }
    return 0;
}

/* ---- candidates ---- */

static int try_candidate(struct walk *walk, struct candidate *candidate, struct error *err) {
    const double *fine = walk->study->samples + walk->first * walk->elements;
    if (run_start(walk, err) != 0 || executor_ops(walk->executor, &candidate->plan, err) != 0 ||
        executor_get(walk->executor, 0, walk->scratch, err) != 0)
        return -1;
    for (size_t row = 0; row < walk->rows; row++) {
        double sum = 0;
        for (size_t i = row * walk->elements; i < (row + 1) * walk->elements; i++)
            sum += pow(walk->scratch[i] - fine[i], 2);
        candidate->errors[walk->first + row] = isfinite(sum) ? sum / (double)walk->elements : INFINITY;
    }
    return 0;
}

/* ---- threads ---- */

static int walk_init(struct walk *walk, struct study *study, const struct plan *program, struct error *err) {
    const struct diagnosis *asked = study->asked;
    char message[SHIM_ERROR];
    *walk = (struct walk){.study = study, .elements = card_elements(asked->card)};
    if (crash_thread_start(err) != 0) return -1;
    if (shim_thread_start(asked->device, message) != 0) return error_set(err, CODE_INTERNAL, "%s", message);
    walk->x = calloc(study->path.count, sizeof *walk->x);
    walk->epsilon = calloc(study->path.count, sizeof *walk->epsilon);
    walk->scratch = malloc((size_t)asked->batch * walk->elements * sizeof *walk->scratch);
    walk->value = malloc(walk->elements * sizeof *walk->value);
    if (!walk->x || !walk->epsilon || !walk->scratch || !walk->value) return error_memory(err);
    for (int k = 0; k <= EPSILON_ORDERS; k++)
        if (!(walk->derivative[k] = malloc(walk->elements * sizeof(double)))) return error_memory(err);
    struct executor_setup setup = {.plan = program,
                                   .sampler = asked->sampler,
                                   .card = asked->card,
                                   .model = asked->model,
                                   .guide = asked->guide,
                                   .conditions = asked->conditions,
                                   .device = asked->device,
                                   .batch = asked->batch,
                                   .noise = asked->noise};
    return executor_new(&walk->executor, &setup, err);
}

static void walk_end(struct walk *walk) {
    for (size_t i = 0; walk->x && walk->epsilon && i < walk->study->path.count; i++) forget(walk, i);
    executor_free(walk->executor);
    for (int k = 0; k <= EPSILON_ORDERS; k++) free(walk->derivative[k]);
    free(walk->x);
    free(walk->epsilon);
    free(walk->scratch);
    free(walk->value);
}

static void choose_batch(struct walk *walk, size_t number) {
    size_t size = (size_t)walk->study->asked->batch, paths = walk->study->asked->paths;
    walk->first = number * size;
    walk->rows = paths - walk->first < size ? paths - walk->first : size;
}

int study_measure(struct study *study, struct error *err) {
    const struct diagnosis *asked = study->asked;
    size_t batches = (asked->paths + (size_t)asked->batch - 1) / (size_t)asked->batch;
    struct plan program = study->path.plan; /* registers for every plan that is run */
    struct error failure = {.code = CODE_OK};
    program.registers = study->registers;
#pragma omp parallel num_threads(asked->workers)
    {
        struct walk walk;
        struct error one = {.code = CODE_OK};
        walk_init(&walk, study, &program, &one);
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < batches; i++) {
            choose_batch(&walk, i);
            if (one.code == CODE_OK) walk_path(&walk, &one);
        }
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < study->candidates_count * batches; i++) {
            choose_batch(&walk, i % batches);
            if (one.code == CODE_OK) try_candidate(&walk, &study->candidates[i / batches], &one);
        }
        walk_end(&walk);
#pragma omp critical(measure_failure)
        if (one.code != CODE_OK) failure = one;
    }
    if (failure.code == CODE_OK) return 0;
    *err = failure;
    return -1;
}
