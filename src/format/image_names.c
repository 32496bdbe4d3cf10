/* The names of images: which are read, in which order, and which are left out. */
#include "format/image_names.h"

#include "base/hash.h"
#include "base/log.h"

#include <ctype.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { LEFT_OUT_NAMED = 20 };

const char *const image_order_names[] = {"natural", "name", NULL};

static const struct {
    const char *name, *extensions;
    bool read;
} formats[IMAGE_FORMATS] = {
    {"PNG", ".png.", true},
    {"JPEG", ".jpg.jpeg.jpe.jfif.", true},
    {"WebP", ".webp.", true},
    {"BMP", ".bmp.", false},
    {"GIF", ".gif.", false},
    {"TIFF", ".tif.tiff.", false},
    {"PNM", ".ppm.pgm.pnm.pbm.", false},
    {"JPEG 2000", ".jp2.j2k.", false},
    {"JPEG XL", ".jxl.", false},
    {"AVIF", ".avif.", false},
    {"HEIF", ".heic.heif.", false},
};

bool image_name_hidden(const char *name) {
    for (const char *part = name; part; part = strchr(part, '/')) {
        if (*part == '/') part++;
        if (part[0] == '.' && part[1] != '/') return true;
    }
    return false;
}

/* IMAGE_FORMATS: none of them. */
static size_t format_of(const char *name) {
    const char *dot = strrchr(name, '.');
    char extension[16] = "";
    size_t format = 0;
    if (dot && strlen(dot) < sizeof extension - 1) strcat(strcpy(extension, dot), "."); /* as the table has them */
    while (format < IMAGE_FORMATS && (!extension[0] || !strcasestr(formats[format].extensions, extension))) format++;
    return format;
}

bool image_name_is_read(const char *name) {
    size_t format = format_of(name);
    return format < IMAGE_FORMATS && formats[format].read;
}

void image_names_leave_out(struct image_names *names, const char *name) {
    if (names->left_out < LEFT_OUT_NAMED) text_add(&names->left_out_names, "%s%s", names->left_out ? ", " : "", name);
    if (names->left_out == LEFT_OUT_NAMED) text_add(&names->left_out_names, ", ...");
    names->left_out++;
}

int image_names_add(struct image_names *names, const char *name, uint64_t index, struct error *err) {
    size_t format = format_of(name), length = strlen(name);
    const char *slash = strrchr(name, '/'), *file = slash ? slash + 1 : name;
    if (length > 0 && name[length - 1] == '/') return 0;                  /* a folder in an archive */
    if (strcmp(file, "run.json") == 0 || strcmp(file, "sweep.json") == 0) /* whose pictures are overviews */
        return error_set(
            err, CODE_DATA,
            "expected images, found %s: that is what a run or a sweep of qtaylor holds; name the run (of a "
            "sweep a cell, SWEEP/CELL) itself, or a folder of exported images",
            name);
    if (strcmp(file, "dataset.json") == 0 || strcmp(file, "metadata.jsonl") == 0) return 0; /* labels, as export has */
    if (image_name_hidden(name) || format == IMAGE_FORMATS) {
        image_names_leave_out(names, name);
        return 0;
    }
    names->found[format]++;
    if (!formats[format].read) return names->other || (names->other = strdup(name)) ? 0 : error_memory(err);
    if (names->count == names->capacity) {
        size_t capacity = 2 * names->capacity + 64;
        struct image_name *list = realloc(names->list, capacity * sizeof *list);
        if (!list) return error_memory(err);
        names->list = list;
        names->capacity = capacity;
    }
    char *copy = strdup(name);
    if (!copy) return error_memory(err);
    names->list[names->count++] = (struct image_name){.name = copy, .index = index};
    return 0;
}

static int by_bytes(const void *a, const void *b) {
    return strcmp(((const struct image_name *)a)->name, ((const struct image_name *)b)->name);
}

static int by_number(const void *a, const void *b) {
    int order = text_compare_natural(((const struct image_name *)a)->name, ((const struct image_name *)b)->name);
    return order ? order : by_bytes(a, b);
}

/* "30 PNG, 10 JPEG" */
static void add_counts(struct text *counts, const struct image_names *names) {
    for (size_t i = 0; i < IMAGE_FORMATS; i++)
        if (names->found[i]) text_add(counts, "%s%zu %s", counts->length ? ", " : "", names->found[i], formats[i].name);
}

int image_names_settle(struct image_names *names, const char *path, const char *instead, enum image_order order,
                       struct error *err) {
    static _Atomic uint64_t last; /* path that was told of: images are counted first, and then read */
    struct text counts = {0};
    uint64_t mark = sha256_mark(path, strlen(path));
    if (names->left_out > 0 && atomic_exchange(&last, mark) != mark)
        log_info("%s: left out, as hidden or no images: %zu (%s)", path, names->left_out,
                 names->left_out_names.data ? names->left_out_names.data : "");
    if (names->other) {
        add_counts(&counts, names);
        error_set(err, CODE_DATA,
                  "%s: expected PNG, JPEG and WebP images alone, found %s files: no image is passed over: convert the "
                  "others (%s) to PNG, or move them elsewhere",
                  path, counts.data ? counts.data : "other", names->other);
        text_release(&counts);
        return -1;
    }
    if (names->count == 0)
        return error_set(err, CODE_DATA, "%s: expected .png, .jpg or .webp images%s, found none", path, instead);
    qsort(names->list, names->count, sizeof *names->list, order == IMAGES_BY_NAME ? by_bytes : by_number);
    return 0;
}

int image_names_mark(const struct image_names *names, uint64_t *marks, struct error *err) {
    for (size_t i = 0; i < names->count; i++) {
        const char *slash = strrchr(names->list[i].name, '/'), *name = slash ? slash + 1 : names->list[i].name;
        const char *end = strrchr(name, '.');
        char *key = malloc(strlen(name) + 1);
        size_t length = 0;
        if (!key) return error_memory(err);
        if (strncmp(name, "img", 3) == 0 && isdigit((unsigned char)name[3])) name += 3; /* EDM's */
        for (const char *at = name; at < end; at++) {
            bool zero = *at == '0' && isdigit((unsigned char)at[1]) && (at == name || !isdigit((unsigned char)at[-1]));
            while (zero && *at == '0' && isdigit((unsigned char)at[1])) at++;
            key[length++] = *at;
        }
        marks[i] = sha256_mark(key, length);
        free(key);
    }
    return 0;
}

void image_names_release(struct image_names *names) {
    for (size_t i = 0; i < names->count; i++) free(names->list[i].name);
    free(names->list);
    free(names->other);
    text_release(&names->left_out_names);
    *names = (struct image_names){0};
}
