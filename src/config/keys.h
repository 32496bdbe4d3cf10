/* Maps of keys read by table: a row says a key's name, its kind, where its value goes and what to say when it is wrong.
 * A job, its sampler and a card are such tables; reading and writing (job->resolved, the fingerprint) both walk them.
 */
#ifndef CONFIG_KEYS_H
#define CONFIG_KEYS_H

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct key_reader {     /* what messages and relative paths need */
    const char *where;  /* file; stands in messages where `places` knows no better */
    json_t *places;     /* of yaml_parse, or NULL */
    bool partial;       /* required keys may be missing: the map goes over another that has them */
    const char *folder; /* that KEY_PATH values are relative to; NULL: paths are neither relative nor to be expanded */
    struct error *err;
};

struct key_table {
    const struct key *keys;
    size_t count;
};
#define KEY_TABLE(array) {(array), sizeof(array) / sizeof *(array)}

#define KEY_RANGE(lowest, highest) .low = (lowest), .high = (highest)

struct key {
    const char *name;
    const struct key_kind *kind;
    size_t offset;                 /* of the value in the struct given to keys_read */
    const char *expected;          /* completes "expected ..."; made from `names` where NULL */
    double low, high;              /* numbers: range, both ends included. A value outside counts as unset. */
    const char *const *names;      /* KEY_NAME: by enum value, NULL at its end (and at 0 for "unset") */
    const struct key_table *table; /* KEY_TABLE_OF and kinds that take maps */
    bool required;
    bool nullable; /* null means unset */
};

#define KEY_READ_ARGUMENTS \
    const struct key_reader *reader, const struct key *key, const char *path, const json_t *value, void *member
struct key_kind {
    /* Checks value and puts it into *member. path: the key's dotted path. */
    int (*read)(KEY_READ_ARGUMENTS);
    /* The opposite: new; null where the member is unset; NULL when out of memory. */
    json_t *(*write)(const struct key *key, const void *member);
};

extern const struct key_kind KEY_STRING, /* char *; not empty; new */
    KEY_PATH,     /* char *; expanded (expand.h), resolved against reader->folder; new. Written absolute. */
    KEY_FOLDER,   /* char *; expanded, relative to the working directory. Written absolute. */
    KEY_INT,      /* int */
    KEY_INT64,    /* int64_t, or uint64_t where low >= 0 */
    KEY_NUMBER,   /* double; ".inf" where high is infinite; unset is NAN */
    KEY_BOOL,     /* bool */
    KEY_NAME,     /* an enum */
    KEY_PAIR,     /* double, double: [low, high], low < high */
    KEY_TABLE_OF; /* a map read by key->table; its rows' offsets count from this key's */

/* Reads a map into *target by table. path: its dotted path, "" for the root. */
int keys_read(const struct key_reader *reader, const struct key_table *table, const char *path, const json_t *map,
              void *target);
/* New object with every key that is set, or NULL when out of memory. */
json_t *keys_write(const struct key_table *table, const void *target);

/* [count] finite numbers of a JSON list with at least one; *numbers new. Errors say `expected`. */
int key_numbers(const struct key_reader *reader, const char *path, const json_t *list, const char *expected,
                double **numbers, size_t *count);
/* What completes "expected ..." for this key, new; NULL when out of memory. */
char *key_expected(const struct key *key);
/* "PLACE: path: expected EXPECTED, found VALUE"; -1. */
int key_fail(const struct key_reader *reader, const char *path, const char *expected, const json_t *value);
/* The same of a name, with the one that is meant perhaps (NULL: none is near). */
int key_fail_name(const struct key_reader *reader, const char *path, const char *expected, const json_t *value,
                  const char *nearest);
/* key_fail for path[index]. */
int key_fail_item(const struct key_reader *reader, const char *path, size_t index, const char *expected,
                  const json_t *value);
/* "PLACE: path: ..."; -1. */
int key_error(const struct key_reader *reader, const char *path, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
