/* Proof, before the first sample, that a network is a function of its row: asked the same twice it says the same bits,
 * whatever stands in the other rows of the batch and in whichever row it is, and what it says is finite. */
#ifndef SAMPLE_PROOF_H
#define SAMPLE_PROOF_H

#include "base/error.h"
#include "job/job.h"
#include "solver/plan.h"
#include "torch_shim.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct proof {             /* of any network */
    const char *name;      /* begins every message: "model m.pt" */
    size_t batch, outputs; /* rows, and numbers a row */
    size_t times;          /* at which it is asked: one, or more of which the last must be finite alone */
    bool mixes; /* a row's output may depend on the other rows; else the message may propose the key that allows it: */
    const char *allow; /* ", or say ..."; "" */
    /* out[batch][outputs] of rows that are functions of their seeds alone. What is not finite is its error. */
    int (*call)(void *context, size_t time, const uint64_t *seeds, float *out, struct error *err);
    void *context;
};
/* Calls twice at a time, at the second with every other row moved to its neighbour's place and new ones in theirs, so
 * that each place is one of a row that is compared; a third time only to tell why they differ. *difference: that of a
 * row between two batches, of the largest output; 0: the same bits. One of 1e-5 or more is CODE_DATA, and so is any
 * where nothing was changed. */
int proof_rows(const struct proof *proof, double *difference, struct error *err);

struct conditions;
struct proof_model { /* a diffusion network, as a job calls it */
    const struct job *job;
    const struct plan *plan;
    const struct sampler *sampler; /* resolved */
    const struct card *card;
    struct shim_model *model;
    const struct conditions *conditions; /* of the card's inputs; NULL: it has none */
    int number;                          /* of the EVALs that call it: 1 guides */
};
/* proof_rows on unit normals at the plan's middle and first time, and finite at its last, with the first, the largest
 * and (where the plan asks for it) the null label among the rows: five calls, and one more at a time where bits differ.
 * Its batches have the rows of a call: twice the job's where guidance is batched. In a thread after shim_thread_start.
 */
int proof_of_model(const struct proof_model *of, double *difference, struct error *err);

#endif
