/* Runs a plan for one batch: the small loop over ops. One executor a worker thread; it owns its registers. Registers
 * live in host memory when the model is on the CPU (one fused pass a LINCOMB) and on the device otherwise (through the
 * shim); both paths give the same numbers up to the device's arithmetic.
 *
 * A sample depends on its seed, its label, the plan and the model, and on no other row of its batch (rk45 excepted). */
#ifndef SAMPLE_EXECUTE_H
#define SAMPLE_EXECUTE_H

#include "base/error.h"
#include "job/job.h"
#include "solver/plan.h"
#include "torch_shim.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conditions;
struct executor;

struct executor_setup {
    const struct plan *plan;       /* borrowed for the executor's life, like all pointers here */
    const struct sampler *sampler; /* the resolved one */
    const struct card *card;
    struct shim_model *model;
    struct shim_model *guide;            /* described by card->guide; NULL: the plan has no EVAL of it */
    const struct conditions *conditions; /* of the card's inputs; NULL: it has none */
    int device;                          /* SHIM_CPU or a CUDA index */
    bool device_registers;               /* through the shim even on the CPU (tests); always so on CUDA */
    int batch;                           /* rows the model always sees */
    enum noise_kind noise;               /* of register 0; NOISE ops are Philox whatever it says */
    const volatile sig_atomic_t *stop;   /* non-zero: give up between two ops; may be NULL */
};

struct batch { /* a slice of the seed list; 1 <= rows <= setup.batch, the rest is filled with the last row */
    size_t rows;
    const uint64_t *seeds;          /* [rows] */
    const int64_t *labels;          /* [rows], or NULL: the model takes none */
    const uint64_t *condition_rows; /* [rows]: which row of the conditions each gets; NULL beside no conditions */
    const double *scales;           /* [rows]: of guidance, where each sample has its own (OP_GUIDE); else NULL */
    const float *initial;           /* [rows][C*H*W] start of register 0 (instead of noise * initial_scale), or NULL */
};

/* Allocates registers and runs the model once (warm-up, and proof that its output fits the card). To be called in the
 * worker's own thread after shim_thread_start. *executor new. */
int executor_new(struct executor **executor, const struct executor_setup *setup, struct error *err);
void executor_free(struct executor *executor); /* accepts NULL */

/* x[rows][C*H*W]: the samples. *nfe: model evaluation points spent. Errors: CODE_AGAIN when *stop was set; CODE_DATA
 * for a sample that is not finite (names the first one's seed), a label that could not be drawn or a model that failed.
 */
int executor_run(struct executor *executor, const struct batch *batch, double *x, int *nfe, struct error *err);

/* The same in its parts, for those who look at what is between: start puts the batch's start into register 0 and keeps
 * the pointer; ops runs any program that has no more registers than the executor's plan; set and get are of the batch's
 * rows, [rows][C*H*W]. */
int executor_start(struct executor *executor, const struct batch *batch, struct error *err);
int executor_ops(struct executor *executor, const struct plan *plan, struct error *err);
int executor_set(struct executor *executor, int dst, const double *x, struct error *err);
int executor_get(struct executor *executor, int src, double *x, struct error *err);

#endif
