/* Lines to stderr and to the rank's log file. */
#include "base/log.h"

#include "base/clock.h"
#include "base/files.h"
#include "base/outlet.h"
#include "base/text.h"

#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WAITING_MOST = 64 * 1024, SHOWN_MOST = 1000, FLUSH = 2 }; /* bytes; bytes; s */

static struct {
    pthread_mutex_t lock;
    struct outlet *outlet;      /* NULL: straight to stderr */
    unsigned long long dropped; /* lines */
    int file;                   /* -1: none */
    int rank, size, torn;
    json_t *warnings; /* NULL: nobody wants them */
    char about[191];  /* what messages begin with, or "" */
    const char *things;
    json_t *told; /* {warning: how often it was held back}, or NULL: each is told */
} state = {.lock = PTHREAD_MUTEX_INITIALIZER, .file = -1, .size = 1};

int log_leads(void) {
    return state.rank == 0;
}

void log_rank(int rank, int size) {
    state.rank = rank;
    state.size = size;
}

int log_background(struct error *err) {
    return state.outlet ? 0 : outlet_new(&state.outlet, STDERR_FILENO, err);
}

int log_open(const char *path, struct error *err) {
    int file = file_open(path, O_WRONLY | O_CREAT | O_APPEND, err);
    if (file < 0) return -1;
    log_close();
    state.file = file;
    return 0;
}

int log_flush(void) {
    return state.outlet ? outlet_flush(state.outlet, FLUSH) : 0;
}

void log_close(void) {
    int why = log_flush();
    if (why || state.dropped)
        log_event(
            "\"level\": \"warning\", \"message\": \"standard error did not take all lines (%s); %llu were dropped\"",
            why ? outlet_why(why) : "for a while", state.dropped);
    state.dropped = 0;
    if (state.file >= 0) close(state.file);
    state.file = -1;
}

/* A line is one write, so that lines of several processes stay whole. */
static void to_file(const char *members) {
    char stamp[32];
    clock_stamp(stamp);
    if (state.file < 0) return;
    char *text = text_new("%s{\"time\": \"%s\", \"rank\": %d, %s}\n", state.torn ? "\n" : "", stamp, state.rank,
                          members);
    ssize_t length = text ? (ssize_t)strlen(text) : 0, put = text ? write(state.file, text, (size_t)length) : 0;
    if (put > 0) state.torn = put < length; /* the disk is full: the run says so itself */
    free(text);
}

/* Errors of stderr are nobody's: its lines are in the log file too. */
static void to_stderr(const char *text) {
    if (!state.outlet) fputs(text, stderr);
    else if (!outlet_put(state.outlet, text, strlen(text), WAITING_MOST)) state.dropped++;
}

void log_about(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(state.about, sizeof state.about, format, arguments);
    va_end(arguments);
}

void log_about_all(void) {
    state.about[0] = 0;
}

void log_once(const char *things) {
    json_t *told = state.told, *count;
    const char *message;
    state.told = things ? json_object() : NULL; /* without memory all are told */
    json_object_foreach(told, message, count) {
        int others = (int)json_integer_value(count);
        if (others > 0) log_warn("%d more of the %s: %s", others, state.things, message);
    }
    json_decref(told);
    state.things = things;
}

/* Was it told, and is to be told once? */
static bool held_back(const char *level, const char *message) {
    if (!state.told || strcmp(level, "warning") != 0) return false;
    pthread_mutex_lock(&state.lock);
    json_t *count = json_object_get(state.told, message);
    if (!count) json_object_set_new(state.told, message, json_integer(0));
    else json_integer_set(count, json_integer_value(count) + 1);
    pthread_mutex_unlock(&state.lock);
    return count;
}

void log_warnings_to(json_t *list) {
    state.warnings = list;
}

void log_show(const char *text) {
    pthread_mutex_lock(&state.lock);
    if (!state.outlet) fputs(text, stderr);
    else outlet_put(state.outlet, text, strlen(text), SHOWN_MOST);
    pthread_mutex_unlock(&state.lock);
}

static void line(const char *level, const char *format, va_list arguments) {
    char message[sizeof((struct error *)0)->message + 200];
    char visible[TEXT_VISIBLE * sizeof message];
    int about = state.about[0] ? snprintf(message, sizeof message, "%s: ", state.about) : 0;
    vsnprintf(message + about, sizeof message - (size_t)about, format, arguments);
    text_make_visible(visible, sizeof visible, message, "");
    text_make_utf8(message);
    if (held_back(level, message + about)) return;
    json_t *quoted = json_string(message);
    char *text = quoted ? json_dumps(quoted, JSON_ENCODE_ANY) : NULL;
    char *members = text_new("\"level\": \"%s\", \"message\": %s", level, text ? text : "\"\"");
    const char *prefix = strcmp(level, "info") == 0 ? "" : level, *colon = *prefix ? ": " : "";
    char rank[40] = "", words[sizeof visible + 100];
    if (state.size > 1) snprintf(rank, sizeof rank, "[rank %d] ", state.rank);
    snprintf(words, sizeof words, "qtaylor: %s%s%s%s\n", prefix, colon, rank, visible);
    pthread_mutex_lock(&state.lock);
    to_stderr(words);
    if (members) to_file(members);
    if (state.warnings && quoted && strcmp(level, "warning") == 0) json_array_append(state.warnings, quoted);
    pthread_mutex_unlock(&state.lock);
    free(members);
    free(text);
    json_decref(quoted);
}

void log_info(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    line("info", format, arguments);
    va_end(arguments);
}

void log_warn(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    line("warning", format, arguments);
    va_end(arguments);
}

void log_error(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    line("error", format, arguments);
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
