/* The list of seeds: ranges and single numbers. */
#include "job/seeds.h"

#include "base/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int seeds_append(struct seeds *seeds, uint64_t first, uint64_t last, struct error *err) {
    uint64_t count = last - first + 1;
    if (count == 0 || seeds->count + count < count)
        return error_set(err, CODE_DATA, "expected fewer than 2^64 seeds in all, found more");
    struct seed_range *tail = seeds->ranges_count ? &seeds->ranges[seeds->ranges_count - 1] : NULL;
    if (tail && first && tail->first + tail->count == first) { /* "0-4,5-9" is "0-9" */
        tail->count += count;
    } else {
        /* Doubling at powers of two keeps a list of many single seeds linear. */
        size_t used = seeds->ranges_count;
        if ((used & (used - 1)) == 0) {
            struct seed_range *grown = realloc(seeds->ranges, (used ? 2 * used : 1) * sizeof *grown);
            if (!grown) return error_memory(err);
            seeds->ranges = grown;
        }
        seeds->ranges[seeds->ranges_count++] = (struct seed_range){first, count, seeds->count};
    }
    seeds->count += count;
    return 0;
}

/* One entry, "a" or "a-b", without blanks around it. */
static int seeds_add(struct seeds *seeds, char *entry, struct error *err) {
    uint64_t first, last;
    char *dash = strchr(entry, '-');
    if (dash) *dash = '\0';
    bool good = text_to_u64(entry, &first) && text_to_u64(dash ? dash + 1 : entry, &last);
    if (dash) *dash = '-';
    if (!good) return error_set(err, CODE_DATA, "expected seeds such as 0-9999 or 0-99,200, found \"%.100s\"", entry);
    if (last < first) return error_set(err, CODE_DATA, "expected a range that goes up, found \"%s\"", entry);
    return seeds_append(seeds, first, last, err);
}

static int range_order(const void *a, const void *b) {
    uint64_t left = ((const struct seed_range *)a)->first, right = ((const struct seed_range *)b)->first;
    return (left > right) - (left < right);
}

/* The ranges by their first seed; new. */
static struct seed_range *seeds_sorted(const struct seeds *seeds) {
    struct seed_range *sorted = malloc(seeds->ranges_count * sizeof *sorted);
    if (!sorted) return NULL;
    memcpy(sorted, seeds->ranges, seeds->ranges_count * sizeof *sorted);
    qsort(sorted, seeds->ranges_count, sizeof *sorted, range_order);
    return sorted;
}

/* Sorted, ranges must not reach into the next one. */
static int seeds_distinct(const struct seeds *seeds, struct error *err) {
    size_t count = seeds->ranges_count;
    struct seed_range *sorted = seeds_sorted(seeds);
    if (!sorted) return error_memory(err);
    int rc = 0;
    for (size_t i = 1; i < count && rc == 0; i++)
        if (sorted[i].first - sorted[i - 1].first < sorted[i - 1].count)
            rc = error_set(err, CODE_DATA, "expected each seed once, found %" PRIu64 " twice", sorted[i].first);
    free(sorted);
    return rc;
}

int seeds_parse(struct seeds *seeds, const char *text, struct error *err) {
    *seeds = (struct seeds){0};
    char *copy = strdup(text);
    if (!copy) return error_memory(err);
    int rc = 0;
    for (char *rest = copy, *entry; rc == 0 && (entry = strsep(&rest, ","));) {
        entry += strspn(entry, " \t\n");
        for (size_t length = strlen(entry); length && strchr(" \t\n", entry[length - 1]);) entry[--length] = '\0';
        rc = seeds_add(seeds, entry, err);
    }
    if (rc == 0) rc = seeds_distinct(seeds, err);
    if (rc) seeds_release(seeds);
    free(copy);
    return rc;
}

void seeds_release(struct seeds *seeds) {
    free(seeds->ranges);
    *seeds = (struct seeds){0};
}

uint64_t seeds_at(const struct seeds *seeds, uint64_t index) {
    size_t low = 0, high = seeds->ranges_count; /* the range sought is in [low, high) */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (seeds->ranges[middle].before <= index) low = middle;
        else high = middle;
    }
    return seeds->ranges[low].first + (index - seeds->ranges[low].before);
}

/* Among ranges, does this one hold the seed at `key`? For bsearch: ranges are disjoint. */
static int range_holds(const void *key, const void *element) {
    uint64_t seed = *(const uint64_t *)key;
    const struct seed_range *range = element;
    return seed < range->first ? -1 : seed - range->first >= range->count;
}

int seeds_locate(const struct seeds *seeds, const struct seeds *wanted, uint64_t *positions, struct error *err) {
    struct seed_range *sorted = seeds_sorted(seeds);
    int rc = sorted ? 0 : error_memory(err);
    for (uint64_t i = 0; rc == 0 && i < wanted->count; i++) {
        uint64_t seed = seeds_at(wanted, i);
        const struct seed_range *range = bsearch(&seed, sorted, seeds->ranges_count, sizeof *sorted, range_holds);
        if (range) positions[i] = range->before + (seed - range->first);
        else rc = error_set(err, CODE_DATA, "expected seeds that the job has, found %" PRIu64, seed);
    }
    free(sorted);
    return rc;
}

int seeds_common(const struct seeds *a, const struct seeds *b, uint64_t *count, uint64_t *first, struct error *err) {
    struct seed_range *ours = seeds_sorted(a), *theirs = seeds_sorted(b);
    int rc = ours && theirs ? 0 : error_memory(err);
    *count = 0;
    for (size_t i = 0, k = 0; rc == 0 && i < a->ranges_count && k < b->ranges_count;) {
        uint64_t last = ours[i].first + (ours[i].count - 1), other = theirs[k].first + (theirs[k].count - 1);
        uint64_t low = ours[i].first > theirs[k].first ? ours[i].first : theirs[k].first,
                 high = last < other ? last : other;
        if (low <= high) {
            if (*count == 0) *first = low;
            *count += high - low + 1;
        }
        if (last < other) i++;
        else k++;
    }
    free(theirs);
    free(ours);
    return rc;
}

int seeds_collide(const struct seeds *seeds, uint64_t pair[2]) {
    const uint64_t modulus = (uint64_t)1 << 32;
    /* Pieces of the ranges, modulo 2^32, that do not wrap around; `before` is the first seed of each. */
    struct seed_range *pieces = malloc((2 * seeds->ranges_count + 1) * sizeof *pieces);
    size_t count = 0;
    int found = pieces ? 0 : -1;
    for (size_t i = 0; found == 0 && i < seeds->ranges_count; i++) {
        const struct seed_range *range = &seeds->ranges[i];
        uint64_t first = range->first % modulus, head = modulus - first < range->count ? modulus - first : range->count;
        pair[0] = range->first;
        pair[1] = range->first + modulus;
        if (range->count > modulus) found = 1;
        pieces[count++] = (struct seed_range){first, head, range->first};
        if (head < range->count) pieces[count++] = (struct seed_range){0, range->count - head, range->first + head};
    }
    if (found == 0) qsort(pieces, count, sizeof *pieces, range_order);
    for (size_t i = 1; found == 0 && i < count; i++) {
        uint64_t apart = pieces[i].first - pieces[i - 1].first;
        pair[0] = pieces[i - 1].before + apart;
        pair[1] = pieces[i].before;
        if (apart < pieces[i - 1].count) found = 1;
    }
    free(pieces);
    return found;
}

void seeds_cut(struct seeds *seeds, uint64_t count) {
    if (count >= seeds->count) return;
    while (seeds->ranges[seeds->ranges_count - 1].before >= count) seeds->ranges_count--;
    struct seed_range *last = &seeds->ranges[seeds->ranges_count - 1];
    last->count = count - last->before;
    seeds->count = count;
}

char *seeds_text(const struct seeds *seeds) {
    struct text text = {0};
    for (size_t i = 0; i < seeds->ranges_count; i++) {
        const struct seed_range *range = &seeds->ranges[i];
        text_add(&text, "%s%" PRIu64, i ? "," : "", range->first);
        if (range->count > 1) text_add(&text, "-%" PRIu64, range->first + (range->count - 1));
    }
    if (text.failed) text_release(&text);
    return text.data;
}

char *seeds_head(const char *text, uint64_t count) {
    struct error ignored;
    struct seeds seeds;
    if (seeds_parse(&seeds, text, &ignored) != 0) return NULL;
    seeds_cut(&seeds, count);
    char *head = seeds_text(&seeds);
    seeds_release(&seeds);
    return head;
}

bool seeds_extend(const char *older, const char *newer) {
    struct seeds a = {0}, b = {0};
    struct error ignored;
    bool readable = seeds_parse(&a, older, &ignored) == 0 && seeds_parse(&b, newer, &ignored) == 0;
    bool extends = readable && a.count <= b.count;
    for (uint64_t i = 0; extends && i < a.count; i++) extends = seeds_at(&a, i) == seeds_at(&b, i);
    seeds_release(&a);
    seeds_release(&b);
    return extends;
}
