/* From latents to pictures, a few at a time. */
#include "sample/decode.h"

#include "base/text.h"
#include "sample/noise.h"
#include "sample/proof.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct decoding {
    const struct decoder *decoder;
    struct shim_model *model;
    size_t batch, from, to; /* rows a call; elements of a latent, of a picture */
    float *latents, *images;
};

int decoding_new(struct decoding **decoding, const struct decoder *decoder, struct shim_model *model, int batch,
                 struct error *err) {
    struct decoding *made = *decoding = calloc(1, sizeof *made);
    if (!made) return error_memory(err);
    *made = (struct decoding){.decoder = decoder,
                              .model = model,
                              .batch = (size_t)batch,
                              .from = sample_elements(&decoder->latent),
                              .to = sample_elements(&decoder->image)};
    made->latents = malloc(made->batch * made->from * sizeof *made->latents);
    made->images = malloc(made->batch * made->to * sizeof *made->images);
    if (made->latents && made->images) return 0;
    decoding_free(made);
    *decoding = NULL;
    return error_memory(err);
}

void decoding_free(struct decoding *decoding) {
    if (!decoding) return;
    free(decoding->latents);
    free(decoding->images);
    free(decoding);
}

/* What the network is given of a latent z: its values as they are stored, float32, on the scale that it was trained on.
 */
static void scale(const struct decoder *decoder, const double *z, float *out) {
    size_t pixels = (size_t)decoder->latent.height * (size_t)decoder->latent.width, i = 0;
    for (size_t c = 0; c < (size_t)decoder->latent.channels; c++)
        for (size_t end = i + pixels; i < end; i++) {
            double value = (float)z[i];
            out[i] = (float)(decoder->mean ? value * decoder->std[c] + decoder->mean[c]
                                           : value / decoder->scale + decoder->shift);
        }
}

static int check_finite(const float *values, size_t rows, size_t elements, const char *what, const uint64_t *seeds,
                        struct error *err) {
    for (size_t i = 0; i < rows * elements; i++)
        if (!isfinite(values[i]))
            return error_set(err, CODE_DATA, "%s of seed %" PRIu64 " is not finite: element %zu is %g", what,
                             seeds[i / elements], i % elements, values[i]);
    return 0;
}

static int call(struct decoding *decoding, struct error *err) {
    const struct sample_form *from = &decoding->decoder->latent, *to = &decoding->decoder->image;
    struct shim_shape latent = {(int)decoding->batch, from->channels, from->height, from->width};
    struct shim_shape image = {(int)decoding->batch, to->channels, to->height, to->width};
    char message[SHIM_ERROR];
    if (shim_decoder_run(decoding->model, decoding->latents, latent, image, decoding->images, message) == 0) return 0;
    return error_set(err, CODE_DATA, "decoder: %s", message);
}

int decoding_run(struct decoding *decoding, const double *z, size_t rows, const uint64_t *seeds,
                 int (*take)(void *context, size_t first, size_t count, const float *images, struct error *err),
                 void *context, struct error *err) {
    for (size_t first = 0; first < rows; first += decoding->batch) {
        size_t count = rows - first < decoding->batch ? rows - first : decoding->batch;
        for (size_t i = 0; i < decoding->batch; i++)
            scale(decoding->decoder, z + (first + (i < count ? i : count - 1)) * decoding->from,
                  decoding->latents + i * decoding->from);
        if (check_finite(decoding->latents, count, decoding->from, "the latent", seeds + first, err) != 0 ||
            call(decoding, err) != 0 ||
            check_finite(decoding->images, count, decoding->to, "the picture", seeds + first, err) != 0 ||
            take(context, first, count, decoding->images, err) != 0)
            return -1;
    }
    return 0;
}

/* ---- proof ---- */

struct question { /* proof.context */
    struct decoding *decoding;
    const char *name;
    double *normals; /* [batch][from] */
};

struct answer {
    float *out;
    size_t elements;
};

static int keep(void *context, size_t first, size_t count, const float *images, struct error *err) {
    const struct answer *answer = context;
    (void)err;
    memcpy(answer->out + first * answer->elements, images, count * answer->elements * sizeof *images);
    return 0;
}

static int ask(void *context, size_t time, const uint64_t *seeds, float *out, struct error *err) {
    const struct question *question = context;
    const struct decoding *decoding = question->decoding;
    struct answer answer = {out, decoding->to};
    (void)time; /* the only one */
    for (size_t row = 0; row < decoding->batch; row++)
        noise_normals(seeds[row], NOISE_STREAM_INITIAL, decoding->from, question->normals + row * decoding->from);
    if (decoding_run(question->decoding, question->normals, decoding->batch, seeds, keep, &answer, err) == 0) return 0;
    return error_prefix(err, "the first call of %s failed (does its decoder.json describe it?)", question->name);
}

int decoding_prove(const struct decoder *decoder, struct shim_model *model, const char *path, int batch,
                   double *difference, struct error *err) {
    struct question question = {0};
    char *name = text_new("the decoder %s", path);
    *difference = 0;
    int rc = name ? decoding_new(&question.decoding, decoder, model, batch, err) : error_memory(err);
    if (rc == 0) {
        const struct decoding *decoding = question.decoding;
        struct proof proof = {.name = name,
                              .batch = decoding->batch,
                              .outputs = decoding->to,
                              .times = 1,
                              .allow = "",
                              .call = ask,
                              .context = &question};
        question.name = name;
        question.normals = malloc(decoding->batch * decoding->from * sizeof *question.normals);
        rc = question.normals ? proof_rows(&proof, difference, err) : error_memory(err);
    }
    decoding_free(question.decoding);
    free(question.normals);
    free(name);
    return rc;
}
