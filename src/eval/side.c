/* One side of a comparison in memory. */
#include "eval/side.h"

#include "base/log.h"

#include <stdlib.h>
#include <string.h>

int side_take(struct side *side, enum feature_kind kind, struct features *features, struct error *err) {
    struct view *view = &side->views[kind];
    struct moments moments;
    view->features = *features;
    *features = (struct features){0};
    if (side->foreseen || kind == FEATURES_LOGITS || view->features.count < 2) { /* nobody asks for these' covariance */
        view->statistics = (struct statistics){.dim = view->features.dim, .count = view->features.count};
        return side->foreseen ? 0 : features_check(&view->features, err);
    }
    if (features_moments(&view->features, 0, view->features.count, &moments, err) != 0) return -1;
    int rc = statistics_from_moments(&view->statistics, &moments, err);
    moments_release(&moments);
    return rc;
}

int side_cut(struct side *side, size_t count, const char *path, struct error *err) {
    bool any = false;
    if (side->names.count > count) side->names.count = count;
    if (side->pixels.count > count) side->pixels.count = count;
    for (int kind = 0; kind < FEATURE_KINDS; kind++) {
        struct view *view = &side->views[kind];
        if (!view->features.rows) {
            statistics_release(&view->statistics); /* of all */
            continue;
        }
        if (view->features.count < count)
            return error_set(err, CODE_DATA, "--count: expected %zu samples or more in %s, found %zu", count, path,
                             view->features.count);
        any = true;
        struct features first = view->features;
        char recipe[RECIPE_SIZE];
        first.count = count;
        memcpy(recipe, view->statistics.recipe, sizeof recipe);
        view->features = (struct features){0};
        view->own = side->foreign = false;
        statistics_release(&view->statistics);
        if (side_take(side, (enum feature_kind)kind, &first, err) != 0) return error_prefix(err, "%s", path);
        memcpy(view->statistics.recipe, recipe, sizeof recipe);
    }
    if (any) return 0;
    return error_set(err, CODE_DATA, "--count: %s holds no features, only statistics of all its samples", path);
}

/* Row i becomes what row places[i] was. */
static int reorder(struct features *features, const size_t *places, struct error *err) {
    size_t dim = features->dim;
    float *rows = malloc(features->count * dim * sizeof *rows);
    if (!rows) return error_memory(err);
    for (size_t i = 0; i < features->count; i++)
        memcpy(rows + i * dim, features->rows + places[i] * dim, dim * sizeof *rows);
    free(features->rows);
    features->rows = rows;
    return 0;
}

int side_say_first(const struct marks *one, const struct marks *other, int rc, struct error *err) {
    size_t least = one->count < other->count ? one->count : other->count;
    if (least == 0 || one->count == other->count || memcmp(one->list, other->list, least * sizeof *one->list) != 0)
        return rc;
    error_suffix(err, "; the first %zu of both are the same: say --count %zu", least, least);
    return rc;
}

static int pair_by(const size_t *places, size_t shared, const struct side *one, struct side *other,
                   const char *const paths[2], struct error *err) {
    size_t mine = one->names.count, theirs = other->names.count, twice[2];
    if (marks_repeated(&one->names, &twice[0], err) != 0 || marks_repeated(&other->names, &twice[1], err) != 0)
        return -1;
    if (shared < mine || mine != theirs || twice[0] || twice[1])
        return side_say_first(
            &one->names, &other->names,
            error_set(err, CODE_DATA,
                      "a paired difference needs the same samples on both sides: of the %zu names (or seeds) of %s "
                      "%zu are among the %zu of %s%s: leave the others out, or give arrays, which are paired by "
                      "position",
                      mine, paths[0], shared, theirs, paths[1],
                      twice[0] || twice[1] ? ", and some are there twice" : ""),
            err);
    for (enum feature_kind kind = 0; !other->foreseen && kind < FEATURE_KINDS; kind++) {
        struct features *features = &other->views[kind].features;
        if (features->rows && features->count == mine && reorder(features, places, err) != 0) return -1;
    }
    uint64_t *rows = other->text_rows ? malloc(mine * sizeof *rows) : NULL;
    if (other->text_rows && !rows) return error_memory(err);
    for (size_t i = 0; rows && i < mine; i++) rows[i] = other->text_rows[places[i]];
    free(other->text_rows);
    other->text_rows = rows;
    memcpy(other->names.list, one->names.list, mine * sizeof *one->names.list);
    return 0;
}

int side_pair(const struct side *one, struct side *other, const char *const paths[2], bool *by_name,
              struct error *err) {
    size_t shared = 0, count = one->names.count;
    *by_name = false;
    if (count == 0 || other->names.count == 0) return 0;
    if (marks_equal(&one->names, &other->names)) { /* of names that are there twice nobody knows which is which */
        if (marks_repeated(&one->names, &shared, err) != 0) return -1;
        *by_name = shared == 0;
        return 0;
    }
    size_t *places = malloc(count * sizeof *places);
    int rc = places ? marks_find(&one->names, &other->names, places, &shared, err) : error_memory(err);
    *by_name = rc == 0 && shared > 0;
    if (*by_name) rc = pair_by(places, shared, one, other, paths, err);
    free(places);
    return rc;
}

int side_warn_shared(const struct side *one, const struct side *other, const char *const paths[2], struct error *err) {
    size_t shared = 0, count = one->pixels.count;
    if (count == 0 || other->pixels.count == 0) return 0;
    size_t *places = malloc(count * sizeof *places);
    int rc = places ? marks_find(&one->pixels, &other->pixels, places, &shared, err) : error_memory(err);
    free(places);
    if (rc == 0 && shared > 0)
        log_warn(
            "%zu of the %zu images of %s are also in %s, pixel for pixel: the metrics take the two for independent",
            shared, count, paths[0], paths[1]);
    return rc;
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
    free(side->text_rows);
    marks_release(&side->names);
    marks_release(&side->pixels);
    *side = (struct side){0};
}
