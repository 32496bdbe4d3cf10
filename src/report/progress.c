/* Rate and ETA of a run, told on stderr and in progress.json. */
#include "report/progress.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "format/json_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Seconds between outputs. */
static const double terminal_line = 0.5, first_line = 5, line = 60, file = 10, mark = 1;

static double work(const struct progress *progress, uint64_t done) {
    return progress->work_total > 0 ? progress->work : (double)done;
}

static void add_mark(struct progress *progress, double now, uint64_t done) {
    size_t slot = progress->marks_count++ % PROGRESS_MARKS;
    progress->marks[slot] = (struct progress_mark){now, done, work(progress, done)};
}

void progress_start(struct progress *progress) {
    if (!progress->clock) progress->clock = clock_seconds;
    progress->terminal = isatty(STDERR_FILENO);
    progress->start = progress->clock();
    progress->work = progress->work_before;
    progress->next_line = progress->start + (progress->terminal ? 0 : first_line);
    progress->next_file = progress->start;
    add_mark(progress, progress->start, progress->before);
}

/* What rates are measured from. Shards come in lumps, which a minute evens out; the last call tells the mean of the
 * job. */
static struct progress_mark base(const struct progress *progress, int finished) {
    if (finished) return (struct progress_mark){progress->start, progress->before, progress->work_before};
    return progress->marks[progress->marks_count > PROGRESS_MARKS ? progress->marks_count % PROGRESS_MARKS : 0];
}

/* Samples a second. */
static double rate(const struct progress *progress, double now, uint64_t done, int finished) {
    struct progress_mark from = base(progress, finished);
    return done > from.done && now > from.time ? (double)(done - from.done) / (now - from.time) : 0;
}

/* Seconds to the end; negative: unknown. */
static double eta(const struct progress *progress, double now, uint64_t done) {
    struct progress_mark from = base(progress, 0);
    double total = progress->work_total > 0 ? progress->work_total : (double)progress->total;
    double current = work(progress, done), per_second = (current - from.work) / (now - from.time);
    if (done >= progress->total) return 0;
    return current > from.work && now > from.time ? (total - current) / per_second : -1;
}

void progress_duration(struct text *text, double seconds) {
    unsigned long long s = (unsigned long long)(seconds + 0.5);
    if (s >= 3600) text_add(text, "%llu h %02llu min", s / 3600, s / 60 % 60);
    else if (s >= 60) text_add(text, "%llu min %02llu s", s / 60, s % 60);
    else if (s >= 10) text_add(text, "%llu s", s);
    else text_add(text, "%.1f s", seconds);
}

static void print_line(const struct progress *progress, uint64_t done, double per_second, double now, int ranks,
                       int finished) {
    struct text text = {0};
    double percent = progress->total > 0 ? 100.0 * (double)done / (double)progress->total : 100;
    text_add(&text, "%llu/%llu samples (%.1f%%), %.1f samples/s", (unsigned long long)done,
             (unsigned long long)progress->total, percent, per_second);
    if (progress->nfe > 0) text_add(&text, ", %.0f NFE/s", per_second * progress->nfe);
    if (finished) {
        text_add(&text, ", took ");
        progress_duration(&text, now - progress->start);
    } else if (progress->eta > 0) {
        text_add(&text, ", ETA ");
        progress_duration(&text, progress->eta);
    }
    text_add(&text, ", %d rank%s", ranks, ranks == 1 ? "" : "s");
    if (text.data && progress->terminal && !finished) {
        char *shown = text_new("\r%s\x1b[K", text.data); /* [K: clears what a longer line left */
        if (shown) log_show(shown);
        free(shown);
    } else if (text.data) {
        if (progress->terminal) log_show("\r\x1b[K");
        log_info("%s", text.data);
    }
    text_release(&text);
}

static void write_file(struct progress *progress, uint64_t done, double per_second, int ranks, int finished) {
    char stamp[32];
    struct error err = {0};
    clock_stamp(stamp);
    json_t *seconds = progress->eta < 0 ? json_null() : json_real(progress->eta);
    json_t *nfe = progress->nfe > 0 ? json_integer(progress->nfe) : json_null();
    json_t *json = json_pack("{s:s, s:I, s:I, s:f, s:o, s:i, s:o, s:s}", "time", stamp, "done", (json_int_t)done,
                             "total", (json_int_t)progress->total, "rate", per_second, "eta_seconds", seconds, "ranks",
                             ranks, "nfe", nfe, "state", finished ? "finished" : "running");
    char *path = text_new("%s/progress.json", progress->run_dir);
    int rc = json && path ? json_file_write(path, json, &err) : error_memory(&err);
    if (rc != 0 && !progress->warned) {
        log_warn("`qtaylor status` will not see this run: %s", err.message);
        progress->warned = 1;
    }
    json_decref(json);
    free(path);
}

void progress_update(struct progress *progress, uint64_t done, int ranks_alive, int finished) {
    double now = progress->clock();
    size_t newest = (progress->marks_count - 1) % PROGRESS_MARKS;
    if (now - progress->marks[newest].time >= mark) add_mark(progress, now, done);
    double per_second = progress->rate = rate(progress, now, done, finished);
    progress->eta = eta(progress, now, done);
    if (finished || now >= progress->next_line) {
        print_line(progress, done, per_second, now, ranks_alive, finished);
        progress->next_line = now + (progress->terminal ? terminal_line : line);
    }
    if (finished || now >= progress->next_file) {
        write_file(progress, done, per_second, ranks_alive, finished);
        progress->next_file = now + file;
    }
}
