/* For tests of solvers: cards and samplers made by hand, a tiny interpreter of plans on doubles, and closed-form
 * networks. Nothing here uses the schedules or formulas of src/solver. */
#ifndef INTERPRET_H
#define INTERPRET_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/text.h"
#include "solver/plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define assert_close(a, b, tolerance) check_close((a), (b), (tolerance), __FILE__, __LINE__)
static inline void check_close(double a, double b, double tolerance, const char *file, int line) {
    if (fabs(a - b) <= tolerance) return;
    print_error("%.17g and %.17g differ by %.3g, more than %.3g\n", a, b, fabs(a - b), tolerance);
    _fail(file, line);
}

/* ---- cards and samplers ---- */

static inline struct card card_of(enum schedule_kind kind) {
    struct card card = {.channels = 1,
                        .height = 1,
                        .width = 1,
                        .low = -1,
                        .high = 1,
                        .sigma_data = 0.5,
                        .null_label = -1,
                        .time = {.kind = TIME_CONTINUOUS, .scale = 1, .integer = true}};
    bool discrete = kind >= SCHEDULE_DISCRETE_LINEAR && kind <= SCHEDULE_TABLE;
    card.schedule.kind = kind;
    card.schedule.s = 0.008;
    card.schedule.logsnr_end = -5;
    card.schedule.logsnr_start = 5;
    card.schedule.sigma_min = 0.002;
    card.schedule.sigma_max = 80;
    card.schedule.beta0 = discrete ? 1e-4 : 0.1;
    card.schedule.beta1 = discrete ? 0.02 : 20;
    card.schedule.steps = discrete ? 1000 : 0;
    if (discrete) card.time.kind = TIME_DISCRETE;
    if (discrete) card.time.steps = 1000;
    if (kind == SCHEDULE_EDM) card.time.kind = TIME_SIGMA;
    return card;
}

static inline struct sampler sampler_of(const char *solver, double order, int nfe) {
    struct sampler sampler = {
        .order = order,
        .nfe = nfe,
        .t_start = NAN,
        .t_end = NAN,
        .eta = NAN,
        .tau = NAN,
        .steps_offset = -1,
        .shift = NAN,
        .churn = {NAN, 0, INFINITY, 1},
        .guidance = {.scale = 1, .interval = {0, INFINITY}, .eta = NAN, .norm_threshold = NAN, .momentum = NAN},
        .clip = {.range = NAN, .threshold = NAN, .threshold_max = NAN},
        .rho = NAN,
        .rtol = NAN,
        .atol = NAN};
    strcpy(sampler.solver, solver);
    return sampler;
}

/* Resolves and compiles; 0, or -1 with *err. */
static inline int try_compile(struct plan *plan, struct sampler sampler, const struct card *card, struct text *warnings,
                              struct error *err) {
    struct sampler resolved;
    if (plan_resolve(&resolved, &sampler, card, err) != 0) return -1;
    int rc = plan_compile(plan, &resolved, card, warnings, err);
    sampler_release(&resolved);
    return rc;
}

static inline struct plan compile(struct sampler sampler, const struct card *card) {
    struct plan plan;
    struct error err;
    if (try_compile(&plan, sampler, card, NULL, &err) != 0) fail_msg("%s: %s", sampler.solver, err.message);
    return plan;
}

/* The only step of a plan whose network predicts epsilon: x' = x + epsilon + noise z. */
struct step {
    double x, epsilon, noise;
};
static inline struct step one_step(struct sampler sampler, const struct card *card, double t, double s) {
    double times[2] = {t, s};
    sampler.grid = GRID_TIMES;
    sampler.times = times;
    sampler.times_count = 2;
    sampler.final = FINAL_NONE;
    struct plan plan = compile(sampler, card);
    const struct op *last = &plan.ops[plan.ops_count - 1];
    struct step step = {0};
    assert_int_equal(plan.nfe, 1);
    assert_int_equal(last->kind, OP_LINCOMB);
    for (size_t i = 0; i < last->terms_count; i++)
        *(last->terms[i].source == 0   ? &step.x
          : last->terms[i].source == 1 ? &step.epsilon
                                       : &step.noise) = last->terms[i].coefficient;
    plan_release(&plan);
    return step;
}

/* ---- closed-form networks ---- */

/* Data: every element is from the same mixture of one-dimensional Gaussians. */
struct network {
    int components;
    double weight[3], mean[3], std[3];
    void (*process)(double time, double *alpha, double *sigma); /* of the number that the model gets */
    enum prediction prediction;
    double sigma_data;
    double null_shift;           /* added to epsilon for the null label */
    const struct network *guide; /* model 1 */
};

static inline double true_epsilon(const struct network *network, double x, double alpha, double sigma) {
    double sum = 0, slope = 0, largest = -INFINITY, log_weight[3];
    for (int k = 0; k < network->components; k++) {
        double variance = pow(alpha * network->std[k], 2) + sigma * sigma, miss = x - alpha * network->mean[k];
        log_weight[k] = log(network->weight[k]) - 0.5 * log(variance) - 0.5 * miss * miss / variance;
        largest = fmax(largest, log_weight[k]);
    }
    for (int k = 0; k < network->components; k++) {
        double variance = pow(alpha * network->std[k], 2) + sigma * sigma, p = exp(log_weight[k] - largest);
        sum += p;
        slope += p * (x - alpha * network->mean[k]) / variance;
    }
    return sigma * slope / sum;
}

static inline void flow_process(double t, double *alpha, double *sigma) {
    *alpha = 1 - t;
    *sigma = t;
}

static inline void gvp_process(double t, double *alpha, double *sigma) {
    *alpha = sin(M_PI / 2 * (1 - t));
    *sigma = sin(M_PI / 2 * t);
}

/* Of the whole mixture, which is all that is known of x0 where alpha is 0. */
static inline double mean_of_data(const struct network *network) {
    double sum = 0;
    for (int k = 0; k < network->components; k++) sum += network->weight[k] * network->mean[k];
    return sum;
}

/* The output for one element of the network's own input, by the definition of each kind of prediction. */
static inline double output(const struct network *network, double input, double time, enum eval_labels labels) {
    double alpha, sigma, x = input, shift = labels == EVAL_NULL ? network->null_shift : 0;
    network->process(time, &alpha, &sigma);
    double s = sigma / alpha, data = network->sigma_data, skip = 1, out = -s, in = 1;
    if (network->prediction == PREDICTION_EDM) {
        skip = data * data / (s * s + data * data);
        out = s * data / sqrt(s * s + data * data);
        in = 1 / sqrt(s * s + data * data);
    } else if (network->prediction == PREDICTION_EDM_VE) {
        out = s;
    } else if (network->prediction >= PREDICTION_EDM) {
        in = 1 / sqrt(s * s + 1);
    }
    if (network->prediction >= PREDICTION_EDM) x = alpha * input / in;
    double epsilon = true_epsilon(network, x, alpha, sigma) + shift;
    double x0 = alpha > 0 ? (x - sigma * epsilon) / alpha : mean_of_data(network);
    switch (network->prediction) {
        case PREDICTION_EPSILON: return epsilon;
        case PREDICTION_X0: return x0;
        case PREDICTION_V: {
            double norm = hypot(alpha, sigma);
            return (alpha * epsilon - sigma * x0) / norm;
        }
        case PREDICTION_SCORE: return -epsilon / sigma;
        case PREDICTION_VELOCITY:
            return network->process == flow_process ? epsilon - x0 : M_PI / 2 * (alpha * epsilon - sigma * x0);
        default: return (x0 - skip * x / alpha) / out;
    }
}

/* The variance channel of an element. */
static inline double predicted_variance(double time, enum eval_labels labels, size_t element) {
    return cos((double)element + time + 2 * (double)labels);
}

/* ---- the interpreter ---- */

enum { ELEMENTS = 5 };

static inline double no_noise(uint32_t stream, size_t element) {
    (void)stream, (void)element;
    return 0;
}

/* x[e] times phi std(like)/std(x) + 1 - phi, with N - 1. */
static inline double rescaled(const double *x, const double *like, double phi, size_t e) {
    double mean[2] = {0}, square[2] = {0};
    for (int i = 0; i < ELEMENTS; i++) {
        mean[0] += x[i] / ELEMENTS;
        mean[1] += like[i] / ELEMENTS;
    }
    for (int i = 0; i < ELEMENTS; i++) {
        square[0] += pow(x[i] - mean[0], 2) / (ELEMENTS - 1);
        square[1] += pow(like[i] - mean[1], 2) / (ELEMENTS - 1);
    }
    return x[e] * (phi * sqrt(square[1] / square[0]) + 1 - phi);
}

static inline double dot(const double *a, const double *b) {
    double sum = 0;
    for (int e = 0; e < ELEMENTS; e++) sum += a[e] * b[e];
    return sum;
}

/* Over ELEMENTS = 5 values: the quantile stands at 4q of the sorted ones. */
static inline double thresholded(const double *x, const struct op *op, size_t e) {
    double sorted[ELEMENTS + 1] = {[ELEMENTS] = INFINITY}, place = op->quantile * (ELEMENTS - 1);
    for (int i = 0; i < ELEMENTS; i++) {
        int k = i;
        for (; k > 0 && sorted[k - 1] > fabs(x[i]); k--) sorted[k] = sorted[k - 1];
        sorted[k] = fabs(x[i]);
    }
    int before = (int)place;
    double part = place - before,
           q = part > 0 ? (1 - part) * sorted[before] + part * sorted[before + 1] : sorted[before];
    double s = fmin(fmax(q, op->low), op->high);
    return fmin(fmax(x[e], -s), s) * op->low / s;
}

static inline void run_op(const struct op *op, const struct network *network, double (*noise)(uint32_t, size_t),
                          double (*r)[ELEMENTS]) {
    double result[ELEMENTS] = {0};
    const struct network *model = op->kind == OP_EVAL && op->model ? network->guide : network;
    for (size_t e = 0; e < ELEMENTS; e++) {
        switch (op->kind) {
            case OP_EVAL: result[e] = output(model, r[op->src][e], op->time, op->labels); break;
            case OP_LINCOMB: /* every element is a channel */
                if (op->channels[1] && (e < (size_t)op->channels[0] || e >= (size_t)op->channels[1])) {
                    result[e] = r[op->terms[0].source][e];
                    break;
                }
                for (size_t i = 0; i < op->terms_count; i++)
                    result[e] += op->terms[i].coefficient * r[op->terms[i].source][e];
                break;
            case OP_NOISE: result[e] = noise(op->stream, e); break;
            case OP_CLAMP: result[e] = fmin(fmax(r[op->dst][e], op->low), op->high); break;
            case OP_RESCALE: result[e] = rescaled(r[op->src], r[op->like], op->phi, e); break;
            case OP_MULEXP: result[e] = r[op->dst][e] * exp(op->a + op->b * r[op->src][e]); break;
            case OP_THRESHOLD: result[e] = thresholded(r[op->dst], op, e); break;
            case OP_PROJECT:
                result[e] = dot(r[op->src], r[op->like]) / dot(r[op->like], r[op->like]) * r[op->like][e];
                break;
            case OP_LIMIT: result[e] = r[op->dst][e] * fmin(1, op->high / sqrt(dot(r[op->dst], r[op->dst]))); break;
            case OP_GUIDE:
            case OP_KINDS: fail();
        }
    }
    memcpy(r[op->dst], result, sizeof result);
    for (size_t e = 0; op->kind == OP_EVAL && op->dst2 && e < ELEMENTS; e++)
        r[op->dst2][e] = predicted_variance(op->time, op->labels, e);
}

/* x: register 0 at the start and at the end. */
static inline void interpret(const struct plan *plan, const struct network *network, double (*noise)(uint32_t, size_t),
                             double x[ELEMENTS]) {
    double(*r)[ELEMENTS] = calloc((size_t)plan->registers, sizeof *r);
    assert_non_null(r);
    memcpy(r[0], x, sizeof r[0]);
    for (size_t i = 0; i < plan->ops_count; i++) run_op(&plan->ops[i], network, noise, r);
    memcpy(x, r[0], sizeof r[0]);
    free(r);
}

/* ---- processes, written down independently ---- */

static inline void linear_process(double t, double *alpha, double *sigma) {
    double integral = 0.1 * t + 19.9 * t * t / 2;
    *alpha = exp(-integral / 2);
    *sigma = sqrt(-expm1(-integral));
}

static inline void edm_process(double time, double *alpha, double *sigma) {
    *alpha = 1;
    *sigma = time;
}

/* DDPM's table: beta = linspace(1e-4, 0.02, 1000). */
static inline double ddpm_cumprod(int n) {
    static double table[1000];
    if (table[0] == 0)
        for (int i = 0; i < 1000; i++) table[i] = (i ? table[i - 1] : 1) * (1 - (1e-4 + (0.02 - 1e-4) * i / 999));
    return table[n];
}

static inline void ddpm_process(double n, double *alpha, double *sigma) {
    double cumprod = ddpm_cumprod((int)n);
    *alpha = sqrt(cumprod);
    *sigma = sqrt(1 - cumprod);
}

#endif
