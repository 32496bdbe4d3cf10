/* The card of a decoder, which turns samples (latents) into pictures: the extra file `decoder.json` of its TorchScript
 * file. Keys and meanings: jobs/README.md. */
#ifndef JOB_DECODER_H
#define JOB_DECODER_H

#include "base/error.h"
#include "job/card.h"
#include "job/job.h"

#include <jansson.h>

struct decoder {
    struct sample_form latent, image; /* what it takes (whose range is not known) and gives */
    double scale, shift;              /* it is given z/scale + shift, or where there is a mean: */
    double *mean, *std;               /* z std[c] + mean[c] of channel c: [latent.channels] each, owned; or NULL */
    int batch;                        /* the one batch size the file was exported for; 0: any */
    json_t *json;                     /* the card as read; owned */
};

/* card->decoder (new) from json, or where that is NULL from the job's file. A decoder of samples that are not the
 * card's, or that can't run in batches of the job's decode.batch, is CODE_DATA. */
int decoder_add(struct card *card, const struct job *job, const json_t *json, struct error *err);
void decoder_free(struct decoder *decoder); /* accepts NULL */
/* The pictures of one call: the job's decode.batch; unset the file's own batch, or else 8, but no more than a batch has
 * samples. */
int decoder_batch(const struct decoder *decoder, const struct job *job);

#endif
