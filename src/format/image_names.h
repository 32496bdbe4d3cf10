/* The files of a folder or an archive by their names: the images that are read (PNG, JPEG, WebP) in natural order
 * (2.png before 10.png), images in other formats, which make a set of images one that can't be read, and what is left
 * out: hidden files and those that are no images. The lists that exports have, dataset.json and metadata.jsonl, are
 * passed over. */
#ifndef FORMAT_IMAGE_NAMES_H
#define FORMAT_IMAGE_NAMES_H

#include "base/error.h"
#include "base/hash.h"
#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { IMAGE_FORMATS = 11 };

enum image_order {
    IMAGES_NATURAL, /* numbers as numbers: 2.png before 10.png */
    IMAGES_BY_NAME, /* byte by byte, as Python's sorted(): 10.png before 2.png */
};
extern const char *const image_order_names[]; /* ends with NULL */

struct image_name { /* of an image that is read */
    char *name;     /* its path within the folder or the archive */
    uint64_t index; /* in the archive */
};

struct image_names {
    struct image_name *list; /* [count] */
    size_t count, capacity;
    size_t found[IMAGE_FORMATS]; /* files in each format, going by their names */
    char *other;                 /* the first in a format that is not read; NULL: none */
    size_t left_out;
    struct text left_out_names; /* of the first few */
};

/* Adds a file by its name (copied): to the list, to those in other formats or to what is left out. */
int image_names_add(struct image_names *names, const char *name, uint64_t index, struct error *err);
void image_names_leave_out(struct image_names *names, const char *name);
/* Once all are there: sorts them in this order and says (log) what was left out. No
 * image, or images in a format that is not read: CODE_DATA with their numbers. instead: " or " and what else `path`
 * might hold, for messages, or "". */
int image_names_settle(struct image_names *names, const char *path, const char *instead, enum image_order order,
                       struct error *err);
/* marks [count]: sha256_mark of each name without folders, extension, the zeros before numbers, and EDM's img before
 * the first one: equal for pictures that can be paired; of one that export wrote, that of its seed in decimal. */
int image_names_mark(const struct image_names *names, uint64_t *marks, struct error *err);
void image_names_release(struct image_names *names);

/* ".ipynb_checkpoints/a.png" and "__MACOSX/._a.png" are nobody's images, "./a.png" is one. */
bool image_name_hidden(const char *name);
bool image_name_is_read(const char *name); /* PNG, JPEG or WebP? */

#endif
