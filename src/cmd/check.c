/* check: whether a network's output is what its card says, tried on real images. */
#include "base/log.h"
#include "base/print.h"
#include "base/text.h"
#include "cli/command.h"
#include "diagnose/readings.h"
#include "format/images.h"
#include "format/npy.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IMAGES = 64 };
/* So many times the best reading's error: the card's is not it. Of one network only a constant factor near 1, such as
 * velocity and v of gvp, comes nearer. */
static const double CLEARLY = 1.1;

struct check_options {
    const char *model, *images;
    struct option_list set;
    uint64_t count;
    int device; /* enum device_kind */
    bool json;
};

/* ---- images ---- */

static int too_few(size_t found, const char *path, struct error *err) {
    return found >= 2 ? 0 : error_set(err, CODE_DATA, "%s: expected two images or more, found %zu", path, found);
}

/* Pixels of 0 to 255 to the card's range, [count][C][H][W]. */
static void spread_pixels(float *x, const uint8_t *pixels, size_t count, const struct card *card) {
    size_t plane = (size_t)card->height * (size_t)card->width, channels = (size_t)card->channels;
    for (size_t i = 0; i < count; i++)
        for (size_t c = 0; c < channels; c++)
            for (size_t p = 0; p < plane; p++)
                x[(i * channels + c) * plane + p] = (float)(card->low + (card->high - card->low) *
                                                                            pixels[(i * plane + p) * channels + c] /
                                                                            255);
}

static int read_pixels(float **x, size_t *count, const char *path, const struct card *card, uint64_t wanted,
                       struct error *err) {
    struct images *images;
    int height, width, channels;
    if (images_open(&images, path, IMAGES_NATURAL, err) != 0) return -1;
    images_shape(images, &height, &width, &channels);
    *count = images_count(images) < wanted ? images_count(images) : (size_t)wanted;
    int rc = too_few(images_count(images), path, err);
    if (rc == 0 && (height != card->height || width != card->width || channels != card->channels))
        rc = error_set(err, CODE_DATA, "%s: expected images of the card's shape [%d, %d, %d], found [%d, %d, %d]", path,
                       card->channels, card->height, card->width, channels, height, width);
    if (rc == 0 && images_floats(images))
        rc = error_set(err, CODE_DATA,
                       "%s: expected pixels |u1 [N,H,W,C], found <f4: give float32 images as a .npy file", path);
    size_t numbers = *count * card_elements(card);
    uint8_t *pixels = rc == 0 ? malloc(numbers) : NULL;
    if (rc == 0 && (!pixels || !(*x = malloc(numbers * sizeof **x)))) rc = error_memory(err);
    if (rc == 0) rc = images_read(images, *count, pixels, err);
    if (rc == 0) spread_pixels(*x, pixels, *count, card);
    free(pixels);
    images_close(images);
    return rc;
}

/* float32 [N,C,H,W], taken as it is. */
static int read_floats(float **x, size_t *count, const char *path, const struct card *card, uint64_t wanted,
                       struct error *err) {
    const size_t shape[] = {(size_t)card->channels, (size_t)card->height, (size_t)card->width};
    struct npy npy;
    char *data, found[NPY_TEXT];
    size_t offset;
    if (npy_read(&npy, &data, &offset, path, err) != 0) return -1;
    npy_text(&npy, found);
    int rc = memcmp(npy.shape + 1, shape, sizeof shape) == 0
                 ? too_few(npy.shape[0], path, err)
                 : error_set(err, CODE_DATA, "%s: expected [N,%d,%d,%d], found %s", path, card->channels, card->height,
                             card->width, found);
    *count = npy.shape[0] < wanted ? npy.shape[0] : (size_t)wanted;
    size_t numbers = *count * card_elements(card);
    if (rc == 0 && !(*x = malloc(numbers * sizeof **x))) rc = error_memory(err);
    if (rc == 0) memcpy(*x, data + offset, numbers * sizeof **x);
    for (size_t i = 0; rc == 0 && i < numbers; i++)
        if (!isfinite((*x)[i]))
            rc = error_set(err, CODE_DATA, "%s: image %zu is not finite", path, i / card_elements(card));
    free(data);
    return rc;
}

/* *x (new; NULL on failure): the first `wanted` of them, or all. */
static int read_images(float **x, size_t *count, const char *path, const struct card *card, uint64_t wanted,
                       struct error *err) {
    struct npy npy = {.type = NPY_UINT8};
    *x = NULL;
    if (text_ends_in(path, ".npy") && npy_look(&npy, path, err) != 0) return -1;
    bool floats = npy.type == NPY_FLOAT32 && npy.rank == 4;
    int rc = (floats ? read_floats : read_pixels)(x, count, path, card, wanted, err);
    if (rc == 0) return 0;
    free(*x);
    *x = NULL;
    return -1;
}

/* ---- what was found ---- */

/* "velocity, noise at 0"; new. */
static char *name_of(const json_t *reading) {
    const char *prediction = json_string_value(json_object_get(reading, "prediction"));
    const json_t *noise_at = json_object_get(reading, "noise_at");
    if (!json_is_integer(noise_at)) return strdup(prediction);
    return text_new("%s, noise at %d", prediction, (int)json_integer_value(noise_at));
}

static double mean_at(const json_t *reading) {
    const json_t *mean = json_object_get(reading, "mean");
    return json_is_number(mean) ? json_number_value(mean) : INFINITY;
}

static const json_t *own_of(const json_t *found) {
    const json_t *readings = json_object_get(found, "readings");
    size_t i = 0;
    while (!json_is_true(json_object_get(json_array_get(readings, i), "card"))) i++;
    return json_array_get(readings, i);
}

static void print_row(const char *name, const json_t *values, const char *key, double mean) {
    size_t i;
    json_t *value;
    printf("%-24s", name);
    json_array_foreach(values, i, value) {
        const json_t *number = key ? json_object_get(value, key) : value;
        if (json_is_number(number)) printf(" %8.3g", json_number_value(number));
        else printf(" %8s", "inf");
    }
    if (!isnan(mean)) printf(" %9.4g", mean);
    printf("\n");
}

static int print_found(const json_t *found, struct error *err) {
    const json_t *times = json_object_get(found, "times");
    size_t i;
    json_t *reading;
    printf(
        "Error of x0 of %d images, rms, by what the output is read as (*: as the card says), and its geometric mean\n"
        "over the times t; log(alpha/sigma) below t\n\n",
        (int)json_integer_value(json_object_get(found, "images")));
    print_row("", times, "t", NAN);
    print_row("", times, "logsnr", NAN);
    json_array_foreach(json_object_get(found, "readings"), i, reading) {
        char *name = name_of(reading);
        char *marked = text_new("%s%s", json_is_true(json_object_get(reading, "card")) ? "* " : "  ", name ? name : "");
        if (marked) print_row(marked, json_object_get(reading, "rmse"), NULL, mean_at(reading));
        free(name);
        if (!marked) return error_memory(err);
        free(marked);
    }
    print_row("  each pixel by itself", times, "pixelwise", json_number_value(json_object_get(found, "pixelwise")));
    printf("\n");
    return 0;
}

/* CODE_DATA when the card's reading is clearly not the best, or no good. labelled: the network had no wrong labels. */
static int judge(const json_t *found, const char *model, bool labelled, bool json, struct error *err) {
    const json_t *best = json_array_get(json_object_get(found, "readings"), 0), *own = own_of(found);
    double least = mean_at(best), mine = mean_at(own),
           pixelwise = json_number_value(json_object_get(found, "pixelwise"));
    char *said = name_of(own), *is = name_of(best);
    int rc = said && is ? 0 : error_memory(err);
    if (rc == 0 && !(mine <= CLEARLY * least))
        rc = error_set(err, CODE_DATA,
                       "%s: its card says %s, but read as %s the error of x0 is %.3g instead of %.3g: correct the card",
                       model, said, is, least, mine);
    else if (rc == 0 && (isinf(mine) || (labelled && !(mine <= pixelwise))))
        rc = error_set(
            err, CODE_DATA,
            "%s: no reading comes nearer to the images than every pixel by itself does (%.3g; %s as the card "
            "says has %.3g): look at the card's schedule, time and range, and whether the network was trained long "
            "enough, and on such images",
            model, pixelwise, said, mine);
    else if (rc == 0 && !json) print_line(stdout, "%s: its card says what fits best: %s", model, said);
    free(said);
    free(is);
    return rc;
}

/* ---- the command ---- */

static int check(const struct call *call, struct error *err) {
    const struct check_options *options = call->options;
    struct card card;
    float *images = NULL;
    json_t *found = NULL;
    if (options->count == 1) return error_set(err, CODE_USAGE, "check: --count 1: expected two images or more");
    if (command_read_card(&card, options->model, &options->set, err) != 0) return -1;
    struct readings_asked asked = {.card = &card};
    int rc = read_images(&images, &asked.count, options->images, &card, options->count ? options->count : IMAGES, err);
    asked.images = images;
    if (rc == 0) rc = command_load_model(&asked.model, options->model, (enum device_kind)options->device, NULL, err);
    if (rc == 0) rc = readings_measure(&found, &asked, err);
    if (rc == 0) rc = options->json ? print_json(found, err) : print_found(found, err);
    bool labelled = card.classes == 0 || card.null_label >= 0;
    if (rc == 0 && !labelled)
        log_warn("the card has no null label, and the images' labels are not known: image i had label i mod %lld",
                 (long long)card.classes);
    if (rc == 0) rc = judge(found, options->model, labelled, options->json, err);
    json_decref(found);
    shim_model_free(asked.model);
    free(images);
    card_release(&card);
    return rc;
}

static const struct option_row rows[] = {
    OPTION(OPERAND, check_options, model, "MODEL"),
    OPTION(OPERAND, check_options, images, "IMAGES"),
    OPTION(COUNT, check_options, count, "count", .argument = "N", .help = "only the first N images (64)"),
    OPTION(LIST, check_options, set, "set", .argument = "KEY=VALUE",
           .help = "override a key of the card, as in --set prediction=v"),
    OPTION(CHOICE, check_options, device, "device", .help = "where the network runs", .choices = device_names),
    ROW_JSON(check_options),
};

const struct command command_check = {
    "check", "Try a network on real images: whether its output is what its card says",
    "IMAGES: a folder or zip of PNGs, an array uint8 [N,H,W,C] (.npy; arr_0 of an .npz), 0 to 255 over the card's "
    "range,\n"
    "or a .npy of float32 [N,C,H,W], taken as it is (latents). They are noised at ten times, and the network's output "
    "is\n"
    "read as each thing that a network may predict, and with times that run the other way. A trained network's right "
    "reading\n"
    "has the least error at every time. Labels: the null label, or where there is none image i has label i mod "
    "classes.\n"
    "Exit status 65: another reading fits better than the card's (by 10 %), or none better than every pixel by "
    "itself.\n" MODEL_IS_CODE,
    OPTION_TABLE(rows, check_options), check};
