/* Results to stdout or stderr: what is not plain text (text.h) is written out, so that no name or reason out of a file
 * does anything to a terminal or passes for a line of ours. */
#ifndef BASE_PRINT_H
#define BASE_PRINT_H

#include <stdio.h>

/* One line, with the newline. */
void print_line(FILE *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Several lines, whose names were made visible before. */
void print_block(FILE *out, const char *text);

#endif
