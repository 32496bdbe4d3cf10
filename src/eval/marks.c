/* Marks of rows, sorted and looked up. */
#include "eval/marks.h"

#include <stdlib.h>
#include <string.h>

struct placed {
    uint64_t mark;
    size_t place;
};

int marks_new(struct marks *marks, size_t count, struct error *err) {
    *marks = (struct marks){count, count ? malloc(count * sizeof *marks->list) : NULL};
    return marks->list || count == 0 ? 0 : error_memory(err);
}

int marks_copy(struct marks *copy, const struct marks *marks, struct error *err) {
    if (marks_new(copy, marks->count, err) != 0) return -1;
    if (marks->count) memcpy(copy->list, marks->list, marks->count * sizeof *marks->list);
    return 0;
}

void marks_release(struct marks *marks) {
    free(marks->list);
    *marks = (struct marks){0};
}

bool marks_equal(const struct marks *a, const struct marks *b) {
    return a->count == b->count && (a->count == 0 || memcmp(a->list, b->list, a->count * sizeof *a->list) == 0);
}

static int by_mark(const void *a, const void *b) {
    const struct placed *x = a, *y = b;
    if (x->mark != y->mark) return x->mark < y->mark ? -1 : 1;
    return (x->place > y->place) - (x->place < y->place);
}

/* New; NULL: no memory. */
static struct placed *sorted(const struct marks *marks) {
    struct placed *list = malloc((marks->count + 1) * sizeof *list);
    for (size_t i = 0; list && i < marks->count; i++) list[i] = (struct placed){marks->list[i], i};
    if (list) qsort(list, marks->count, sizeof *list, by_mark);
    return list;
}

int marks_repeated(const struct marks *marks, size_t *repeated, struct error *err) {
    struct placed *list = sorted(marks);
    *repeated = 0;
    if (!list) return error_memory(err);
    for (size_t i = 1; i < marks->count; i++) *repeated += list[i].mark == list[i - 1].mark;
    free(list);
    return 0;
}

int marks_find(const struct marks *a, const struct marks *b, size_t *places, size_t *shared, struct error *err) {
    struct placed *list = sorted(b);
    *shared = 0;
    if (!list) return error_memory(err);
    for (size_t i = 0; i < a->count; i++) {
        size_t low = 0, high = b->count;
        while (low < high) {
            size_t middle = low + (high - low) / 2;
            if (list[middle].mark < a->list[i]) low = middle + 1;
            else high = middle;
        }
        bool there = low < b->count && list[low].mark == a->list[i];
        places[i] = there ? list[low].place : SIZE_MAX;
        *shared += there;
    }
    free(list);
    return 0;
}
