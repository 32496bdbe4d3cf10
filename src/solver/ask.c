/* The network asked for epsilon at a place of the caller's choice. */
#include "solver/ask.h"

#include "solver/builder.h"

int ask_compile(struct plan *plan, const struct schedule *schedule, const struct sampler *resolved,
                const struct card *card, double t, int x, struct error *err) {
    *plan = (struct plan){.registers = x + 2};
    struct builder builder = {
        .plan = plan, .schedule = schedule, .sampler = resolved, .card = card, .scratch = -1, .unguided = -1};
    struct point point = builder_evaluate(&builder, x, t, x + 1);
    builder_keep(&builder, x + 1, &point.epsilon);
    if (builder_finish(&builder, err) == 0) return 0;
    plan_release(plan);
    return -1;
}
