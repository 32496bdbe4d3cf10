/* A solver that is a table of coefficients, {"times": [t0, ..., tN], "steps": [{"x": a, "epsilon": [b0, b1, ...]},
 * ...]} with "x0" or "velocity" in the place of "epsilon", the same one in all steps: from t_i to t_(i+1) x becomes a x
 * + b0 F_i + b1 F_(i-1) + ..., F_i the network at t_i as epsilon, x0 or velocity (dx/dt = alpha' x0 + sigma' epsilon, t
 * the schedule's time). Beside them may stand "name" and "source", for people, and "made", which may have the sha256 of
 * the model that it was made for, "model_sha256", and of its own numbers, "table_sha256", what it was fitted under,
 * "keys", by which "seeds", who made it, "by", and what it was "chosen_by" (solver/made.h). */
#ifndef JOB_MULTISTEP_H
#define JOB_MULTISTEP_H

#include "base/error.h"
#include "base/hash.h"

#include <jansson.h>
#include <stddef.h>

enum { MULTISTEP_MOST = 11 }; /* coefficients b of a step */
enum multistep_kind { MULTISTEP_EPSILON, MULTISTEP_X0, MULTISTEP_VELOCITY };
extern const char *const multistep_names[]; /* by the enum; end with NULL */

/* *table (new, in the place of the old one): `times` and `steps` of json, whose form and numbers are right, and of
 * its `made` what the program asks. */
int multistep_read(json_t **table, const json_t *json, struct error *err);
/* Of its numbers, however they are written. */
int multistep_digest(const json_t *table, char hex[SHA256_HEX], struct error *err);

/* Of a table that multistep_read made. */
size_t multistep_steps(const json_t *table);
double multistep_time(const json_t *table, size_t i); /* 0 to multistep_steps */
enum multistep_kind multistep_kind(const json_t *table);
/* *a and b[MULTISTEP_MOST] of a step; how many b there are: at most i + 1. */
size_t multistep_step(const json_t *table, size_t i, double *a, double *b);

#endif
