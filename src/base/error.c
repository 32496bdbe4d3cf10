/* Errors as values. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int error_set(struct error *err, enum code code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(err->message, sizeof err->message, format, arguments);
    va_end(arguments);
    err->code = code;
    return -1;
}

int error_prefix(struct error *err, const char *format, ...) {
    char old[sizeof err->message];
    memcpy(old, err->message, sizeof old);
    va_list arguments;
    va_start(arguments, format);
    int used = vsnprintf(err->message, sizeof err->message, format, arguments);
    va_end(arguments);
    if (used >= 0 && (size_t)used < sizeof err->message)
        snprintf(err->message + used, sizeof err->message - (size_t)used, ": %s", old);
    return -1;
}

int error_suffix(struct error *err, const char *format, ...) {
    size_t length = strlen(err->message);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(err->message + length, sizeof err->message - length, format, arguments);
    va_end(arguments);
    return -1;
}

int error_memory(struct error *err) {
    return error_set(err, CODE_INTERNAL, "out of memory");
}
