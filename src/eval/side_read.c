/* One side of a comparison out of a file. */
#include "eval/side_read.h"

#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "format/image_names.h"
#include "format/npz.h"

#include <string.h>
#include <sys/stat.h>

static void take_array(struct side_contents *contents, const struct npy *npy) {
    contents->images = npy->rank == 4;
    contents->floats = contents->images && npy->type != NPY_UINT8; /* images_open says of which type */
    contents->features = !contents->images;
}

int side_look(struct side_contents *contents, const char *path, struct error *err) {
    struct stat info;
    struct npz *npz;
    struct npy npy;
    bool there;
    *contents = (struct side_contents){0};
    if (file_look(path, &info, &there, err) != 0) return -1;
    if (there && S_ISDIR(info.st_mode)) {
        contents->images = contents->files = true;
        return 0;
    }
    if (text_ends_in(path, ".zip")) {
        struct error later; /* images_open says it better */
        contents->images = contents->files = true;
        if (npz_open(&npz, path, &later) != 0) return 0;
        contents->floats = npz_has(npz, "arr_0"); /* perhaps */
        contents->files = !contents->floats;
        npz_close(npz);
        return 0;
    }
    if (there && image_name_is_read(path))
        return error_set(err, CODE_DATA,
                         "%s: expected a set of images or features, found one picture: give the folder of the set",
                         path);
    if (!text_ends_in(path, ".npz")) {
        if (npy_look(&npy, path, err) != 0) return -1;
        take_array(contents, &npy);
        return 0;
    }
    if (npz_open(&npz, path, err) != 0) return -1;
    int rc = 0;
    contents->statistics = npz_has(npz, "mu");
    contents->spatial = npz_has(npz, "mu_s");
    contents->features = npz_has(npz, "features");
    if (npz_has(npz, "arr_0") && (rc = npz_header(npz, "arr_0", &npy, err)) == 0) {
        contents->doubtful = contents->features && npy.rank == 4;
        if (!contents->features) take_array(contents, &npy);
    }
    if (rc == 0 && !contents->statistics && !contents->features && !contents->images)
        rc = npz_missing(npz, "statistics (`mu`, `sigma`), features (`features` or `arr_0`) or samples (`arr_0`)", err);
    npz_close(npz);
    return rc;
}

int side_holds_images(bool *images, const char *path, struct error *err) {
    struct side_contents contents;
    if (side_look(&contents, path, err) != 0) return -1;
    *images = contents.images && !contents.statistics;
    return 0;
}

/* A file's own statistics beside its features, or images that went through a network: of as many features. Images may
 * be of use without them. */
static int read_statistics(struct side *side, enum feature_kind kind, const char *path, bool images, bool *taken,
                           struct error *err) {
    struct view *view = &side->views[kind];
    struct statistics own;
    if (statistics_read(&own, path, kind == FEATURES_SPATIAL ? "_s" : "", err) != 0) return -1;
    size_t made = view->features.rows ? view->features.dim : own.dim, found = own.dim;
    *taken = made == found;
    if (*taken) {
        view->own = view->features.rows != NULL;
        statistics_release(&view->statistics);
        view->statistics = own;
        return 0;
    }
    statistics_release(&own);
    if (!images)
        return error_set(err, CODE_DATA,
                         "%s: expected statistics of its own features, %zu a sample, found a mean of %zu", path, made,
                         found);
    if (!side->foreseen)
        log_warn("%s: its statistics are of %zu features, and its images have %zu by this network: of these alone",
                 path, found, made);
    return 0;
}

/* Of which network and images are statistics that stand beside features? */
static int check_origin(struct side *side, enum feature_kind kind, const char *path, struct error *err) {
    const struct statistics *own = &side->views[kind].statistics;
    if (side->network[0] && own->network[0] && strcmp(side->network, own->network) != 0)
        return error_set(err, CODE_DATA,
                         "%s: its statistics are of the feature network %.12s, and its images go through %.12s "
                         "(sha256): use the same one for both",
                         path, own->network, side->network);
    side->foreign |= !own->network[0] && side->network[0];
    if (!side->network[0]) memcpy(side->network, own->network, SHA256_HEX);
    if (own->shape[0]) memcpy(side->shape, own->shape, sizeof side->shape);
    return 0;
}

int side_read(struct side *sides, const char *path, const struct extraction *how, struct error *err) {
    struct side_contents contents;
    struct side *side = sides; /* of what is one network's */
    bool taken;
    size_t count = how ? how->count : 1;
    memset(sides, 0, count * sizeof *sides);
    if (side_look(&contents, path, err) != 0) return -1;
    int rc = 0;
    if (contents.images && contents.statistics && count > 1 && !how->foresee)
        log_warn("%s: its statistics are of one network, and there are %zu: its images are taken alone", path, count);
    if (contents.images && (count > 1 || (how && how->afresh))) contents.statistics = contents.spatial = false;
    if (count > 1 && !contents.images)
        return error_set(err, CODE_DATA,
                         "%s holds what one feature network made, and there are %zu: give images, a run, or a file for "
                         "each, NAME=FILE,NAME=FILE",
                         path, count);
    if (contents.doubtful && how)
        return error_set(err, CODE_DATA,
                         "%s holds images (`arr_0`) and features (`features`), and --features does not say which: give "
                         "a file of one of them",
                         path);
    if (contents.images && how) {
        rc = extract_images(sides, path, how, err);
    } else if (contents.images && !contents.statistics) {
        return error_set(
            err, CODE_DATA,
            "%s holds images: say --features NET, the feature network they go through, or --features none for their "
            "pixels",
            path);
    } else if (contents.features) {
        struct features features;
        struct features_origin origin;
        rc = features_read(&features, &origin, path, err);
        if (rc == 0 && (rc = side_take(side, FEATURES_POOL, &features, err)) != 0) error_prefix(err, "%s", path);
        memcpy(side->network, origin.network, SHA256_HEX);
        memcpy(side->shape, origin.shape, sizeof side->shape);
        memcpy(side->views[FEATURES_POOL].statistics.recipe, origin.recipe, RECIPE_SIZE);
        side->untyped = !contents.statistics && !contents.spatial;
    }
    if (rc == 0 && contents.statistics) {
        rc = read_statistics(side, FEATURES_POOL, path, contents.images, &taken, err);
        if (rc == 0 && taken) rc = check_origin(side, FEATURES_POOL, path, err);
    }
    if (rc == 0 && contents.spatial) {
        rc = read_statistics(side, FEATURES_SPATIAL, path, contents.images, &taken, err);
        if (rc == 0 && taken) rc = check_origin(side, FEATURES_SPATIAL, path, err);
    }
    for (size_t i = 0; rc != 0 && i < count; i++) side_release(&sides[i]);
    return rc;
}
