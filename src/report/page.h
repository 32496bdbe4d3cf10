/* report.html: one file that loads nothing else, from disk or the network, and can be read with scripts switched off.
 */
#ifndef REPORT_PAGE_H
#define REPORT_PAGE_H

#include "base/error.h"
#include "base/text.h"

#include <jansson.h>
#include <stddef.h>

struct page_picture {
    char *cell, *about; /* new; about: which seeds */
    char *png;          /* new */
    size_t size;
};

struct page_pictures {
    struct page_picture *items;
    size_t count;
    char *note; /* new, or NULL: what they show, and what was left out */
};

/* data: see report/data.h. */
int page_make(const json_t *data, const struct page_pictures *pictures, struct text *out, struct error *err);
void page_pictures_release(struct page_pictures *pictures);

#endif
