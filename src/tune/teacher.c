/* The fine solution of every path. */
#include "tune/teacher.h"

#include "cluster/agree.h"
#include "tune/kept.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct sampler tune_sampler(const struct tuning *asked, const char *solver) {
    const struct sampler *own = asked->sampler;
    struct sampler sampler;
    sampler_init(&sampler);
    strcpy(sampler.solver, solver);
    sampler.guidance = own->guidance; /* plan_resolve copies what is owned */
    sampler.clip = own->clip;
    return sampler;
}

int tune_compile(struct sampler *resolved, struct plan *plan, const struct sampler *wanted, const struct card *card,
                 struct error *err) {
    if (plan_resolve(resolved, wanted, card, err) != 0) return -1;
    int rc = plan_compile(plan, resolved, card, NULL, err);
    if (rc != 0) sampler_release(resolved);
    return rc;
}

/* Runge and Kutta's fourth order asks between grid points, and starts from alpha = 0 in clock t alone. */
static bool is_multistep(const struct schedule *schedule, double t_start) {
    return schedule_has_integer_times(schedule) ||
           (schedule_is_discrete(schedule) && schedule_alpha(schedule, t_start) == 0);
}

static struct sampler fine(const struct tuning *asked, const struct schedule *schedule, int steps) {
    const struct sampler *own = asked->sampler;
    bool multistep = is_multistep(schedule, own->t_start);
    bool in_time = schedule_is_flow(schedule) || schedule_alpha(schedule, own->t_start) == 0;
    struct sampler sampler = tune_sampler(asked, multistep ? "dpmpp-3m" : "rk4");
    sampler.final = final_is_x0(own->final) ? FINAL_ZERO : FINAL_NONE;
    sampler.grid = in_time ? GRID_UNIFORM : GRID_UNIFORM_LOGSNR;
    sampler.clock = in_time || schedule_time_is_sigma(schedule) ? CLOCK_T : CLOCK_LOGSNR;
    sampler.t_start = own->t_start;
    sampler.t_end = own->t_end;
    if (multistep) {
        sampler.lower_order_final = TOGGLE_OFF;
        steps *= 4; /* one evaluation each */
    }
    if (schedule_has_integer_times(schedule))
        steps = (int)fmin(steps, round((own->t_start - own->t_end) * schedule_steps(schedule)));
    sampler.steps = steps;
    return sampler;
}

static int compile(struct sampler *resolved, struct plan *plan, const struct tuning *asked, int steps,
                   struct error *err) {
    struct schedule *schedule;
    if (schedule_new(&schedule, asked->card, err) != 0) return -1;
    struct sampler wanted = fine(asked, schedule, steps);
    schedule_free(schedule);
    return tune_compile(resolved, plan, &wanted, asked->card, err);
}

int teacher_plan(struct teacher *teacher, const struct tuning *asked, struct error *err) {
    *teacher = (struct teacher){0};
    int rc = compile(&teacher->sampler, &teacher->plan, asked, asked->teacher, err);
    return rc == 0 ? 0 : error_prefix(err, "the fine solution");
}

void teacher_release(struct teacher *teacher) {
    sampler_release(&teacher->sampler);
    plan_release(&teacher->plan);
    free(teacher->u);
    free(teacher->x);
    free(teacher->samples);
    *teacher = (struct teacher){0};
}

struct walk { /* the teacher's, or its coarse half's, over blocks */
    struct teacher *teacher;
    const struct engine *engine;
    const struct plan *plan;
    double *miss; /* of the coarse one: [2], squares of the difference and of the samples; NULL: the fine one */
};

static double norm_at(const struct schedule *schedule, double t) {
    return hypot(schedule_alpha(schedule, t), schedule_sigma(schedule, t));
}

static double point_time(const struct teacher *teacher, size_t point) {
    const struct plan *plan = &teacher->plan;
    return point < plan->steps_count ? plan->steps[point].t : plan->steps[point - 1].s;
}

/* Keeps x, divided by hypot(alpha, sigma), whose growth is no part of the path. */
static int keep(const struct walk *walk, struct executor *executor, size_t point, size_t first, size_t rows,
                struct error *err) {
    const struct engine *engine = walk->engine;
    double *x = walk->teacher->x + (point * engine->paths + first) * engine->elements;
    double norm = norm_at(engine->schedule, point_time(walk->teacher, point));
    if (executor_get(executor, 0, x, err) != 0) return -1;
    for (size_t i = 0; norm != 1 && i < rows * engine->elements; i++) x[i] /= norm;
    return 0;
}

static int compute(const struct walk *walk, struct executor *executor, double *scratch, size_t block,
                   struct error *err) {
    struct teacher *teacher = walk->teacher;
    const struct engine *engine = walk->engine;
    const struct plan *plan = walk->plan;
    size_t first, elements = engine->elements, point = 0;
    struct batch batch = engine_batch(engine, block, &first);
    struct plan part = *plan;
    if (executor_start(executor, &batch, err) != 0) return -1;
    for (size_t i = 0, from = 0; i <= plan->ops_count; i++) {
        bool starts = !walk->miss && i == from && point < teacher->points; /* or the last step ended */
        if (starts && keep(walk, executor, point++, first, batch.rows, err) != 0) return -1;
        if (i == plan->ops_count || plan->ops[i].dst != 0) continue; /* a step ends where it writes x */
        part.ops = plan->ops + from;
        part.ops_count = i + 1 - from;
        if (executor_ops(executor, &part, err) != 0) return -1;
        from = i + 1;
    }
    double *samples = teacher->samples + first * elements;
    if (executor_get(executor, 0, walk->miss ? scratch : samples, err) != 0) return -1;
    for (size_t i = 0; i < batch.rows * elements; i++) {
        if (!isfinite(samples[i]))
            return error_set(err, CODE_DATA, "the fine solution of seed %llu is not finite",
                             (unsigned long long)batch.seeds[i / elements]);
        if (!walk->miss) continue;
        walk->miss[0] += pow(scratch[i] - samples[i], 2) / (double)(batch.rows * elements);
        walk->miss[1] += pow(samples[i], 2) / (double)(batch.rows * elements);
    }
    return 0;
}

/* A block's paths as they are kept, [points][rows][elements] and then their ends: to there, or from there. */
static void move(const struct walk *walk, size_t first, size_t rows, double *all, bool from) {
    struct teacher *teacher = walk->teacher;
    size_t elements = walk->engine->elements, part = rows * elements;
    for (size_t point = 0; point <= teacher->points; point++, all += part) {
        double *own = point < teacher->points ? teacher->x + (point * walk->engine->paths + first) * elements
                                              : teacher->samples + first * elements;
        memcpy(from ? own : all, from ? all : own, part * sizeof *all);
    }
}

/* The same from disk, or to it. */
static int follow(void *context, struct executor *executor, double *scratch, size_t block, struct error *err) {
    struct walk *walk = context;
    const struct engine *engine = walk->engine;
    size_t first;
    const struct batch batch = engine_batch(engine, block, &first);
    if (!engine->asked->folder || walk->miss) return compute(walk, executor, scratch, block, err);
    size_t count = (walk->teacher->points + 1) * batch.rows * engine->elements;
    double *all = malloc(count * sizeof *all);
    char key[SHA256_HEX];
    bool found = false;
    engine_key(engine, key, "paths", &block, sizeof block);
    int rc = all ? kept_read(engine->asked->folder, key, all, count, &found, err) : error_memory(err);
    if (rc == 0 && found) move(walk, first, batch.rows, all, true);
    if (rc == 0 && !found) {
        rc = compute(walk, executor, scratch, block, err);
        if (rc == 0) move(walk, first, batch.rows, all, false);
        if (rc == 0) rc = kept_write(engine->asked->folder, key, all, count, err);
    }
    free(all);
    return rc;
}

static int allocate(struct teacher *teacher, const struct engine *engine, struct error *err) {
    const struct plan *plan = &teacher->plan;
    size_t paths = engine->paths * engine->elements;
    teacher->points = plan->steps_count + (teacher->sampler.final == FINAL_NONE);
    teacher->u = malloc(teacher->points * sizeof *teacher->u);
    teacher->x = calloc(teacher->points * paths, sizeof *teacher->x);
    teacher->samples = calloc(engine->blocks * engine->block * engine->elements, sizeof *teacher->samples);
    if (!teacher->u || !teacher->x || !teacher->samples) return error_memory(err);
    for (size_t i = 0; i < teacher->points; i++) {
        double t = point_time(teacher, i);
        bool in_time = teacher->sampler.grid == GRID_UNIFORM;
        teacher->u[i] = in_time ? t : schedule_logsnr(engine->schedule, t);
    }
    return 0;
}

/* The coarse one's, against the first block's paths. */
static int measure_miss(struct engine *engine, struct walk *walk, double miss[2], struct error *err) {
    uint64_t before = engine->rows;
    char key[SHA256_HEX];
    bool kept;
    engine_key(engine, key, "teacher's error", "", 0);
    if (engine_recall(engine, key, miss, 2, &kept, err) != 0) return -1;
    if (kept) return 0;
    if (engine_each(engine, 1, walk->plan->model_calls, follow, walk, err) != 0) return -1;
    if (engine_share(engine, miss, 1, 2, err) != 0) return -1;
    return engine_keep(engine, key, miss, 2, engine->rows - before, err);
}

int teacher_run(struct teacher *teacher, struct engine *engine, struct error *err) {
    struct sampler resolved;
    struct plan coarse;
    double miss[2] = {0, 0};
    struct walk walk = {teacher, engine, &teacher->plan, NULL};
    int rc = ranks_agree(engine->asked->comm, allocate(teacher, engine, err), err);
    if (rc == 0) rc = engine_each(engine, engine->blocks, teacher->plan.model_calls, follow, &walk, err);
    if (rc == 0) /* any rank may compare with any of them */
        rc = engine_share(engine, teacher->samples, engine->blocks, engine->block * engine->elements, err);
    if (rc != 0 || compile(&resolved, &coarse, engine->asked, (engine->asked->teacher + 1) / 2, err) != 0) return -1;
    walk.plan = &coarse;
    walk.miss = miss;
    rc = measure_miss(engine, &walk, miss, err);
    double order = strcmp(teacher->plan.solver, "rk4") == 0 ? 4 : 3;
    teacher->error = sqrt(miss[0]) / (pow(2, order) - 1); /* Richardson's estimate */
    teacher->spread = sqrt(miss[1]);
    plan_release(&coarse);
    sampler_release(&resolved);
    return rc;
}

struct teacher_weights teacher_at(const struct teacher *teacher, const struct schedule *schedule, double t) {
    bool in_time = teacher->sampler.grid == GRID_UNIFORM;
    double u = in_time ? t : schedule_logsnr(schedule, t), norm = norm_at(schedule, t);
    size_t count = teacher->points < TEACHER_WINDOW ? teacher->points : TEACHER_WINDOW, after = 0;
    while (after < teacher->points && (in_time ? teacher->u[after] > u : teacher->u[after] < u)) after++;
    size_t first = after > count / 2 ? after - count / 2 : 0;
    if (first + count > teacher->points) first = teacher->points - count;
    struct teacher_weights at = {.first = first, .count = count};
    for (size_t j = 0; j < count; j++) {
        at.weights[j] = norm;
        for (size_t k = 0; k < count; k++)
            if (k != j) at.weights[j] *= (u - teacher->u[first + k]) / (teacher->u[first + j] - teacher->u[first + k]);
    }
    return at;
}

void teacher_x(const struct teacher *teacher, const struct engine *engine, const struct teacher_weights *at,
               size_t path, double *out) {
    size_t elements = engine->elements;
    memset(out, 0, elements * sizeof *out);
    for (size_t j = 0; j < at->count; j++) {
        const double *x = teacher->x + ((at->first + j) * engine->paths + path) * elements;
        for (size_t i = 0; i < elements; i++) out[i] += at->weights[j] * x[i];
    }
}
