/* What the fuzz targets share. A target is one file with LLVMFuzzerTestOneInput: under `make fuzz` libFuzzer calls it,
 * under `make test` replay.c does, with the inputs of corpus/NAME/. No input may crash it, leak, or make it allocate
 * much more than its own size accounts for. */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The path of a file (in memory, always the same one) that now holds these bytes. */
const char *fuzz_file(const void *data, size_t size);
/* A NUL-terminated copy, new. */
char *fuzz_text(const uint8_t *data, size_t size);

#endif
