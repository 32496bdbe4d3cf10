#include "solver/registry.h"

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

void plan_list(FILE *out) {
    const struct solver *solver;
    fprintf(out, "| solver | kind | order | NFE a step | options | source |\n|---|---|---|---|---|---|\n");
    for (size_t i = 0; (solver = solver_at(i)); i++) {
        char evaluations[32] = "adaptive";
        int extra = solver->start_steps * solver->start_evaluations;
        if (extra) snprintf(evaluations, sizeof evaluations, "%d, and %d more", solver->evaluations, extra);
        else if (solver->evaluations) snprintf(evaluations, sizeof evaluations, "%d", solver->evaluations);
        fprintf(out, "| %s | %s | %s | %s | %s | %s |\n", solver->name, solver->kind, solver->orders, evaluations,
                solver->options_text, solver->source);
    }
}
