/* Results as JSON on standard output. */
#include "base/outlet.h"
#include "base/print.h"
#include "cli/command.h"
#include "format/json_file.h"

#include <errno.h>
#include <stdlib.h>

int output_failed(struct error *err, int why) {
    return error_set(err, CODE_IO, "cannot write to standard output: %s",
                     why ? outlet_why(why) : "an earlier write failed");
}

int print_json_to(FILE *out, const json_t *json, struct error *err) {
    char *text = json_text(json, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    if (!text) return error_memory(err);
    errno = 0;
    print_block(out, text);
    free(text);
    int failed = putc('\n', out) == EOF || ferror(out);
    return failed || fflush(out) != 0 ? output_failed(err, errno) : 0;
}

int print_json(const json_t *json, struct error *err) {
    return print_json_to(stdout, json, err);
}
