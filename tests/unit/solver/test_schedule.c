/* Schedules against closed forms, values of mpmath (40 digits) and scipy's PchipInterpolator. */
#include "interpret.h"

#include "solver/schedule.h"

static struct schedule *schedule_of(const struct card *card) {
    struct schedule *schedule;
    struct error err;
    if (schedule_new(&schedule, card, &err) != 0) fail_msg("%s", err.message);
    return schedule;
}

static const enum schedule_kind continuous[] = {SCHEDULE_LINEAR, SCHEDULE_COSINE, SCHEDULE_LOG_LINEAR, SCHEDULE_EDM};
enum { CONTINUOUS = sizeof continuous / sizeof *continuous };

static void values_by_definition(void **state) {
    (void)state;
    for (double t = 1e-4; t <= 1; t *= 1.3) {
        double alpha, sigma;
        struct card card = card_of(SCHEDULE_LINEAR);
        struct schedule *schedule = schedule_of(&card);
        linear_process(t, &alpha, &sigma);
        assert_close(schedule_alpha(schedule, t), alpha, 1e-15);
        assert_close(schedule_sigma(schedule, t), sigma, 1e-15);
        schedule_free(schedule);

        card = card_of(SCHEDULE_COSINE);
        schedule = schedule_of(&card);
        alpha = cos(M_PI / 2 * (t + 0.008) / 1.008) / cos(M_PI / 2 * 0.008 / 1.008);
        assert_close(schedule_alpha(schedule, t), alpha, 1e-15);
        assert_close(schedule_sigma(schedule, t), sqrt(1 - alpha * alpha), 1e-10);
        schedule_free(schedule);

        card = card_of(SCHEDULE_LOG_LINEAR);
        schedule = schedule_of(&card);
        assert_close(schedule_logsnr(schedule, t), 5 - 10 * t, 1e-14);
        assert_close(pow(schedule_alpha(schedule, t), 2), 1 / (1 + exp(-2 * (5 - 10 * t))), 1e-15);
        schedule_free(schedule);

        card = card_of(SCHEDULE_EDM);
        schedule = schedule_of(&card);
        assert_close(schedule_alpha(schedule, t), 1, 0);
        assert_close(schedule_sigma(schedule, t), t, 0);
        schedule_free(schedule);
    }
}

/* logsnr is log(alpha/sigma), time its inverse, and variance-preserving schedules preserve variance. */
static void values_agree(void **state) {
    (void)state;
    for (int k = SCHEDULE_LINEAR; k <= SCHEDULE_EDM; k++) {
        if (k == SCHEDULE_TABLE) continue;
        struct card card = card_of((enum schedule_kind)k);
        struct schedule *schedule = schedule_of(&card);
        double least, most;
        schedule_range(schedule, &least, &most);
        for (double t = fmax(least, 1e-3); t < most; t *= 1.17) {
            double alpha = schedule_alpha(schedule, t), sigma = schedule_sigma(schedule, t);
            double logsnr = schedule_logsnr(schedule, t);
            assert_close(logsnr, log(alpha / sigma), 1e-12);
            assert_close(schedule_time(schedule, logsnr) / t, 1, 1e-11);
            if (k != SCHEDULE_EDM) assert_close(alpha * alpha + sigma * sigma, 1, 1e-15);
        }
        schedule_free(schedule);
    }
}

/* The series add up to the function itself inside their radius, and their coefficients grow like radius^-k. */
static void series_and_radius(void **state) {
    (void)state;
    enum { ORDER = 40, LARGE = 150 };
    for (int k = 0; k < CONTINUOUS; k++)
        for (enum clock_kind clock = CLOCK_T; clock <= CLOCK_LOGSNR; clock++)
            for (double t = 0.05; t < 1; t += 0.1) {
                struct card card = card_of(continuous[k]);
                struct schedule *schedule = schedule_of(&card);
                double alpha[LARGE + 1], sigma[LARGE + 1], radius = schedule_radius(schedule, clock, t), sum[2] = {0};
                struct error err;
                assert_int_equal(schedule_series(schedule, clock, t, ORDER, alpha, sigma, &err), 0);
                double h = 0.35 * fmin(radius, clock == CLOCK_T ? t : 3);
                double s = clock == CLOCK_T ? t - h : schedule_time(schedule, schedule_logsnr(schedule, t) + h);
                for (int n = ORDER; n >= 0; n--) {
                    sum[0] = sum[0] * h + alpha[n];
                    sum[1] = sum[1] * h + sigma[n];
                }
                assert_close(sum[0], schedule_alpha(schedule, s), 1e-13);
                assert_close(sum[1], schedule_sigma(schedule, s), 1e-13);
                if (!isinf(radius)) { /* two neighbours: with a complex pair of singularities one may be small */
                    assert_int_equal(schedule_series(schedule, clock, t, LARGE, alpha, sigma, &err), 0);
                    double largest = 0;
                    for (int n = LARGE - 9; n <= LARGE; n++) largest = fmax(largest, pow(fabs(sigma[n]), 1. / n));
                    assert_close(largest * radius, 1, 0.1);
                }
                schedule_free(schedule);
            }
}

static void known_radii(void **state) {
    (void)state;
    struct card card = card_of(SCHEDULE_LINEAR), edm = card_of(SCHEDULE_EDM);
    struct schedule *schedule = schedule_of(&card), *exploding = schedule_of(&edm);
    assert_close(schedule_radius(schedule, CLOCK_T, 0.05), 0.05, 1e-15); /* t itself */
    assert_close(schedule_radius(schedule, CLOCK_T, 1), 0.715, 0.001);   /* root of B = 2 pi i: 0.557 + 0.562 i */
    double t = schedule_time(schedule, -2);
    assert_close(schedule_radius(schedule, CLOCK_LOGSNR, t), sqrt(4 + M_PI * M_PI / 4), 1e-12);
    assert_true(isinf(schedule_radius(exploding, CLOCK_T, 3)) && isinf(schedule_radius(exploding, CLOCK_LOGSNR, 3)));
    schedule_free(schedule);
    schedule_free(exploding);
}

static void discrete_values(void **state) {
    (void)state;
    static const struct {
        enum schedule_kind kind;
        double beta0, beta1, logsnr[3]; /* steps 0, 499, 999 */
    } known[] = {
        {SCHEDULE_DISCRETE_LINEAR, 1e-4, 0.02, {4.60512018348792469, -1.23084935790523602, -5.05883659165051606}},
        {SCHEDULE_DISCRETE_SCALED_LINEAR,
         0.00085,
         0.012,
         {3.53471192351253652, -0.478025241355650222, -2.68202385014925049}},
        {SCHEDULE_DISCRETE_COSINE, 1e-4, 0.02, {5.04749440573103342, -0.0123134414057572723, -9.91794107581206945}},
    };
    static const int steps[3] = {0, 499, 999};
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        struct card card = card_of(known[k].kind);
        card.schedule.beta0 = known[k].beta0;
        card.schedule.beta1 = known[k].beta1;
        struct schedule *schedule = schedule_of(&card);
        assert_true(schedule_is_discrete(schedule) && schedule_steps(schedule) == 1000);
        for (int i = 0; i < 3; i++) {
            double t = (steps[i] + 1) / 1000.0;
            assert_close(schedule_logsnr(schedule, t), known[k].logsnr[i], 1e-12);
            assert_close(schedule_model_time(schedule, t), steps[i], 0);
        }
        double least, most;
        schedule_range(schedule, &least, &most);
        assert_true(least == 0.001 && most == 1 && schedule_default_t_end(schedule) == least);
        schedule_free(schedule);
    }
}

static void table_between_knots(void **state) {
    (void)state;
    double cumprod[6] = {0.99, 0.9, 0.7, 0.4, 0.1, 0.02}, alpha[3], sigma[3];
    static const double pchip[][3] = {
        /* t, scipy's PchipInterpolator(t, lambda) and its derivative */
        {0.16666666666666666, 2.2975599250672945, -8.7656386521691374},
        {0.20000000000000001, 2.0135073860613817, -8.2599316669948539},
        {0.29999999999999999, 1.2871059957455668, -6.1098579486046027},
        {0.45000000000000001, 0.61054364169825759, -3.6655043281092716},
        {0.59999999999999998, 0.061543814240430844, -3.6335481767423881},
        {0.77000000000000002, -0.74762552782024194, -5.6992741009145576},
        {0.94999999999999996, -1.6967792378887583, -5.0268293369262009},
        {1, -1.9459101490553132, -4.9380415396427537},
    };
    struct card card = card_of(SCHEDULE_TABLE);
    card.schedule.steps = card.time.steps = 6;
    card.schedule.alphas_cumprod = cumprod;
    card.time.integer = false;
    struct schedule *schedule = schedule_of(&card);
    struct error err;
    for (size_t i = 0; i < sizeof pchip / sizeof *pchip; i++) {
        double t = pchip[i][0], h = 1e-7;
        assert_close(schedule_logsnr(schedule, t), pchip[i][1], 1e-12);
        assert_close(schedule_time(schedule, pchip[i][1]), t, 1e-12);
        assert_close(schedule_model_time(schedule, t), 6 * t - 1, 1e-12);
        assert_int_equal(schedule_series(schedule, CLOCK_T, t, 1, alpha, sigma, &err), 0);
        double slope = 1 / sqrt(1 + exp(-2 * (pchip[i][1] - h * pchip[i][2]))) - 1 / sqrt(1 + exp(-2 * pchip[i][1]));
        assert_close(alpha[1], slope / h, 1e-5);
    }
    assert_close(schedule_time(schedule, -0.3), 0.6875245830533341, 1e-12); /* scipy's brentq on the same */
    assert_int_equal(schedule_series(schedule, CLOCK_T, 0.5, 2, alpha, sigma, &err), -1);
    assert_non_null(strstr(err.message, "logsnr"));
    assert_int_equal(schedule_series(schedule, CLOCK_LOGSNR, 0.5, 2, alpha, sigma, &err), 0);
    schedule_free(schedule);

    cumprod[3] = 0.7;
    assert_int_equal(schedule_new(&schedule, &card, &err), -1);
    assert_non_null(strstr(err.message, "step 3"));
    cumprod[3] = 0.4;
    cumprod[0] = 1;
    assert_int_equal(schedule_new(&schedule, &card, &err), -1);
}

static void model_times(void **state) {
    (void)state;
    struct card card = card_of(SCHEDULE_LINEAR);
    struct schedule *schedule = schedule_of(&card);
    double t = 0.37, alpha, sigma;
    linear_process(t, &alpha, &sigma);
    double s = sigma / alpha;
    card.time.scale = 999;
    assert_close(schedule_model_time(schedule, t), 999 * t, 1e-12);
    card.time.kind = TIME_SIGMA;
    assert_close(schedule_model_time(schedule, t), s, 1e-13);
    card.time.kind = TIME_LOG_SIGMA;
    assert_close(schedule_model_time(schedule, t), log(s), 1e-14);
    card.time.kind = TIME_C_NOISE;
    card.prediction = PREDICTION_EDM;
    assert_close(schedule_model_time(schedule, t), log(s) / 4, 1e-14);
    card.prediction = PREDICTION_EDM_VE;
    assert_close(schedule_model_time(schedule, t), log(s / 2), 1e-14);
    card.prediction = PREDICTION_EDM_VP; /* EDM's VP schedule is this one, so it is 999 t */
    assert_close(schedule_model_time(schedule, t), 999 * t, 1e-10);
    card.prediction = PREDICTION_EPSILON;
    card.time.kind = TIME_DISCRETE;
    card.time.steps = 1000;
    assert_true(schedule_has_integer_times(schedule) && schedule_steps(schedule) == 1000);
    assert_close(schedule_model_time(schedule, 0.3704), 369, 0);
    card.time.integer = false;
    assert_close(schedule_model_time(schedule, 0.3704), 369.4, 1e-10);
    schedule_free(schedule);

    struct error err;
    card = card_of(SCHEDULE_EDM);
    card.time.kind = TIME_DISCRETE;
    assert_int_equal(schedule_new(&schedule, &card, &err), -1);
    assert_non_null(strstr(err.message, "time.kind"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_by_definition), cmocka_unit_test(values_agree),
        cmocka_unit_test(series_and_radius),    cmocka_unit_test(known_radii),
        cmocka_unit_test(discrete_values),      cmocka_unit_test(table_between_knots),
        cmocka_unit_test(model_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
