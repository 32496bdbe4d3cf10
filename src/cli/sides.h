/* Sides of a comparison that a command line names: runs, images, features, statistics, through one network or several.
 * Not collective. */
#ifndef CLI_SIDES_H
#define CLI_SIDES_H

#include "base/error.h"
#include "cli/options.h"
#include "eval/extract.h"
#include "metric/score.h"

/* The feature networks: those of --features ("FILE", "none" or "NAME=FILE" each), else those that the run A, or B, was
 * evaluated with, where these are several; else none. Of several each has a name, and no two the same. *networks:
 * sides_networks_release, also after a failure. */
int sides_networks(struct named_paths *networks, const struct option_list *features, const char *a, const char *b,
                   struct error *err);
void sides_networks_release(struct named_paths *networks);
/* Options that were given, other than by default. */
struct sides_given {
    bool features, range, order, device, indices, validation, text, versus;
};
/* Has any of the operands (A, B, A2, V; NULL: not given) or metrics a use for each? CODE_USAGE: not. */
int sides_check(const char *const *operands, size_t count, const struct named_paths *networks, unsigned metrics,
                const struct sides_given *given, struct error *err);
/* An operand through the networks of `how` into sides [how->count], one where how is NULL: a run's own features where
 * they are of that network. Of several networks "NAME=FILE,NAME=FILE" gives each a file. *run: it is one, whose
 * samples' names are their seeds. count: the first so many; 0: all. how->foresee:
 * what would go through a network is only foreseen. After a failure the sides are empty. */
int sides_read(struct side *sides, bool *run, const char *operand, const struct extraction *how, uint64_t count,
               struct error *err);
/* Features of texts (.npy) for the network, or by "NAME=FILE" for each that has some; else a side stays empty. */
int sides_read_texts(struct side *sides, const char *operand, const struct named_paths *networks, struct error *err);
/* KID's subsets of a file int64 [subsets, 2, size]; path NULL: none. *file new: the indices are in it. */
int sides_indices(struct score_options *options, char **file, const char *path, struct error *err);

#endif
