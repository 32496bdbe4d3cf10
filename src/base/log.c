#include "base/log.h"

#include "base/clock.h"
#include "base/text.h"

#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    pthread_mutex_t lock;
    FILE *file;
    int rank, size, quiet;
} state = {.lock = PTHREAD_MUTEX_INITIALIZER, .size = 1};

void log_rank(int rank, int size) {
    state.rank = rank;
    state.size = size;
}

void log_quiet(int quiet) {
    state.quiet = quiet;
}

int log_open(const char *path, struct error *err) {
    FILE *file = fopen(path, "ae");
    if (!file) return error_set(err, CODE_IO, "cannot open %s: %s", path, strerror(errno));
    state.file = file;
    return 0;
}

void log_close(void) {
    if (state.file) fclose(state.file);
    state.file = NULL;
}

static void to_file(const char *members) {
    char stamp[32];
    clock_stamp(stamp);
    if (!state.file) return;
    fprintf(state.file, "{\"time\": \"%s\", \"rank\": %d, %s}\n", stamp, state.rank, members);
    fflush(state.file);
}

static void line(const char *level, int to_stderr, const char *format, va_list arguments) {
    char message[sizeof((struct error *)0)->message + 200];
    vsnprintf(message, sizeof message, format, arguments);
    json_t *quoted = json_string(message);
    char *text = quoted ? json_dumps(quoted, JSON_ENCODE_ANY) : NULL;
    char *members = text_new("\"level\": \"%s\", \"message\": %s", level, text ? text : "\"not UTF-8\"");
    pthread_mutex_lock(&state.lock);
    const char *prefix = strcmp(level, "info") == 0 ? "" : level, *colon = *prefix ? ": " : "";
    if (to_stderr && state.size > 1) fprintf(stderr, "qtaylor: %s%s[rank %d] %s\n", prefix, colon, state.rank, message);
    else if (to_stderr) fprintf(stderr, "qtaylor: %s%s%s\n", prefix, colon, message);
    if (members) to_file(members);
    pthread_mutex_unlock(&state.lock);
    free(members);
    free(text);
    json_decref(quoted);
}

void log_info(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    line("info", !state.quiet, format, arguments);
    va_end(arguments);
}

void log_warn(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    line("warning", 1, format, arguments);
    va_end(arguments);
}

void log_error(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    line("error", 1, format, arguments);
    va_end(arguments);
}

void log_event(const char *format, ...) {
    char members[1000];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(members, sizeof members, format, arguments);
    va_end(arguments);
    pthread_mutex_lock(&state.lock);
    to_file(members);
    pthread_mutex_unlock(&state.lock);
}
