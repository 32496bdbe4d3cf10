/* Statistics of references that are images. */
#include "work/reference_images.h"

#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "cluster/agree.h"
#include "eval/side_read.h"
#include "format/images.h"
#include "metric/score.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef char file_name[SHA256_HEX]; /* without .npz; "": the reference is a file of its own; UNMADE */
static const char UNMADE[] = "-";

static char *path_of(const struct cells *cells, const file_name name) {
    return text_new("%s/references/%s.npz", cells_dir(cells), name);
}

/* Those that take anything of the reference. */
static unsigned reference_metrics(const struct run *run) {
    return run->job.evaluate.metrics & ~score_without_reference();
}

static int open_checked(struct images **images, const char *path, struct error *err) {
    if (images_open(images, path, IMAGES_NATURAL, err) != 0) return -1;
    if (images_count(*images) >= 2 && !images_floats(*images)) return 0;
    if (images_floats(*images))
        error_set(err, CODE_DATA,
                  "%s holds float32 numbers, which do not say what is black and what is white: make the reference of "
                  "them: qtaylor reference %s --features NET --range LOW,HIGH -o ref.npz",
                  path, path);
    else error_set(err, CODE_DATA, "%s: expected 2 images or more, found %zu", path, images_count(*images));
    images_close(*images);
    return -1;
}

/* Other sizes have another meaning, though some networks take any; pixels have none in common. */
static int compare_sizes(const struct images *images, const char *path, const struct run *run, size_t network,
                         bool warn, struct error *err) {
    const struct sample_form form = card_sample(&run->card);
    int height, width, channels;
    images_shape(images, &height, &width, &channels);
    bool same = height == form.height && width == form.width;
    if (run->evaluated[network].network.pixels && (!same || channels != form.channels))
        return error_set(err, CODE_DATA,
                         "%s: features: none: the images are [%d,%d,%d] (channels, height, width), the samples "
                         "[%d,%d,%d]: their pixels can only be compared with those of images of one shape",
                         path, channels, height, width, form.channels, form.height, form.width);
    if (!same && warn)
        log_warn("%s: the reference's images are of %d x %d pixels, the samples of %d x %d: the metrics also say how "
                 "sharp each looks to the network",
                 path, height, width, form.height, form.width);
    return 0;
}

int reference_images_check(const struct run *run, size_t network, const char *path, const char *key,
                           struct error *err) {
    struct images *images;
    if (open_checked(&images, path, err) != 0) return error_prefix(err, "evaluate.%s", key);
    int rc = compare_sizes(images, path, run, network, false, err);
    images_close(images);
    return rc == 0 ? 0 : error_prefix(err, "evaluate.%s", key);
}

static int name_of(file_name name, const struct run *run, size_t network, const char *path, struct error *err) {
    struct images *images;
    char digest[SHA256_HEX];
    if (open_checked(&images, path, err) != 0) return -1;
    int rc = compare_sizes(images, path, run, network, true, err);
    if (rc == 0) rc = images_digest(images, digest, err);
    images_close(images);
    char *text = text_new("%s %s%s%s", digest, run->evaluated[network].network.sha256,
                          reference_metrics(run) >> METRIC_SFID & 1 ? " spatial" : "",
                          run->job.evaluate.metrics & score_of_every_feature() ? " features" : "");
    if (rc == 0 && !text) rc = error_memory(err);
    if (rc == 0) sha256_bytes(text, strlen(text), name);
    free(text);
    return rc;
}

static int make(const char *path, const struct run *run, size_t network, const char *images, const struct place *place,
                struct error *err) {
    const struct named_path one = {.path = (char *)run->evaluated[network].path};
    const struct extraction how = {.networks = &one,
                                   .count = 1,
                                   .metrics = reference_metrics(run) | 1u << METRIC_FID,
                                   .device = place->device,
                                   .workers = place->workers};
    struct side side;
    char *folder = path_folder(path);
    int rc = folder ? side_read(&side, images, &how, err) : error_memory(err);
    if (rc == 0 && (rc = folder_make(folder, err)) != 0) side_release(&side);
    if (rc == 0) {
        const struct view *pool = &side.views[FEATURES_POOL], *spatial = &side.views[FEATURES_SPATIAL];
        struct statistics statistics = pool->statistics; /* borrowed */
        memcpy(statistics.network, side.network, SHA256_HEX);
        memcpy(statistics.shape, side.shape, sizeof side.shape);
        rc = statistics_write(&statistics, spatial->statistics.dim ? &spatial->statistics : NULL,
                              run->job.evaluate.metrics & score_of_every_feature() ? &pool->features : NULL, path, err);
        side_release(&side);
    }
    free(folder);
    return rc;
}

/* A file that a network of a cell is evaluated with. */
enum { FILES = EVALUATED_MOST * EVALUATED_FILES /* of a cell */ };
struct place_of {
    const struct run *run;
    size_t network;
    enum evaluated_file which;
    const char *path; /* NULL: there is none */
};

static struct place_of place_at(const struct cells *cells, size_t i) {
    struct place_of at = {&cells->cells[i / FILES].run, i % FILES / EVALUATED_FILES,
                          (enum evaluated_file)(i % EVALUATED_FILES), NULL};
    if (at.network < at.run->evaluated_count) at.path = at.run->evaluated[at.network].files[at.which].path;
    return at;
}

static bool alike(const struct place_of *a, const struct place_of *b) {
    return a->path && strcmp(a->path, b->path) == 0 &&
           strcmp(a->run->evaluated[a->network].network.sha256, b->run->evaluated[b->network].network.sha256) == 0 &&
           a->run->job.evaluate.metrics == b->run->job.evaluate.metrics;
}

/* Rank 0. */
static int find_or_make(file_name *names, const struct cells *cells, size_t i, const struct place *place, bool make_it,
                        struct error *err) {
    const struct place_of at = place_at(cells, i);
    bool images, there;
    if (!at.path || at.which == EVALUATED_TEXT) return 0;
    for (size_t k = 0; k < i; k++) {
        const struct place_of other = place_at(cells, k);
        if (!alike(&other, &at)) continue;
        memcpy(names[i], names[k], sizeof *names);
        return 0;
    }
    if (side_holds_images(&images, at.path, err) != 0)
        return error_prefix(err, "evaluate.%s", evaluated_file_names[at.which]);
    if (!images) return 0;
    int rc = name_of(names[i], at.run, at.network, at.path, err);
    char *path = rc == 0 ? path_of(cells, names[i]) : NULL;
    if (rc == 0) rc = path ? file_exists(path, &there, err) : error_memory(err);
    if (rc == 0 && !there && make_it) rc = make(path, at.run, at.network, at.path, place, err);
    else if (rc == 0 && !there) {
        log_warn("%s: of these images no features are on disk: a start makes them first, and reads all images then; "
                 "here one was read",
                 at.path);
        strcpy(names[i], UNMADE);
    }
    free(path);
    return rc == 0 ? 0 : error_prefix(err, "evaluate.%s", evaluated_file_names[at.which]);
}

int reference_images_agree(struct comm *comm, struct cells *cells, const struct place *place, bool make_them,
                           struct error *err) {
    size_t count = cells->count * FILES;
    file_name *names = calloc(count, sizeof *names);
    int rc = names ? 0 : error_memory(err);
    for (size_t i = 0; rc == 0 && comm_rank(comm) == 0 && i < count; i++)
        rc = find_or_make(names, cells, i, place, make_them, err);
    rc = ranks_agree(comm, rc, err);
    if (rc == 0) rc = comm_broadcast(comm, names, count * sizeof *names, 0, err);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        const struct place_of at = place_at(cells, i);
        struct run *run = &cells->cells[i / FILES].run;
        if (strcmp(names[i], UNMADE) == 0) run->reference_unmade = true;
        else if (names[i][0] && !(run->evaluated[at.network].files[at.which].made = path_of(cells, names[i])))
            rc = error_memory(err);
    }
    free(names);
    return ranks_agree(comm, rc, err);
}
