/* A plan: the short program over numbered registers that a solver compiles to. Register 0 starts as unit normal noise
 * (stream 0) times initial_scale and holds the sample at the end. All sources of an op are read before dst is written;
 * LINCOMB sums from left to right. */
#ifndef SOLVER_PLAN_H
#define SOLVER_PLAN_H

#include "base/error.h"
#include "base/hash.h"
#include "job/card.h"
#include "job/sampler.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct text;

enum { PLAN_VERSION = 1 }; /* raised when a solver's numbers change: part of the fingerprint */

/* The table of ops: enum name, printed name. */
#define PLAN_OPS(X) \
    X(OP_EVAL, "EVAL") \
    X(OP_LINCOMB, "LINCOMB") \
    X(OP_NOISE, "NOISE") \
    X(OP_CLAMP, "CLAMP") \
    X(OP_RESCALE, "RESCALE") \
    X(OP_MULEXP, "MULEXP") \
    X(OP_THRESHOLD, "THRESHOLD") \
    X(OP_PROJECT, "PROJECT") \
    X(OP_LIMIT, "LIMIT") \
    X(OP_GUIDE, "GUIDE")
#define PLAN_OP_ENUM(symbol, name) symbol,
enum op_kind { PLAN_OPS(PLAN_OP_ENUM) OP_KINDS };
#undef PLAN_OP_ENUM

enum eval_labels { EVAL_GIVEN, EVAL_NULL, EVAL_NONE };

struct term {
    double coefficient;
    int source; /* register */
};

struct op {
    enum op_kind kind;
    int dst;
    int src;                 /* EVAL, RESCALE, MULEXP, PROJECT, GUIDE */
    double time;             /* EVAL: the number passed to the model as t */
    enum eval_labels labels; /* EVAL */
    int model;               /* EVAL: 0, or 1: the guiding one */
    int dst2;                /* EVAL: the model's variance channels; 0 (which is x): not wanted */
    struct term *terms;      /* LINCOMB: [terms_count], owned by the plan */
    size_t terms_count;
    int channels[2];  /* LINCOMB: acts on [first, beyond), the others are those of the first source (GUIDE: of src); {0,
                         0}: on all */
    uint32_t stream;  /* NOISE */
    double low, high; /* CLAMP; THRESHOLD: the least and most that the quantile counts as; LIMIT: high, the norm */
    int like;         /* RESCALE, PROJECT (onto), GUIDE (dst = w src + (1 - w) like, w the sample's own): a register */
    double quantile;  /* THRESHOLD */
    double phi;       /* RESCALE */
    double a, b;      /* MULEXP: dst exp(a + b src) */
};

struct plan_step { /* from t to s (towards data); the rest at t */
    double t, s, alpha, sigma, logsnr;
};

struct plan {
    char solver[32];
    int nfe;         /* model evaluation points; 0 for an adaptive solver, whose NFE is known a batch */
    int model_calls; /* EVAL ops: twice nfe under guidance */
    int registers;
    double initial_scale;
    struct plan_step *steps;
    size_t steps_count;
    struct op *ops;
    size_t ops_count;
    bool adaptive;     /* rk45: no ops; see solver/rk45.h */
    double rtol, atol; /* of an adaptive plan */
    int trained;       /* N of a model that takes integer timesteps n, at t = (n + 1)/N, for plan_print; else 0 */
    char made_for[SHA256_HEX]; /* of a plan that is a file: its made.model_sha256; "": it has none */
};

/* *resolved = *wanted with every unset key filled from the solver's and the schedule's defaults (steps from nfe too,
 * nfe the largest possible at or below the wanted). Solver and key combinations that make no sense are errors. Release
 * with sampler_release. */
int plan_resolve(struct sampler *resolved, const struct sampler *wanted, const struct card *card, struct error *err);
bool sampler_ends_in_step(const struct sampler *sampler); /* resolved: one of its steps goes to sigma 0 */

/* Compiles a resolved sampler. Warnings (steps beyond the radius of convergence) are written to `warnings` (one line
 * each, may be NULL); a negative cut variance is an error naming the step and the smallest number of steps that works.
 */
int plan_compile(struct plan *plan, const struct sampler *resolved, const struct card *card, struct text *warnings,
                 struct error *err);
void plan_release(struct plan *plan);

/* The promised format as JSON on one line (17 digits, null for infinity): new, or NULL. */
char *plan_text(const struct plan *plan);
json_t *plan_to_json(const struct plan *plan); /* the same as a value */
/* A plan as it is packed: its solver, nfe, model_calls and adaptive as they are, sha256 of its JSON, and all of that
 * compressed. New, or NULL. */
json_t *plan_pack(const struct plan *plan);
json_t *plan_pack_json(const json_t *json); /* JSON, or packed already */
/* Of the JSON as text, as it is packed. */
int plan_json_digest(const json_t *json, char sha256[SHA256_HEX], struct error *err);
/* CODE_DATA: the digest of a run document's plan is not the one beside it. One that is packed was looked at before, and
 * runs of 0.1 have none (NULL). where: the file. */
int plan_check_seal(const json_t *plan, const json_t *seal, const char *where, struct error *err);
bool plan_is_packed(const json_t *json);
int plan_unpack(char **text, const json_t *packed, struct error *err); /* the JSON's text: new */
/* *plan new. where: the file, for messages. Everything has its type and range, registers are there; what else a plan
 * must be is not looked at. */
int plan_from_json(struct plan *plan, const json_t *json, const char *where, struct error *err);
/* plan_resolve where sampler->plan is a file. */
int plan_file_resolve(struct sampler *sampler, struct error *err);
/* The plan in the file resolved->plan, as plan_compile has it of a solver: see plan_file.c for what is asked of it. */
int plan_file_read(struct plan *plan, const struct sampler *resolved, const struct card *card, struct text *warnings,
                   struct error *err);
/* Under guidance.batched: the EVAL behind ops[i] that is made in one call with it, the same model asked about the same
 * x without labels; borrowed. NULL: there is none, or guidance is not batched. */
const struct op *plan_twin(const struct plan *plan, const struct sampler *sampler, size_t i);
bool plan_has_twins(const struct plan *plan, const struct sampler *sampler);
/* Of what the samples depend on: registers, initial_scale and ops. */
int plan_digest(const struct plan *plan, char hex[SHA256_HEX], struct error *err);
extern const char *const plan_op_names[], *const plan_label_names[]; /* by the enums; end with NULL */
void plan_print(const struct plan *plan, FILE *out);                 /* for people */
void plan_list(FILE *out);                                           /* the table of solvers, from the registry */

#endif
