#include "eval/side.h"

#include "base/files.h"
#include "base/text.h"
#include "eval/extract.h"
#include "format/npz.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

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
    moments_free(&moments);
    return rc;
}

const struct view *side_view(const struct side *side, enum feature_kind kind) {
    return &side->views[side->untyped ? 0 : kind];
}

int side_factor(struct side *side, unsigned metrics, struct error *err) {
    int rc = 0;
    for (enum metric metric = METRIC_FID; rc == 0 && metric <= METRIC_FID_INFINITY; metric++) {
        struct view *view = (struct view *)side_view(side, features_of_metric(metric));
        if (metrics >> metric & 1 && !view->factor.of) rc = frechet_prepare(&view->factor, &view->statistics, err);
    }
    return rc;
}

void side_free(struct side *side) {
    for (int kind = 0; kind < FEATURE_KINDS; kind++) {
        features_free(&side->views[kind].features);
        statistics_free(&side->views[kind].statistics);
        frechet_free(&side->views[kind].factor);
    }
    *side = (struct side){0};
}

static bool ends_in(const char *path, const char *extension) {
    size_t length = strlen(path), size = strlen(extension);
    return length > size && strcasecmp(path + length - size, extension) == 0;
}

struct contents {
    bool statistics, spatial, features, images;
};

static int look(struct contents *contents, const char *path, struct error *err) {
    struct stat info;
    struct npz *npz;
    struct npy npy;
    bool there;
    *contents = (struct contents){0};
    if (file_look(path, &info, &there, err) != 0) return -1;
    if (there && (S_ISDIR(info.st_mode) || ends_in(path, ".zip"))) {
        contents->images = true;
        return 0;
    }
    if (!ends_in(path, ".npz")) {
        if (npy_look(&npy, path, err) != 0) return -1;
        contents->images = npy.rank == 4;
        contents->features = !contents->images;
        return 0;
    }
    if (npz_open(&npz, path, err) != 0) return -1;
    int rc = 0;
    contents->statistics = npz_has(npz, "mu");
    contents->spatial = npz_has(npz, "mu_s");
    contents->features = npz_has(npz, "features");
    if (!contents->features && npz_has(npz, "arr_0") && (rc = npz_header(npz, "arr_0", &npy, err)) == 0) {
        contents->images = npy.rank == 4;
        contents->features = !contents->images;
    }
    if (rc == 0 && !contents->statistics && !contents->features && !contents->images)
        rc = npz_missing(npz, "statistics (`mu`, `sigma`), features (`features` or `arr_0`) or samples (`arr_0`)", err);
    npz_close(npz);
    return rc;
}

static int read_statistics(struct statistics *statistics, const char *path, const char *suffix, struct error *err) {
    statistics_free(statistics); /* those of the features beside */
    return statistics_read(statistics, path, suffix, err);
}

int side_read(struct side *side, const char *path, const struct extraction *how, struct error *err) {
    struct contents contents;
    *side = (struct side){0};
    if (look(&contents, path, err) != 0) return -1;
    int rc = 0;
    if (contents.images && how) {
        rc = extract_images(side, path, how, err);
    } else if (contents.images && !contents.statistics) {
        return error_set(err, CODE_DATA, "%s holds images: say --features NET, the feature network they go through, or "
                         "--features none for their pixels; for a job make its reference of them: qtaylor reference %s --features "
                         "NET -o ref.npz", path, path);
    } else if (contents.features) {
        struct features features;
        rc = features_read(&features, path, err);
        if (rc == 0 && (rc = side_take(side, FEATURES_POOL, &features, err)) != 0) error_prefix(err, "%s", path);
        side->untyped = !contents.statistics;
    }
    if (rc == 0 && contents.statistics) {
        rc = read_statistics(&side->views[FEATURES_POOL].statistics, path, "", err);
        if (rc == 0 && !side->network[0]) memcpy(side->network, side->views[FEATURES_POOL].statistics.network, SHA256_HEX);
    }
    if (rc == 0 && contents.spatial) rc = read_statistics(&side->views[FEATURES_SPATIAL].statistics, path, "_s", err);
    if (rc != 0) side_free(side);
    return rc;
}
