/* What holds for every solver: random choices of solver, order, grid, NFE, schedule and prediction give finite samples
 * by at most the NFE asked for, the same whatever the network predicts; and the first-order methods are one. */
#include "interpret.h"

#include "solver/registry.h"

static uint64_t state_of_draws = 7;
static int draw(int count) { /* 0..count-1, from a fixed linear congruential sequence (Knuth's MMIX constants) */
    state_of_draws = state_of_draws * 6364136223846793005u + 1442695040888963407u;
    return (int)((state_of_draws >> 33) % (uint64_t)count);
}

static double draw_noise(uint32_t stream, size_t element) {
    return 2 * sin(12.9898 * (double)stream + 78.233 * (double)element);
}

struct world {
    enum schedule_kind schedule;
    void (*process)(double, double *, double *);
};
static const struct world worlds[] = {
    {SCHEDULE_LINEAR, linear_process}, {SCHEDULE_EDM, edm_process}, {SCHEDULE_DISCRETE_LINEAR, ddpm_process}};
static const enum prediction predictions[] = {PREDICTION_EPSILON, PREDICTION_X0,     PREDICTION_V,     PREDICTION_SCORE,
                                              PREDICTION_EDM,     PREDICTION_EDM_VP, PREDICTION_EDM_VE};
static const double orders[] = {NAN, NAN, NAN, NAN, NAN, NAN, 1, 1.5, 2, 3, 4, INFINITY};
static const enum grid_kind grids[] = {GRID_UNSET,       GRID_UNIFORM, GRID_QUADRATIC, GRID_UNIFORM_LOGSNR, GRID_KARRAS,
                                       GRID_EXPONENTIAL, GRID_LEADING, GRID_LINSPACE,  GRID_TRAILING};

static void run(const struct plan *plan, const struct world *world, enum prediction prediction, enum prediction guides,
                double *x) {
    const double start[ELEMENTS] = {-1.7, -0.4, 0.2, 0.9, 2.1};
    struct network guide = {2, {0.4, 0.6}, {-0.5, 0.6}, {0.4, 0.5}, world->process, guides, 0.5, 0, NULL};
    struct network network = {3,   {0.5, 0.3, 0.2}, {-0.8, 0.1, 0.9}, {0.2, 0.3, 0.15}, world->process, prediction, 0.5,
                              0.1, &guide};
    for (int e = 0; e < ELEMENTS; e++) x[e] = plan->initial_scale * start[e];
    interpret(plan, &network, draw_noise, x);
}

static struct sampler random_sampler(int solvers) {
    const struct solver *solver = solver_at((size_t)draw(solvers));
    struct sampler sampler = sampler_of(solver->name, orders[draw(12)], 1 + draw(40));
    if (solver->evaluations == 0) sampler.nfe = 0;
    if (solver->options & SOLVER_RESTART)
        sampler.restart = (struct restart){1, {{.steps = 3, .times = 1 + draw(2), .low = 0.3, .high = 3, .noise = 1}}};
    sampler.grid = grids[draw(9)];
    sampler.final = (enum final_kind)draw(4);
    sampler.clock = (enum clock_kind)draw(3);
    sampler.lower_order_final = (enum toggle)draw(3);
    sampler.clip.on = draw(5) == 0;
    if (draw(3) == 0)
        sampler.guidance = (struct guidance){.scale = 0.5 * draw(6),
                                             .eta = NAN,
                                             .norm_threshold = NAN,
                                             .momentum = NAN,
                                             .interval = {draw(2) ? 0 : 0.1, draw(2) ? INFINITY : 5},
                                             .channels = draw(ELEMENTS + 1),
                                             .rescale = draw(3) ? 0 : 0.7};
    return sampler;
}

/* A choice that is refused says which key to change. Higher series orders may leave the radius of convergence, and
 * clock lambda's Runge-Kutta slopes grow there: those are finite, and no more is asked. */
static void any_choice(void **state) {
    (void)state;
    int solvers = 0, compiled = 0, guided = 0, learned = 0, used[64] = {0};
    while (strcmp(solver_at((size_t)solvers)->name, "table") != 0) solvers++; /* the last */
    for (int i = 0; i < 12000; i++) {
        struct sampler sampler = random_sampler(solvers);
        const struct world *world = &worlds[draw(3)];
        struct card card = card_of(world->schedule), guide;
        struct plan plan;
        struct error err;
        card.channels = ELEMENTS;
        card.learned_variance = draw(2);
        card.classes = card.null_label = 3 * draw(2);
        guide = card;
        guide.classes *= draw(2);
        guide.null_label = guide.classes;
        if (draw(2)) card.guide = &guide;
        if (try_compile(&plan, sampler, &card, NULL, &err) != 0) {
            if (err.code != CODE_DATA || !strstr(err.message, "sampler"))
                fail_msg("%s: %s", sampler.solver, err.message);
            continue;
        }
        const struct solver *solver = solver_find(sampler.solver);
        if (plan.adaptive) {
            plan_release(&plan);
            continue;
        }
        compiled++;
        for (int k = 0; k < solvers; k++) used[k] += solver_at((size_t)k) == solver;
        assert_true(plan.nfe <= sampler.nfe && plan.nfe > sampler.nfe - solver->evaluations);
        double expected[ELEMENTS];
        guided += plan.model_calls > plan.nfe;
        run(&plan, world, PREDICTION_EPSILON, PREDICTION_EPSILON, expected);
        for (int e = 0; e < ELEMENTS; e++)
            if (!isfinite(expected[e])) fail_msg("%s, NFE %d: not finite", sampler.solver, sampler.nfe);
        plan_release(&plan);
        learned += card.learned_variance && solver->options & SOLVER_VARIANCE;
        if (sampler.guidance.rescale > 0) continue; /* of the network's own output */
        card.prediction = predictions[draw(7)];
        guide.prediction = draw(2) ? card.prediction : predictions[draw(7)];
        assert_int_equal(try_compile(&plan, sampler, &card, NULL, &err), 0);
        double found[ELEMENTS], largest = 1;
        run(&plan, world, card.prediction, guide.prediction, found);
        for (int e = 0; e < ELEMENTS; e++) largest = fmax(largest, fabs(expected[e]));
        for (int e = 0; e < ELEMENTS && largest < 100; e++)
            if (fabs(found[e] - expected[e]) > 1e-7 * largest)
                fail_msg("%s, order %g, NFE %d, predictions %d and %d: %.17g, of epsilon %.17g", sampler.solver,
                         sampler.order, sampler.nfe, card.prediction, guide.prediction, found[e], expected[e]);
        plan_release(&plan);
    }
    print_message("%d of 12000 choices compile, %d guided, %d with learned variance\n", compiled, guided, learned);
    assert_true(guided > 500 && learned > 10);
    for (int k = 0; k < solvers; k++)
        if (solver_at((size_t)k)->evaluations && used[k] < 10)
            fail_msg("%s: only %d choices", solver_at((size_t)k)->name, used[k]);
}

/* From t = 1, where alpha is 0, what the network predicts makes no difference either. */
static void any_choice_on_a_path(void **state) {
    (void)state;
    const struct world paths[] = {{SCHEDULE_FLOW, flow_process}, {SCHEDULE_GVP, gvp_process}};
    const enum prediction same[] = {PREDICTION_VELOCITY, PREDICTION_V};
    int solvers = 0, compiled = 0, used[64] = {0};
    while (strcmp(solver_at((size_t)solvers)->name, "table") != 0) solvers++; /* the last */
    for (int i = 0; i < 12000; i++) {
        struct sampler sampler = random_sampler(solvers);
        const struct world *world = &paths[draw(2)];
        struct card card = card_of(world->schedule);
        struct plan plan;
        struct error err;
        card.schedule.s = 0;
        card.schedule.noise_scale = 1;
        card.channels = ELEMENTS;
        card.prediction = PREDICTION_X0;
        sampler.guidance = (struct guidance){
            .scale = 1, .interval = {0, INFINITY}, .eta = NAN, .norm_threshold = NAN, .momentum = NAN};
        if (draw(2)) sampler.t_start = 0.95;
        if (draw(2) && solver_find(sampler.solver)->options & SOLVER_DIFFUSION)
            sampler.diffusion = (struct diffusion){(enum diffusion_form)draw(7), 0.8};
        if (try_compile(&plan, sampler, &card, NULL, &err) != 0) {
            if (err.code != CODE_DATA || !strstr(err.message, "sampler"))
                fail_msg("%s: %s", sampler.solver, err.message);
            continue;
        }
        if (plan.adaptive) {
            plan_release(&plan);
            continue;
        }
        double expected[ELEMENTS], found[ELEMENTS], largest = 1;
        const struct solver *solver = solver_find(sampler.solver);
        compiled++;
        for (int k = 0; k < solvers; k++) used[k] += solver_at((size_t)k) == solver;
        assert_true(plan.nfe <= sampler.nfe && plan.nfe > sampler.nfe - solver->evaluations);
        run(&plan, world, PREDICTION_X0, PREDICTION_X0, expected);
        plan_release(&plan);
        card.prediction = same[draw(2)];
        assert_int_equal(try_compile(&plan, sampler, &card, NULL, &err), 0);
        run(&plan, world, card.prediction, card.prediction, found);
        plan_release(&plan);
        for (int e = 0; e < ELEMENTS; e++) {
            if (!isfinite(expected[e])) fail_msg("%s, NFE %d: not finite", sampler.solver, sampler.nfe);
            largest = fmax(largest, fabs(expected[e]));
        }
        for (int e = 0; e < ELEMENTS && largest < 100; e++)
            if (fabs(found[e] - expected[e]) > 1e-7 * largest)
                fail_msg("%s, order %g, NFE %d, schedule %d, prediction %d: %.17g, of x0 %.17g", sampler.solver,
                         sampler.order, sampler.nfe, world->schedule, card.prediction, found[e], expected[e]);
    }
    print_message("%d of 12000 choices compile on a path\n", compiled);
    for (int k = 0; k < solvers; k++)
        if (solver_at((size_t)k)->evaluations && used[k] < 5)
            fail_msg("%s: only %d choices", solver_at((size_t)k)->name, used[k]);
}

static void first_order_is_ddim(void **state) {
    (void)state;
    const struct {
        const char *name;
        double order;
    } same[] = {{"taylor", INFINITY}, {"dpm-1", NAN}, {"dpmpp-1", NAN}, {"unip", 1}, {"deis", 1},
                {"deis-rho", 1},      {"deis-t", 1},  {"lms", 1},       {"ipndm", 1}};
    for (int w = 0; w < 3; w++)
        for (int i = 0; i < 9; i++) {
            struct card card = card_of(worlds[w].schedule);
            struct sampler ddim = sampler_of("ddim", NAN, 12), other = sampler_of(same[i].name, same[i].order, 12);
            ddim.grid = other.grid = w == 2 ? GRID_TRAILING : GRID_UNIFORM_LOGSNR;
            double a[ELEMENTS], b[ELEMENTS];
            struct plan plan = compile(ddim, &card);
            run(&plan, &worlds[w], PREDICTION_EPSILON, PREDICTION_EPSILON, a);
            plan_release(&plan);
            plan = compile(other, &card);
            run(&plan, &worlds[w], PREDICTION_EPSILON, PREDICTION_EPSILON, b);
            plan_release(&plan);
            for (int e = 0; e < ELEMENTS; e++) assert_close(a[e], b[e], 1e-12);
        }
}

/* UniP of order 2 with B(h) = e^h - 1 and DPM-Solver++ 2M are one method (Zhao et al. 2023, section 3.4). */
static void unip_2_is_2m(void **state) {
    (void)state;
    struct card card = card_of(SCHEDULE_LINEAR);
    struct sampler unip = sampler_of("unip", 2, 12), multistep = sampler_of("dpmpp-2m", NAN, 12);
    unip.lower_order_final = multistep.lower_order_final = TOGGLE_OFF;
    double a[ELEMENTS], b[ELEMENTS];
    struct plan plan = compile(unip, &card);
    run(&plan, &worlds[0], PREDICTION_EPSILON, PREDICTION_EPSILON, a);
    plan_release(&plan);
    plan = compile(multistep, &card);
    run(&plan, &worlds[0], PREDICTION_EPSILON, PREDICTION_EPSILON, b);
    plan_release(&plan);
    for (int e = 0; e < ELEMENTS; e++) assert_close(a[e], b[e], 1e-12);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(any_choice), cmocka_unit_test(any_choice_on_a_path),
                                       cmocka_unit_test(first_order_is_ddim), cmocka_unit_test(unip_2_is_2m)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
