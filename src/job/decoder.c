/* Reads a decoder's card, and whether it fits its model and job. */
#include "job/decoder.h"

#include "base/text.h"
#include "config/keys.h"

#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH_USUAL = 8 };

static int read_channels(KEY_READ_ARGUMENTS) {
    size_t count;
    free(*(double **)member);
    return key_numbers(reader, path, value, key->expected, member, &count);
}

#define AT(member) offsetof(struct decoder, member)
static const struct key_kind CHANNELS = {read_channels, NULL};
static const char a_shape[] = "[channels, height, width], whole numbers of 1 or more";
static const struct key rows[] = {
    {"latent", &CARD_SHAPE, AT(latent.channels), .expected = a_shape, .required = true},
    {"image", &CARD_SHAPE, AT(image.channels), .expected = a_shape, .required = true},
    {"range", &CARD_RANGE, AT(image.low), .expected = "two numbers that go up, such as [-1, 1], or null"},
    {"scale", &KEY_NUMBER, AT(scale), .expected = "a number above 0", KEY_RANGE(DBL_MIN, DBL_MAX)},
    {"shift", &KEY_NUMBER, AT(shift), .expected = "a number", KEY_RANGE(-DBL_MAX, DBL_MAX)},
    {"mean", &CHANNELS, AT(mean), .expected = "a list of numbers, one a channel of the latent"},
    {"std", &CHANNELS, AT(std), .expected = "a list of numbers above 0, one a channel of the latent"},
    {"batch", &KEY_INT, AT(batch), .expected = "a whole number from 1 to 2147483647, or null", KEY_RANGE(1, INT_MAX),
     .nullable = true},
};
static const struct key_table decoder_keys = KEY_TABLE(rows);

/* What no single key can tell. */
static int decoder_check(const struct decoder *decoder, const struct key_reader *reader) {
    static const char *const lists[] = {"mean", "std"};
    const json_t *json = decoder->json;
    bool plain = json_object_get(json, "scale") || json_object_get(json, "shift");
    size_t channels = (size_t)decoder->latent.channels;
    if (plain && (decoder->mean || decoder->std))
        return key_error(reader, "mean", "expected scale and shift, or mean and std of each channel, found both");
    for (size_t i = 0; (decoder->mean || decoder->std) && i < sizeof lists / sizeof *lists; i++) {
        size_t count = json_array_size(json_object_get(json, lists[i]));
        if (count != channels)
            return key_error(reader, lists[i], "expected %zu numbers, one a channel of the latent, found %zu", channels,
                             count);
    }
    for (size_t c = 0; decoder->std && c < channels; c++)
        if (!(decoder->std[c] > 0))
            return key_error(reader, "std", "expected numbers above 0, found %g for channel %zu", decoder->std[c], c);
    return 0;
}

static int decoder_parse(struct decoder *decoder, const json_t *json, const char *where, struct error *err) {
    struct key_reader reader = {.where = where, .err = err};
    *decoder = (struct decoder){.scale = 1, .image = {.low = -1, .high = 1}};
    decoder->json = json_deep_copy(json);
    if (!json_equal(decoder->json, json)) return error_memory(err); /* members are left out when memory is short */
    return keys_read(&reader, &decoder_keys, "", json, decoder) == 0 ? decoder_check(decoder, &reader) : -1;
}

static int decoder_fits(const struct decoder *decoder, const struct card *card, const struct job *job,
                        struct error *err) {
    const struct sample_form *latent = &decoder->latent;
    if (latent->channels != card->channels || latent->height != card->height || latent->width != card->width)
        return error_set(err, CODE_DATA,
                         "it takes latents [%d,%d,%d], the model's samples are [%d,%d,%d]: choose the decoder that the "
                         "model was trained with",
                         latent->channels, latent->height, latent->width, card->channels, card->height, card->width);
    if (decoder->batch > 0 && job->decode.batch > 0 && job->decode.batch != decoder->batch)
        return error_set(err, CODE_DATA, "decode.batch: %d, but the file was exported for batches of %d",
                         job->decode.batch, decoder->batch);
    return 0;
}

int decoder_add(struct card *card, const struct job *job, const json_t *json, struct error *err) {
    const char *path = job->decode.path;
    json_t *read = NULL;
    if (!json && card_read_extra(&read, path, "decoder.json", err) != 0) return error_prefix(err, "decode.path");
    struct decoder *decoder = calloc(1, sizeof *decoder);
    char *where = text_new("%s: decoder.json", path);
    int rc = decoder && where ? decoder_parse(decoder, json ? json : read, where, err) : error_memory(err);
    if (rc == 0 && (rc = decoder_fits(decoder, card, job, err)) != 0) error_prefix(err, "decode: %s", path);
    free(where);
    json_decref(read);
    if (rc == 0) card->decoder = decoder;
    else decoder_free(decoder);
    return rc;
}

void decoder_free(struct decoder *decoder) {
    if (!decoder) return;
    free(decoder->mean);
    free(decoder->std);
    json_decref(decoder->json);
    free(decoder);
}

int decoder_batch(const struct decoder *decoder, const struct job *job) {
    if (job->decode.batch > 0) return job->decode.batch;
    if (decoder->batch > 0) return decoder->batch;
    return job->batch < BATCH_USUAL ? job->batch : BATCH_USUAL;
}
