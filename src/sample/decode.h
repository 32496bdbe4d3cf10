/* From latents, which a solver ends with, to the pictures that a decoder makes of them (job/decoder.h): a few at a
 * time, so that nobody holds a whole batch of pictures as floats. A picture depends on its latent alone. */
#ifndef SAMPLE_DECODE_H
#define SAMPLE_DECODE_H

#include "base/error.h"
#include "job/decoder.h"
#include "torch_shim.h"

#include <stddef.h>
#include <stdint.h>

struct decoding; /* a worker's own: its buffers */

/* decoder, model: borrowed for its life. batch: pictures a call (decoder_batch). *decoding new. */
int decoding_new(struct decoding **decoding, const struct decoder *decoder, struct shim_model *model, int batch,
                 struct error *err);
void decoding_free(struct decoding *decoding); /* accepts NULL */

/* The pictures of z[rows][latent], as float32 whatever they are: take is handed images[count][image] of the rows from
 * `first` on, one call of the network after the other; the last call is filled up with the last row. seeds[rows] are
 * for messages. CODE_DATA: a latent or picture that is not finite, or a network that failed. */
int decoding_run(struct decoding *decoding, const double *z, size_t rows, const uint64_t *seeds,
                 int (*take)(void *context, size_t first, size_t count, const float *images, struct error *err),
                 void *context, struct error *err);

/* The decoder's proof (sample/proof.h), on unit normals as latents. path: for messages. In a thread after
 * shim_thread_start. */
int decoding_prove(const struct decoder *decoder, struct shim_model *model, const char *path, int batch,
                   double *difference, struct error *err);

#endif
