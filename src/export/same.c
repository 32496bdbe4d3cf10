/* The samples of two runs side by side: first their bytes, then, where these differ, their pixels. */
#include "export/same.h"

#include "export/rows.h"

#include <stdlib.h>
#include <string.h>

static void count_levels(struct same *same, const unsigned char *x, const unsigned char *y, size_t count) {
    for (size_t i = 0; i < count; i++) {
        int difference = abs(x[i] - y[i]);
        same->changed += difference > 0;
        if (difference > same->largest) same->largest = difference;
    }
    same->values += count;
}

/* All rows of both in one form. */
static int pass(struct same *same, struct rows *a, struct rows *b, enum row_form form, struct error *err) {
    const struct row *x, *y;
    uint64_t of_a, of_b;
    for (uint64_t i = 0; i < rows_count(a);) {
        if (rows_at(a, i, &x, &of_a, err) != 0 || rows_at(b, i, &y, &of_b, err) != 0) return -1;
        uint64_t count = of_a < of_b ? of_a : of_b;
        for (uint64_t k = 0; k < count; k++) {
            if (form == ROW_STORED) same->differing += memcmp(x[k].bytes, y[k].bytes, x[k].size) != 0;
            else count_levels(same, (const unsigned char *)x[k].bytes, (const unsigned char *)y[k].bytes, x[k].size);
        }
        i += count;
    }
    return 0;
}

static int open_and_pass(struct same *same, const struct run *a, const struct run *b, const struct seeds *ids,
                         enum row_form form, struct error *err) {
    struct rows *of_a = NULL, *of_b = NULL;
    int rc = rows_open(&of_a, a, ids, 0, form, err);
    if (rc == 0) rc = rows_open(&of_b, b, ids, 0, form, err);
    if (rc == 0) rc = pass(same, of_a, of_b, form, err);
    rows_close(of_a);
    rows_close(of_b);
    return rc;
}

/* *common new: the seeds of `a` that `b` has too. */
static int common_seeds(struct seeds *common, const struct run *a, const struct run *b, struct error *err) {
    const struct seeds *x = &a->job.seeds, *y = &b->job.seeds;
    *common = (struct seeds){.ranges = malloc((x->ranges_count * y->ranges_count + 1) * sizeof *common->ranges)};
    if (!common->ranges) return error_memory(err);
    for (size_t i = 0; i < x->ranges_count; i++) {
        uint64_t from = x->ranges[i].first, last = from + (x->ranges[i].count - 1);
        for (size_t k = 0; k < y->ranges_count; k++) {
            uint64_t other = y->ranges[k].first, end = other + (y->ranges[k].count - 1);
            uint64_t low = from > other ? from : other, high = last < end ? last : end;
            if (low > high) continue;
            common->ranges[common->ranges_count++] = (struct seed_range){low, high - low + 1, common->count};
            common->count += high - low + 1;
        }
    }
    if (common->count > 0) return 0;
    seeds_release(common);
    return error_set(err, CODE_DATA, "%s and %s have no seed in common: there is nothing to compare", a->dir, b->dir);
}

static bool has_pixels(const struct run *run) {
    const struct sample_form form = card_sample(&run->card);
    return run->job.output.dtype == SAMPLE_UINT8 || sample_bounded(&form);
}

int same_compare(struct same *same, const struct run *a, const struct run *b, struct error *err) {
    const struct sample_form of_a = card_sample(&a->card), of_b = card_sample(&b->card);
    struct seeds common;
    bool shape = of_a.channels == of_b.channels && of_a.height == of_b.height && of_a.width == of_b.width;
    *same = (struct same){.alike = shape && a->job.output.dtype == b->job.output.dtype};
    if (common_seeds(&common, a, b, err) != 0) return -1;
    same->samples = same->differing = common.count;
    if (same->alike) same->differing = 0;
    int rc = same->alike ? open_and_pass(same, a, b, &common, ROW_STORED, err) : 0;
    same->levels = same->differing > 0 && shape && has_pixels(a) && has_pixels(b);
    if (rc == 0 && same->levels) rc = open_and_pass(same, a, b, &common, ROW_PIXELS, err);
    seeds_release(&common);
    return rc;
}
