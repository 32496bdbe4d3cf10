/* `sweep:` in a job file: products of lists of values of any of the job's keys. A sweep is a list of cells, each the
 * job file with overrides of its own; everything else about a cell is that of any other job. */
#ifndef JOB_SWEEP_H
#define JOB_SWEEP_H

#include "base/error.h"
#include "job/job.h"

#include <jansson.h>
#include <stddef.h>

struct sweep_cell {
    char *name;             /* "solver=heun,nfe=10": the keys' last words in the order of the file; a folder's name */
    json_t *values;         /* {"solver": "heun", "nfe": 10} */
    const char **overrides; /* [count]: the caller's, then the cell's own, output.dir last */
    size_t count;
};

struct sweep {
    char *dir; /* the job's output.dir, which holds the cells' folders */
    struct sweep_cell *cells;
    size_t count; /* 0: the job has no sweep */
    json_t *race; /* `race` as it is written (metric/sweep_race.h); NULL: there is none */
};

/* Reads the job file's sweep under the overrides. A cell that `skip` names or `only` does not is left out. Cells of one
 * name, a malformed sweep and one without cells are errors (CODE_DATA). */
int sweep_read(struct sweep *sweep, const struct job_file *file, const char *const *overrides, size_t count,
               struct error *err);
/* The cell of a number (from 0) or name; it belongs to the sweep. CODE_USAGE where there is none. */
int sweep_find(const struct sweep *sweep, const char *which, const struct sweep_cell **cell, struct error *err);
void sweep_release(struct sweep *sweep);

#endif
