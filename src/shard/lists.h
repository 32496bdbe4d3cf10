/* Who gets which label, row of the conditions and scale of guidance, where files say so. */
#ifndef SHARD_LISTS_H
#define SHARD_LISTS_H

#include "base/error.h"
#include "job/job.h"
#include "shard/layout.h"

#include <stdint.h>

struct lists_of { /* a run; borrowed */
    const struct job *job;
    int64_t classes;
    uint64_t seeds, condition_rows;      /* of the job's whole list; of its conditions */
    const char *labels, *rows, *scales;  /* sha256 of the files; NULL: it has none */
    const char *dir, *samples, *latents; /* the fingerprints of its shards */
    const char *latents_of;              /* the folder of the latents that its pictures are decoded of; NULL: its own */
    const struct layout *layout;
};

struct lists {              /* NULL: no file says it. Owned */
    int64_t *labels, *rows; /* [seeds] */
    double *scales;         /* [condition_rows] */
};

/* Of the job's files, or, where one is gone or another than it was, of the shards, which say it of each of their
 * samples: so a whole run is read from its folder alone. CODE_IO, CODE_DATA: what is wrong with the file, and which
 * shard is not there to tell. */
int lists_read(struct lists *lists, const struct lists_of *of, struct error *err);
void lists_release(struct lists *lists);

#endif
