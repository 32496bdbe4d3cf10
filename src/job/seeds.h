/* The list of seeds of a job: ranges and single numbers in the order they were written, "0-9999,123". */
#ifndef JOB_SEEDS_H
#define JOB_SEEDS_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct seed_range {
    uint64_t first, count;
    uint64_t before; /* seeds in the ranges before this one */
};

struct seeds {
    struct seed_range *ranges;
    size_t ranges_count;
    uint64_t count; /* seeds in all */
};

/* Parses "a-b" (inclusive) and single numbers, comma-separated. A seed given twice is an error. */
int seeds_parse(struct seeds *seeds, const char *text, struct error *err);
void seeds_release(struct seeds *seeds);
/* The seed at a position in the list; index < seeds->count. */
uint64_t seeds_at(const struct seeds *seeds, uint64_t index);
/* The positions of other seeds in the list, positions[wanted->count]. One that is not in it is CODE_DATA. */
int seeds_locate(const struct seeds *seeds, const struct seeds *wanted, uint64_t *positions, struct error *err);
/* How many seeds are in both lists; *first: the smallest of them. CODE_INTERNAL: out of memory. */
int seeds_common(const struct seeds *a, const struct seeds *b, uint64_t *count, uint64_t *first, struct error *err);
/* Are there two seeds that are equal modulo 2^32? 1: yes, pair[2]; 0: no; -1: out of memory. */
int seeds_collide(const struct seeds *seeds, uint64_t pair[2]);
/* Leaves the first `count` > 0 of them, or all where there are fewer. */
void seeds_cut(struct seeds *seeds, uint64_t count);
/* The text of the first `count` > 0 seeds of a list in text; new, or NULL when out of memory or the text is no list. */
char *seeds_head(const char *text, uint64_t count);
/* The canonical text, as in "0-9999,20000"; new, or NULL when out of memory. */
char *seeds_text(const struct seeds *seeds);
/* Is the older list a prefix of the newer one? */
bool seeds_extend(const char *older, const char *newer);

#endif
