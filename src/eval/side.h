/* One side of a comparison: features of every sample, or statistics alone, by kind of feature. */
#ifndef EVAL_SIDE_H
#define EVAL_SIDE_H

#include "base/error.h"
#include "base/hash.h"
#include "eval/features.h"
#include "eval/frechet.h"
#include "eval/marks.h"
#include "eval/statistics.h"

#include <stdbool.h>

struct view {
    struct features features;     /* rows NULL: none */
    struct statistics statistics; /* dim 0: none */
    bool own; /* the statistics are not of the features, but the file's own beside them: distances of Gaussians are
                 theirs */
    struct frechet factor; /* of the statistics, by side_factor; .of NULL: not made */
};

struct side {
    struct view views[FEATURE_KINDS];
    bool foreseen; /* is not made yet: its features have their count and dim, and no numbers */
    bool foreign;  /* its statistics are the file's own, which does not say of which network; not so its features */
    bool untyped;  /* features from a file, which does not say of what kind: views[0] stands for each */
    char network[SHA256_HEX]; /* that made the features; "": not known */
    char name[NETWORK_NAME];  /* that network's; "": not known */
    int64_t shape[3]; /* of the images, [C,H,W], whose pixels the features are (none); 0: not known, or no pixels */
    char sha256[SHA256_HEX]; /* of the file that was read; "": none, or not asked for */
    struct marks names;      /* of the files that the rows are of (image_names_mark), of a run of its seeds; or none */
    uint64_t *text_rows;     /* [samples] which text each sample has, of `texts`; NULL: the one in its own place */
    uint64_t texts;
    struct marks pixels; /* of the images that went through a network, at the first one's side; or none */
};

/* Takes the features over; they are freed on failure too. Of fewer than two samples there are no statistics. */
int side_take(struct side *side, enum feature_kind kind, struct features *features, struct error *err);
/* Keeps the features of the first `count` samples alone. CODE_DATA: there are fewer, or just statistics; path: what the
 * side was read from, for the message. */
int side_cut(struct side *side, size_t count, const char *path, struct error *err);
/* Puts `other`, names and text rows too, into the order of `one` by names that are the same set; *by_name: it is. Two
 * sides with names of which just some are in both, or there twice, are CODE_DATA. paths: of both, for messages. */
int side_pair(const struct side *one, struct side *other, const char *const paths[2], bool *by_name, struct error *err);
/* Behind an error of two sides that are not the same samples: says --count N where the one is the beginning of the
 * other. Returns rc. */
int side_say_first(const struct marks *one, const struct marks *other, int rc, struct error *err);
/* Says (log) how many images of `one` are also in `other`. */
int side_warn_shared(const struct side *one, const struct side *other, const char *const paths[2], struct error *err);
/* Factors what distances of Gaussians need of a reference, for many scores; it borrows from the side, which must stay
 * in its place from here on. */
int side_factor(struct side *side, unsigned metrics, struct error *err);
const struct view *side_view(const struct side *side, enum feature_kind kind);
/* How the images were prepared (images_recipe), borrowed; "": they do not say. */
const char *side_recipe(const struct side *side);
void side_release(struct side *side);

#endif
