/* Text for a terminal, with control characters written out. */
#include "base/print.h"

#include "base/text.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static void print(FILE *out, const char *text, const char *keep, const char *end) {
    size_t capacity = text ? TEXT_VISIBLE * strlen(text) + 1 : 0;
    char *shown = capacity ? malloc(capacity) : NULL;
    if (shown) text_make_visible(shown, capacity, text, keep);
    fprintf(out, "%s%s", shown ? shown : "(out of memory)", end);
    free(shown);
}

void print_line(FILE *out, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    char *text = NULL;
    if (vasprintf(&text, format, arguments) < 0) text = NULL;
    va_end(arguments);
    print(out, text, "\t", "\n");
    free(text);
}

void print_block(FILE *out, const char *text) {
    print(out, text, "\n\t", "");
}
