/* How far the run is: a live line on a terminal, one line a minute elsewhere (the first after some seconds), and
 * progress.json every 10 s: {"time", "done", "total", "rate", "eta_seconds", "ranks", "nfe", "state"}, where rate is in
 * samples a second over the last minute of this job, eta_seconds (by the work that is left) is null while unknown, nfe
 * is that of one sample (null: unknown), and state is "running", then "finished". */
#ifndef REPORT_PROGRESS_H
#define REPORT_PROGRESS_H

#include "base/error.h"

#include "base/text.h"

#include <stddef.h>
#include <stdint.h>

enum { PROGRESS_MARKS = 64 };

struct progress {
    uint64_t total;  /* samples of the whole set */
    uint64_t before; /* of them already on disk at the start */
    int nfe;         /* a sample; 0 unknown, or not the same for all */
    /* Where some samples are more work than others: in model calls, all, at the start, and (set before each update)
     * now. */
    double work_total, work_before, work;
    int ranks, workers;
    const char *run_dir; /* borrowed */
    /* The rest is progress_start's. */
    double (*clock)(void);              /* s, monotonic; clock_seconds unless a test has set another */
    int terminal;                       /* stderr is one */
    double start, next_line, next_file; /* s */
    struct progress_mark {
        double time;
        uint64_t done;
        double work;
    } marks[PROGRESS_MARKS]; /* one a second, a ring: the last minute */
    size_t marks_count;      /* ever made; the next goes to marks[marks_count % PROGRESS_MARKS] */
    int warned;
    double rate, eta; /* as last told: samples/s, and s to the end (negative: unknown) */
};

void progress_start(struct progress *progress);
/* done: samples on disk now. Prints and writes when it is time to; finished: the last call. A progress.json that can't
 * be written is a warning, once. */
void progress_update(struct progress *progress, uint64_t done, int ranks_alive, int finished);
/* Appends "3 h 05 min", "2 min 10 s", "12 s", "1.5 s". */
void progress_duration(struct text *text, double seconds);

#endif
