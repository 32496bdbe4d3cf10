/* What a plan does to the network's output before a solver sees it: each prediction gives the same samples, guidance by
 * labels and by a second model, clipping. Beside the formulas, in closed form. */
#include "networks.h"

static void predictions_agree(void **state) {
    (void)state;
    const char *solvers[] = {"taylor", "ddim", "heun", "euler", "rk4", "ddpm"};
    for (int edm = 0; edm < 2; edm++)
        for (size_t i = 0; i < sizeof solvers / sizeof *solvers; i++) {
            double expected[ELEMENTS] = {0};
            for (int p = PREDICTION_EPSILON; p <= PREDICTION_EDM_IDDPM; p++) {
                if (p == PREDICTION_VELOCITY) continue; /* tests/parity/test_any_path.py */
                struct card card = card_of(edm ? SCHEDULE_EDM : SCHEDULE_LINEAR);
                struct network network = mixture;
                double x[ELEMENTS];
                network.prediction = card.prediction = (enum prediction)p;
                network.process = edm ? edm_process : linear_process;
                struct sampler sampler = sampler_of(solvers[i], NAN, 12);
                sampler.final = FINAL_NONE;
                struct plan plan = compile(sampler, &card);
                for (int e = 0; e < ELEMENTS; e++) x[e] = start[e] * plan.initial_scale;
                interpret(&plan, &network, some_noise, x);
                for (int e = 0; e < ELEMENTS; e++)
                    if (p == PREDICTION_EPSILON) expected[e] = x[e];
                    else assert_close(x[e], expected[e], 2e-12 * fmax(1, fabs(expected[e])));
                plan_release(&plan);
            }
        }
}

static void guidance_is_linear(void **state) {
    (void)state;
    struct card card = card_of(SCHEDULE_LINEAR);
    struct network network = mixture;
    card.classes = card.null_label = 3;
    network.null_shift = 0.25;
    for (double scale = 0; scale <= 4; scale += 1) {
        struct sampler sampler = sampler_of("ddim", NAN, 1);
        double x[ELEMENTS], alpha[2], sigma[2];
        linear_process(1, &alpha[0], &sigma[0]);
        linear_process(1e-3, &alpha[1], &sigma[1]);
        sampler.guidance.scale = scale;
        struct plan plan = compile(sampler, &card);
        assert_int_equal(plan.nfe, 1);
        assert_int_equal(plan.model_calls, scale == 1 ? 1 : 2);
        memcpy(x, start, sizeof x);
        interpret(&plan, &network, no_noise, x);
        for (int e = 0; e < ELEMENTS; e++) {
            double epsilon = true_epsilon(&network, start[e], alpha[0], sigma[0]) + (1 - scale) * network.null_shift;
            double expected = alpha[1] * (start[e] - sigma[0] * epsilon) / alpha[0] + sigma[1] * epsilon;
            assert_close(x[e], expected, 1e-11);
        }
        plan_release(&plan);
    }
}

/* One step of DDPM under guidance by a second model on the first channels, clipped, with learned variance: DiT's
 * forward_with_cfg and Karras et al. 2024's D_guide + scale (D - D_guide), whatever the two networks predict; the
 * variance is that of the model under the labels given. */
static void every_guidance_at_once(void **state) {
    static const enum prediction kinds[7] = {PREDICTION_EPSILON, PREDICTION_X0,     PREDICTION_V,     PREDICTION_SCORE,
                                             PREDICTION_EDM,     PREDICTION_EDM_VP, PREDICTION_EDM_VE};
    (void)state;
    const double t = 0.7, s = 0.5, scale = 2.5;
    double alpha[2], sigma[2], times[2] = {t, s};
    linear_process(t, &alpha[0], &sigma[0]);
    linear_process(s, &alpha[1], &sigma[1]);
    for (int which = 0; which < 7 * 7 * 2 * 3; which++) {
        struct network network = mixture,
                       other = {2,   {0.4, 0.6}, {-0.5, 0.6}, {0.4, 0.5}, linear_process, kinds[which / 7 % 7],
                                0.5, 0,          NULL};
        struct card card = card_of(SCHEDULE_LINEAR), guide = card;
        struct sampler sampler = sampler_of("ddpm", NAN, 0);
        int channels = which / 98;
        card.learned_variance = true;
        card.channels = guide.channels = ELEMENTS;
        card.classes = card.null_label = 3;
        network.guide = &other;
        network.null_shift = 0.3;
        card.prediction = network.prediction = kinds[which % 7];
        guide.prediction = other.prediction;
        bool autoguided = which / 49 % 2;
        if (autoguided) card.guide = &guide;
        guide.classes = guide.null_label = 3 * (which % 2);
        sampler.guidance = (struct guidance){.scale = scale,
                                             .interval = {0, INFINITY},
                                             .channels = channels,
                                             .eta = NAN,
                                             .norm_threshold = NAN,
                                             .momentum = NAN};
        sampler.grid = GRID_TIMES;
        sampler.times = times;
        sampler.times_count = 2;
        sampler.final = FINAL_NONE;
        sampler.clip.on = true;
        struct plan plan = compile(sampler, &card);
        double x[ELEMENTS], ratio = alpha[0] / alpha[1], beta = sigma[0] * sigma[0] - pow(ratio * sigma[1], 2);
        double posterior = beta * pow(sigma[1] / sigma[0], 2);
        for (size_t i = 0; i < plan.ops_count; i++)
            if (plan.ops[i].model) assert_int_equal(plan.ops[i].labels, which % 2 ? EVAL_GIVEN : EVAL_NONE);
        memcpy(x, start, sizeof x);
        interpret(&plan, &network, some_noise, x);
        for (int e = 0; e < ELEMENTS; e++) {
            double own = true_epsilon(&network, start[e], alpha[0], sigma[0]), guided;
            guided = autoguided ? true_epsilon(&other, start[e], alpha[0], sigma[0]) : own + network.null_shift;
            guided += scale * (own - guided);
            if (channels && e >= channels) guided = own;
            double x0 = fmin(fmax((start[e] - sigma[0] * guided) / alpha[0], -1), 1);
            /* the posterior's mean as Ho et al. 2020, eq. 7, write it: the coefficients of x0 and of x */
            double mean = (alpha[1] * beta * x0 + ratio * sigma[1] * sigma[1] * start[e]) / (sigma[0] * sigma[0]);
            double fraction = (1 + predicted_variance(t, EVAL_GIVEN, (size_t)e)) / 2;
            double expected = mean + exp(0.5 * (fraction * log(beta) + (1 - fraction) * log(posterior))) *
                                         some_noise(1, (size_t)e);
            assert_close(x[e], expected, 1e-10);
        }
        plan_release(&plan);
    }
}

static void clipping(void **state) {
    (void)state;
    struct network network = point_mass;
    struct card card = card_of(SCHEDULE_LINEAR);
    struct sampler sampler = sampler_of("ddim", NAN, 1);
    double x[ELEMENTS], alpha[2], sigma[2];
    network.mean[0] = 2.5; /* beyond the card's range: x0 becomes 1 */
    sampler.clip.on = true;
    linear_process(1, &alpha[0], &sigma[0]);
    linear_process(1e-3, &alpha[1], &sigma[1]);
    for (int p = PREDICTION_EPSILON; p <= PREDICTION_EDM; p++) {
        if (p == PREDICTION_VELOCITY) continue;
        network.prediction = card.prediction = (enum prediction)p;
        sampler.final = FINAL_NONE;
        struct plan plan = compile(sampler, &card);
        memcpy(x, start, sizeof x);
        interpret(&plan, &network, no_noise, x);
        for (int e = 0; e < ELEMENTS; e++)
            assert_close(x[e], alpha[1] + sigma[1] * (start[e] - alpha[0]) / sigma[0], 1e-12);
        plan_release(&plan);
        sampler.final = FINAL_ZERO;
        plan = compile(sampler, &card);
        memcpy(x, start, sizeof x);
        interpret(&plan, &network, no_noise, x);
        for (int e = 0; e < ELEMENTS; e++) assert_close(x[e], 1, 0);
        plan_release(&plan);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(predictions_agree),
        cmocka_unit_test(guidance_is_linear),
        cmocka_unit_test(every_guidance_at_once),
        cmocka_unit_test(clipping),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
