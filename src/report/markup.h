/* Text of others inside HTML and SVG. */
#ifndef REPORT_MARKUP_H
#define REPORT_MARKUP_H

#include "base/text.h"

#include <jansson.h>
#include <stddef.h>

/* Adds UTF-8 text so that it reads the same inside an element and inside a quoted attribute; controls and what
 * turns the direction of text become U+FFFD. NULL adds nothing. */
void markup_add(struct text *out, const char *text);
/* Adds an image as a data: URI. */
void markup_image(struct text *out, const void *png, size_t size);
/* A JSON value as people write it: a string without quotes, a number with `digits` significant ones (0: as many as it
 * takes), nothing for null or NULL. New; NULL when out of memory. */
char *markup_value(const json_t *value, int digits);

/* page.css, page.js and chart.css of this folder, which the Makefile makes a C file of. */
extern const char page_css[], page_js[], chart_css[];

#endif
