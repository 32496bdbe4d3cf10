/* The rows of a side told apart by marks (sha256_mark): of their pixels, which are the same; of their names, which
 * belong together. */
#ifndef EVAL_MARKS_H
#define EVAL_MARKS_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct marks {
    size_t count;
    uint64_t *list; /* [count]; count 0: NULL */
};

int marks_new(struct marks *marks, size_t count, struct error *err);
int marks_copy(struct marks *copy, const struct marks *marks, struct error *err);
void marks_release(struct marks *marks);
bool marks_equal(const struct marks *a, const struct marks *b); /* also in their order */
/* How many are the same as an earlier one. */
int marks_repeated(const struct marks *marks, size_t *repeated, struct error *err);
/* places [a->count]: where b has each of a's, or SIZE_MAX; *shared: of how many it has them. */
int marks_find(const struct marks *a, const struct marks *b, size_t *places, size_t *shared, struct error *err);

#endif
