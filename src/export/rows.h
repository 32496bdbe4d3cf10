/* The samples of a run, or some of them, in the order asked for: read a window of shards at a time by all threads,
 * every shard verified as it is read. One thread calls these. */
#ifndef EXPORT_ROWS_H
#define EXPORT_ROWS_H

#include "base/error.h"
#include "format/npy.h"
#include "run/run.h"

#include <stddef.h>
#include <stdint.h>

enum row_form {
    ROW_STORED, /* as in the shard: uint8 [H,W,C], or float32 or float16 [C,H,W] */
    ROW_LATENT, /* what it was decoded of, as it is kept: float32 or float16 [C,H,W] */
    ROW_PIXELS, /* uint8 [H,W,C]; floats are rounded by the run's rule */
    ROW_PNG,    /* those pixels as a PNG file */
};

struct row {
    char *bytes;
    size_t size;
};

/* A sample as it is stored -> a form. A PNG's bytes are new; else row->bytes has room for row->size of them. */
int row_convert(const struct run *run, enum row_form form, const void *stored, struct row *row, struct error *err);

struct rows;

/* ids: the seeds asked for; NULL: all, in the order of the run. count: only the first so many of them; 0: all. A seed
 * that the run does not have is CODE_DATA; a shard that is needed and not on disk is CODE_AGAIN, and names the gap. run
 * and ids are borrowed. *rows new. */
int rows_open(struct rows **rows, const struct run *run, const struct seeds *ids, uint64_t count, enum row_form form,
              struct error *err);
void rows_close(struct rows *rows); /* accepts NULL */

uint64_t rows_count(const struct rows *rows);
uint64_t rows_seed(const struct rows *rows, uint64_t index);
/* Which row of the run's conditions a sample got; the run has some. */
uint64_t rows_condition(const struct rows *rows, uint64_t index);
const struct run *rows_run(const struct rows *rows);
/* All rows as one array (not of PNGs). */
struct npy rows_npy(const struct rows *rows);
/* [count], filled in as rows are read; NULL: the samples are of no class. */
const int64_t *rows_labels(const struct rows *rows);
/* Row `index`, and *count in all from there on, borrowed until the next call; their bytes are in one piece but for
 * PNGs. A shard that is not good is CODE_AGAIN. */
int rows_at(struct rows *rows, uint64_t index, const struct row **row, uint64_t *count, struct error *err);

#endif
