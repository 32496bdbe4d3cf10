/* One side of a comparison in memory. */
#include "eval/side.h"

int side_take(struct side *side, enum feature_kind kind, struct features *features, struct error *err) {
    struct view *view = &side->views[kind];
    struct moments moments;
    view->features = *features;
    *features = (struct features){0};
    if (kind == FEATURES_LOGITS) { /* nobody asks for their covariance */
        view->statistics = (struct statistics){.dim = view->features.dim, .count = view->features.count};
        return features_check(&view->features, err);
    }
    if (features_moments(&view->features, 0, view->features.count, &moments, err) != 0) return -1;
    int rc = statistics_from_moments(&view->statistics, &moments, err);
    moments_release(&moments);
    return rc;
}

int side_cut(struct side *side, size_t count, const char *path, struct error *err) {
    bool any = false;
    for (int kind = 0; kind < FEATURE_KINDS; kind++) {
        struct view *view = &side->views[kind];
        if (!view->features.rows) {
            statistics_release(&view->statistics); /* of all */
            continue;
        }
        if (view->features.count < count)
            return error_set(err, CODE_DATA, "--count: expected %zu samples or more in %s, found %zu", count, path,
                             view->features.count);
        struct features first = view->features;
        first.count = count;
        view->features = (struct features){0};
        statistics_release(&view->statistics);
        if (side_take(side, (enum feature_kind)kind, &first, err) != 0) return error_prefix(err, "%s", path);
        any = true;
    }
    if (any) return 0;
    return error_set(err, CODE_DATA, "--count: %s holds no features, only statistics of all its samples", path);
}

const struct view *side_view(const struct side *side, enum feature_kind kind) {
    return &side->views[side->untyped ? 0 : kind];
}

int side_factor(struct side *side, unsigned metrics, struct error *err) {
    int rc = 0;
    for (enum metric metric = METRIC_FID; rc == 0 && metric < METRIC_KINDS; metric++) {
        if (metric > METRIC_FID_INFINITY && metric != METRIC_FDR) continue;
        struct view *view = (struct view *)side_view(side, features_of_metric(metric));
        if (metrics >> metric & 1 && !view->factor.of) rc = frechet_prepare(&view->factor, &view->statistics, err);
    }
    return rc;
}

const char *side_recipe(const struct side *side) {
    const char *recipe = "";
    for (enum feature_kind kind = 0; kind < FEATURE_KINDS; kind++)
        if (side->views[kind].statistics.recipe[0]) recipe = side->views[kind].statistics.recipe;
    return recipe;
}

void side_release(struct side *side) {
    for (int kind = 0; kind < FEATURE_KINDS; kind++) {
        features_release(&side->views[kind].features);
        statistics_release(&side->views[kind].statistics);
        frechet_release(&side->views[kind].factor);
    }
    *side = (struct side){0};
}
