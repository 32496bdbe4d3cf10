#include "base/log.h"

#include "base/clock.h"
#include "base/files.h"
#include "base/text.h"

#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
    pthread_mutex_t lock;
    int file; /* -1: none */
    int rank, size, quiet, torn;
} state = {.lock = PTHREAD_MUTEX_INITIALIZER, .file = -1, .size = 1};

int log_leads(void) {
    return state.rank == 0;
}

void log_rank(int rank, int size) {
    state.rank = rank;
    state.size = size;
}

void log_quiet(int quiet) {
    state.quiet = quiet;
}

int log_open(const char *path, struct error *err) {
    int file = file_open(path, O_WRONLY | O_CREAT | O_APPEND, err);
    if (file < 0) return -1;
    state.file = file;
    return 0;
}

void log_close(void) {
    if (state.file >= 0) close(state.file);
    state.file = -1;
}

/* A line is one write, so that lines of several processes stay whole. */
static void to_file(const char *members) {
    char stamp[32];
    clock_stamp(stamp);
    if (state.file < 0) return;
    char *text = text_new("%s{\"time\": \"%s\", \"rank\": %d, %s}\n", state.torn ? "\n" : "", stamp, state.rank, members);
    ssize_t length = text ? (ssize_t)strlen(text) : 0, put = text ? write(state.file, text, (size_t)length) : 0;
    if (put > 0) state.torn = put < length; /* the disk is full: the run says so itself */
    free(text);
}

static void line(const char *level, int to_stderr, const char *format, va_list arguments) {
    char message[sizeof((struct error *)0)->message + 200];
    char shown[TEXT_VISIBLE * sizeof message];
    vsnprintf(message, sizeof message, format, arguments);
    text_make_visible(shown, sizeof shown, message, "");
    text_make_utf8(message);
    json_t *quoted = json_string(message);
    char *text = quoted ? json_dumps(quoted, JSON_ENCODE_ANY) : NULL;
    char *members = text_new("\"level\": \"%s\", \"message\": %s", level, text ? text : "\"\"");
    pthread_mutex_lock(&state.lock);
    const char *prefix = strcmp(level, "info") == 0 ? "" : level, *colon = *prefix ? ": " : "";
    if (to_stderr && state.size > 1) fprintf(stderr, "qtaylor: %s%s[rank %d] %s\n", prefix, colon, state.rank, shown);
    else if (to_stderr) fprintf(stderr, "qtaylor: %s%s%s\n", prefix, colon, shown);
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
