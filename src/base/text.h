/* Text: a growing string, strict numbers, near names, UTF-8, what a terminal may be shown, paths as text.
 * Thread-safe. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A growing string; {0} is an empty one. `failed` is set once memory ran out, and stays. */
struct text {
    char *data; /* NUL-terminated, or NULL while empty */
    size_t length, capacity;
    bool failed;
};

void text_add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_release(struct text *text);
/* Adds a word of a shell's command line, quoted where it must be, behind a blank but for the first. */
void text_add_word(struct text *command, const char *word);
/* Adds a list (ended by NULL) such as "png, npz or npy", where `between` is ", " and `last` is " or ". */
void text_add_names(struct text *text, const char *const *names, const char *between, const char *last);

/* The whole of s must be the number: no blanks, no rest; false otherwise or out of range. */
bool text_to_u64(const char *s, uint64_t *value);
bool text_to_i64(const char *s, int64_t *value);
bool text_to_double(const char *s, double *value); /* also inf and nan as strtod has them */

/* Adds first-last (or first) to a list of ranges, "3-5, 9", which ends with "..." after ten. *ranges: their number
 * so far. */
void text_add_range(struct text *list, uint64_t *ranges, uint64_t first, uint64_t last);

/* strcmp, with runs of digits compared as numbers: "2" before "10"; 0 also where only zeros before numbers differ. */
int text_compare_natural(const char *a, const char *b);

/* Does a name end in ".zip" (in any case), and have something before it? */
bool text_ends_in(const char *name, const char *extension);
/* The place of a name in a list (ended by NULL); -1: it is not there, or NULL. */
int text_find(const char *name, const char *const *names);
/* The name of a list (ended by NULL) that a slip of the pen made another of; NULL: none is so near. */
const char *text_nearest(const char *name, const char *const *names);

bool text_is_utf8(const char *s, size_t size); /* zero bytes are */
/* CODE_DATA where a path is not UTF-8, which JSON needs. */
int path_check_utf8(const char *path, struct error *err);
/* Puts a '?' for every byte that is not part of valid UTF-8. */
void text_make_utf8(char *s);

/* The length of the character at s, 1 for a byte that is none; *plain: a terminal or page shows it and does nothing
 * else. Not plain are controls (C0, DEL, C1), what turns the direction of the text, line separators, and bytes that
 * are no UTF-8. */
size_t text_character(const char *s, bool *plain);
bool text_is_plain(const char *s); /* each of its characters is */
/* Writes s into out with what is not plain written out, "\n", "\x1b", "\u202e", but for the ASCII characters in
 * `keep`; from DEL on so that it stays JSON. out: TEXT_VISIBLE times the length of s, and 1, or it is cut. */
enum { TEXT_VISIBLE = 6 };
void text_make_visible(char *out, size_t capacity, const char *s, const char *keep);
/* One word as a file's name: no path, and plain. */
bool text_is_name(const char *s);

/* sprintf into a new string, or NULL when out of memory. Caller frees. */
char *text_new(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* New string: path as seen from the folder `base`; an absolute path stays. NULL when out of memory. */
char *path_join(const char *base, const char *path);
/* New string: the folder that holds path ("." when it names none). NULL when out of memory. */
char *path_folder(const char *path);

#endif
