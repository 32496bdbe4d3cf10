/* A set of states: a hash of 64 bits for each, by open addressing. The number of a state is that of its arrival. */
#ifndef STATE_SET_H
#define STATE_SET_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

struct set {
    uint64_t *hashes; /* [capacity]; 0: free */
    uint32_t *numbers;
    size_t capacity, count;
};

static inline uint64_t mix(uint64_t hash, uint64_t value) {
    hash = (hash ^ value) * 0x9E3779B97F4A7C15u;
    return hash ^ hash >> 29;
}

static inline void set_new(struct set *set, size_t capacity) {
    *set = (struct set){calloc(capacity, sizeof *set->hashes), calloc(capacity, sizeof *set->numbers), capacity, 0};
    assert_true(set->hashes && set->numbers);
}

static inline size_t set_place(const struct set *set, uint64_t hash) {
    size_t at = hash & (set->capacity - 1);
    while (set->hashes[at] && set->hashes[at] != hash) at = (at + 1) & (set->capacity - 1);
    return at;
}

/* The state's number; *is_new: it had none. */
static inline uint32_t set_add(struct set *set, uint64_t hash, bool *is_new) {
    if (2 * set->count >= set->capacity) {
        struct set larger;
        set_new(&larger, 2 * set->capacity);
        for (size_t i = 0; i < set->capacity; i++) {
            size_t at = set_place(&larger, set->hashes[i]);
            if (!set->hashes[i]) continue;
            larger.hashes[at] = set->hashes[i];
            larger.numbers[at] = set->numbers[i];
        }
        larger.count = set->count;
        free(set->hashes);
        free(set->numbers);
        *set = larger;
    }
    size_t at = set_place(set, hash);
    *is_new = !set->hashes[at];
    if (*is_new) {
        set->hashes[at] = hash;
        set->numbers[at] = (uint32_t)set->count++;
    }
    return set->numbers[at];
}

#endif
