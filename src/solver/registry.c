/* The table of solvers. */
#include "solver/registry.h"

#include <math.h>
#include <string.h>

#define SOLVER_ADDRESS(name) &solver_##name,
static const struct solver *const solvers[] = {SOLVERS(SOLVER_ADDRESS)};

const struct solver *solver_at(size_t i) {
    return i < sizeof solvers / sizeof *solvers ? solvers[i] : NULL;
}

const struct solver *solver_find(const char *name) {
    const struct solver *solver;
    for (size_t i = 0; (solver = solver_at(i)); i++)
        if (strcmp(solver->name, name) == 0) return solver;
    return NULL;
}

bool solver_starts_over(const struct solver *solver, const struct sampler *sampler) {
    return !solver->leaves_noise || (solver->options & SOLVER_CLOCK && sampler->clock != CLOCK_T);
}

double new_noise_all(const struct sampler *sampler) {
    (void)sampler;
    return 1;
}

double new_noise_none(const struct sampler *sampler) {
    (void)sampler;
    return NAN;
}

bool solver_takes_order(const struct solver *solver, double order) {
    if (solver->order_most == 0) return order == solver->default_order;
    if (order == trunc(order) && order >= solver->order_least && order <= solver->order_most) return true;
    return order != 0 && (order == solver->order_others[0] || order == solver->order_others[1]);
}

static void print_options(unsigned options, FILE *out) {
#define SOLVER_OPTION_NAME(symbol, name) name,
    static const char *const names[] = {SOLVER_OPTIONS(SOLVER_OPTION_NAME)};
    const char *separator = "";
    for (int i = 0; i < SOLVER_OPTIONS_COUNT; i++) {
        if (!(options >> i & 1)) continue;
        fprintf(out, "%s%s", separator, names[i]);
        separator = ", ";
    }
}

void plan_list(FILE *out) {
    const struct solver *solver;
    fprintf(out, "| solver | kind | order | NFE a step | options | source |\n|---|---|---|---|---|---|\n");
    for (size_t i = 0; (solver = solver_at(i)); i++) {
        char evaluations[32] = "adaptive";
        int extra = solver->start_steps * solver->start_evaluations;
        if (extra) snprintf(evaluations, sizeof evaluations, "%d, and %d more", solver->evaluations, extra);
        else if (solver->evaluations) snprintf(evaluations, sizeof evaluations, "%d", solver->evaluations);
        fprintf(out, "| %s | %s | %s | %s | ", solver->name, solver->kind, solver->orders, evaluations);
        print_options(solver->options, out);
        fprintf(out, " | %s |\n", solver->source);
    }
}
