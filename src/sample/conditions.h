/* What a diffusion network gets besides x, time and labels: a row of each of a job's files of conditions, and in its
 * place, for guidance, a row of nulls. Rows are read as they are needed, and nobody holds a whole file. Several threads
 * may read at a time. */
#ifndef SAMPLE_CONDITIONS_H
#define SAMPLE_CONDITIONS_H

#include "base/error.h"
#include "job/card.h"
#include "job/job.h"
#include "torch_shim.h"

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conditions;

/* Opens the files that the card's inputs are read from. One that is missing or too many, of another type or shape than
 * the card says, or of another number of rows than the others is CODE_DATA. *conditions new; NULL where the card has no
 * inputs. card: borrowed for its life. */
int conditions_open(struct conditions **conditions, const struct card *card, const struct job *job, struct error *err);
void conditions_close(struct conditions *conditions); /* accepts NULL */
uint64_t conditions_rows(const struct conditions *conditions);

/* The values of one batch: of each input [batch][its elements] in the card's type, C order. */
struct condition_values {
    void *values[INPUTS_MOST];
};
/* new; zeros. */
int condition_values_new(struct condition_values *made, const struct card *card, size_t batch, struct error *err);
/* The same values from a row on; borrowed, not to be released. */
struct condition_values condition_values_from(const struct condition_values *values, const struct card *card,
                                              size_t row);
void condition_values_release(struct condition_values *values);
/* The given row of each input, or the null that belongs to it, at a place in the batch. */
int conditions_read(const struct conditions *conditions, uint64_t row, bool null, struct condition_values *values,
                    size_t place, struct error *err);

/* What a network with this card is told at each call: the time and its form. Labels and inputs are the caller's. */
struct shim_condition condition_at(const struct card *card, double time);
bool conditions_nullable(const struct card *card); /* has it inputs, and each of them a null? */
/* As the shim takes them; they borrow the values. Returns their number. */
int condition_inputs(const struct card *card, const struct condition_values *values,
                     struct shim_input inputs[INPUTS_MOST]);

/* Opens them, so that mistakes in them and in the job's rows and captions show, and tells what they are, for the
 * fingerprint; *about NULL: the card has no inputs. {"count": of rows, "inputs": {NAME: {"sha256", "key", "null":
 * "zeros" or the same}}, "rows_sha256"}; new. Reads whole files whose digests are not remembered (base/digests.h). */
int conditions_look(json_t **about, const struct card *card, const struct job *job, struct error *err);
/* Adds the names of these files, which may be large, to a JSON object as its keys. */
int conditions_names(json_t *names, const struct card *card, const struct job *job, struct error *err);
/* CODE_DATA: they are not what was described so. */
int conditions_expect(const struct conditions *conditions, const struct job *job, const json_t *keys,
                      struct error *err);

#endif
