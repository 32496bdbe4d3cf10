#include "solver/registry.h"

#include <string.h>

static const struct solver *const solvers[] = {
    &solver_taylor, &solver_ito_taylor, &solver_ddim, &solver_ddpm, &solver_euler, &solver_euler_maruyama,
    &solver_heun,   &solver_rk4,        &solver_rk45,
};

const struct solver *solver_at(size_t i) {
    return i < sizeof solvers / sizeof *solvers ? solvers[i] : NULL;
}

const struct solver *solver_find(const char *name) {
    const struct solver *solver;
    for (size_t i = 0; (solver = solver_at(i)); i++)
        if (strcmp(solver->name, name) == 0) return solver;
    return NULL;
}

void plan_list(FILE *out) {
    const struct solver *solver;
    fprintf(out, "| solver | kind | order | NFE a step | options | source |\n|---|---|---|---|---|---|\n");
    for (size_t i = 0; (solver = solver_at(i)); i++) {
        char evaluations[16] = "adaptive";
        if (solver->evaluations) snprintf(evaluations, sizeof evaluations, "%d", solver->evaluations);
        fprintf(out, "| %s | %s | %s | %s | %s | %s |\n", solver->name, solver->kind, solver->orders, evaluations,
                solver->options_text, solver->source);
    }
}
