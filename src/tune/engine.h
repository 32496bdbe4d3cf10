/* What a tuning computes with: paths in blocks of the same size whatever there is of ranks and workers, one executor a
 * worker, and results that every rank gets. */
#ifndef TUNE_ENGINE_H
#define TUNE_ENGINE_H

#include "base/hash.h"
#include "sample/execute.h"
#include "solver/schedule.h"
#include "tune/tune.h"

enum { ENGINE_REGISTERS = 24 }; /* of a plan, at most */

struct engine {
    const struct tuning *asked;
    struct schedule *schedule;
    size_t elements, paths, block, blocks; /* block: paths in each but perhaps the last */
    struct plan program;                   /* what executors are made for: ENGINE_REGISTERS */
    struct executor **executors;           /* [asked->workers] */
    double **scratch;                      /* [asked->workers][block][elements] */
    uint64_t rows;                         /* the model's so far, on all ranks; also those that were spent earlier */
    char identity[SHA256_HEX];             /* of all that the paths follow from */
};

/* first: a plan of the model, and of the guiding one, which must live as long. *engine is to be given to engine_release
 * also on failure. */
int engine_new(struct engine *engine, const struct tuning *asked, const struct plan *first, struct error *err);
void engine_release(struct engine *engine);

/* One item of work, on the rank that `item` belongs to; called by worker threads, each item once. */
typedef int engine_work(void *context, struct executor *executor, double *scratch, size_t item, struct error *err);
/* Collective: all items. evaluations: model calls an item, for the count. */
int engine_each(struct engine *engine, size_t items, int evaluations, engine_work *work, void *context,
                struct error *err);
/* Collective: values [items][width], each item's filled on the rank it belongs to, on every rank. */
int engine_share(const struct engine *engine, double *values, size_t items, size_t width, struct error *err);

/* Of seeds first .. first + count - 1 of those asked, their labels and their rows. */
void engine_digest(const struct engine *engine, size_t first, size_t count, char hex[SHA256_HEX]);
/* What a piece of work is kept as: its kind and the data that it follows from besides the paths. */
void engine_key(const struct engine *engine, char key[SHA256_HEX], const char *kind, const void *data, size_t size);
/* Collective: values [count] on every rank, as an earlier tuning computed them, and their cost is counted; *found:
 * false where there are none. */
int engine_recall(struct engine *engine, const char *key, double *values, size_t count, bool *found, struct error *err);
/* Collective: what all ranks have; rows: what it cost (engine.rows). */
int engine_keep(const struct engine *engine, const char *key, const double *values, size_t count, uint64_t rows,
                struct error *err);

/* A whole plan over a batch: x[batch][elements]. */
int engine_run(struct executor *executor, const struct batch *batch, const struct plan *plan, double *x,
               struct error *err);
/* The batch of seeds first .. first + rows - 1 of those asked. */
struct batch engine_seeds(const struct engine *engine, size_t first, size_t rows);
/* The batch of a block, and where its paths start. */
struct batch engine_batch(const struct engine *engine, size_t block, size_t *first);

#endif
