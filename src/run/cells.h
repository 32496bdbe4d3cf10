/* The runs that are worked on together: the cells of a sweep, or a plain job as a list of one. Rank 0 makes the list,
 * as one JSON value; every rank gets the same text and opens it.
 *   {"dir": where log/ and progress.json go, "sweep": true | false, "race": {"metric", "confidence", and where its
 *    cells differ in them "model_calls": [least, most]} where it is one,
 *    "job": {"path", "directory": where it was started, "overrides", "text": the file} of a sweep,
 *    "cells": [{"name", "values": {the sweep's keys}, "same_as": index, "dir", "document", "shared"}, ...]
 *    "values": [...] of a sweep: what documents have alike (a plan, a card) once; "shared": {the document's key: index
 * in it}} Cells that mean the same samples are computed once: the later ones have no document, and same_as names the
 * first. */
#ifndef RUN_CELLS_H
#define RUN_CELLS_H

#include "base/error.h"
#include "run/run.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct conditions;

struct shard_status {
    /* enum shard_state; bytes, of which a maximum over ranks is taken. */
    unsigned char latents, samples, features[FEATURE_FILES];
    struct shard_info samples_info;
};

struct cell { /* one run */
    struct run run;
    size_t number;                    /* in the list */
    const char *name;                 /* in the sweep, borrowed; NULL: a plain job */
    char *tag;                        /* of its log lines: "\"cell\": \"nfe=5\", "; "" for a plain job */
    uint64_t first;                   /* its first shard, counted over all cells */
    struct shard_status *status;      /* [shards] */
    uint64_t count;                   /* evaluated, where its job has another (cell_metrics); 0: as its job says */
    uint64_t missing;                 /* samples that are not on disk yet */
    bool solves;                      /* some shard needs the solver (scan_solves) */
    bool afresh;                      /* made again, whatever is on disk */
    bool rounds;                      /* it gets its samples in rounds (work/pace.h); in one of them: */
    bool round;                       /* run.layout has its first samples, and its conclusion decides what follows */
    bool idle;                        /* nothing is made or concluded of it */
    uint64_t made;                    /* samples that this job made in the rounds before it */
    unsigned proved;                  /* which of its networks (work/proof.c), as bits */
    struct shim_model *model, *guide; /* borrowed; NULL: not needed. guide: of sampler.guidance.model */
    struct shim_model *decoder;       /* the same of decode */
    struct conditions *conditions;    /* of the card's inputs, borrowed; NULL: there are none, or they are not needed */
    const float *initial;             /* [seeds][C*H*W] of job.initial, borrowed; or NULL */
    /* Rank 0, while and after they are worked on: */
    bool any;          /* a shard was made */
    uint64_t made_now; /* samples, in this round */
    uint64_t lost;     /* shards that failed twice */
    bool concluded;    /* all read back and evaluated, with this outcome: */
    enum code code;
    json_t *quarantine; /* shards left out, as in quarantine.json; NULL: none */
};

struct cells {
    const json_t *list; /* borrowed */
    struct cell *cells; /* [count]: those with samples of their own, the dearest first */
    size_t count;
    uint64_t shards;             /* of all */
    struct shard_status *status; /* [shards] */
};

/* *list new. Every cell's plan is made before any sample, so that a mistake in the last one shows now. cores: of this
 * rank, where the job leaves batch or workers to be measured (automatic.h). */
int cells_list(json_t **list, const char *job_path, const char *const *overrides, size_t overrides_count, int cores,
               struct error *err);
/* A list of one cell of a sweep, by its number or name, as a plain job: it shares nothing with the others. *list new.
 */
int cells_list_cell(json_t **list, const char *job_path, const char *const *overrides, size_t overrides_count,
                    const char *which, int cores, struct error *err);
/* A list of the one run in a directory. *list new. */
int cells_list_run(json_t **list, const char *dir, struct error *err);
/* The same latents under another decoder, in the folder `output` (redecode.h). *list new. */
int cells_list_redecoded(json_t **list, const char *dir, const struct other_decoder *decoder, const char *output,
                         struct error *err);

/* evaluate: whether their evaluate blocks count; count: of the samples evaluated, 0: as they say. */
int cells_open(struct cells *cells, const json_t *list, bool evaluate, uint64_t count, struct error *err);
void cells_close(struct cells *cells);

bool cells_sweep(const struct cells *cells);         /* else it is a plain job's one cell */
const json_t *cells_race(const struct cells *cells); /* its metric and confidence; borrowed. NULL: it is none */
const char *cells_dir(const struct cells *cells);    /* borrowed */
/* DIR/metrics.json; of another count than its job's DIR/metrics-COUNT.json. New; NULL: out of memory. */
char *cell_metrics(const struct cell *cell);
double cell_calls(const struct cell *cell);                   /* model calls a sample; a guess for an adaptive solver */
size_t cells_find(const struct cells *cells, uint64_t shard); /* whose shard it is, counted over all cells */

/* DIR/sweep.json, where it is a sweep: {"format", "job", "cells": [{"cell", its keys' "values", "same_as": name or
 * null}]}, by which the folder is known as one. Cells that another job listed there stay, if they are finished or a job
 * is at work. */
int cells_write(const struct cells *cells, struct error *err);
/* The names of the cells of a sweep's folder that have samples of their own, in its order: *names is a new array, or
 * NULL when dir is not one. */
int cells_read(json_t **names, const char *dir, struct error *err);

/* DIR/race.json, see work/pace.h. *race new; NULL: there is none. */
int cells_race_read(json_t **race, const char *dir, struct error *err);
/* Is DIR/race.json of the same race, of as many samples? */
int cells_race_same(const struct cells *cells, bool *same, struct error *err);
int cells_race_write(const struct cells *cells, const json_t *race, struct error *err);

/* Rank 0: what the concluded cells amount to. For a plain job what metrics.json holds; for a sweep what
 * DIR/results.json does, one row a cell in the order of the list and behind them those that other jobs made, and both
 * results files are written. *results new. */
int cells_results(const struct cells *cells, json_t **results, struct error *err);

#endif
