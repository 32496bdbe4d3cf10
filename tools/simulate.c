/* The coordinator at a scale that no desk has: ranks, units and messages under a virtual clock, decided by the very
 * dispatch that clusters run. simulate RANKS UNITS CELLS DEATHS: prints one line of JSON. Units take 20 s as a median,
 * lognormal (sigma 0.3); ranks differ by a lognormal factor (sigma 0.2); a message takes 2 ms; each rank works at one
 * unit while one waits, and says every second that it lives; DEATHS ranks die at random moments of the first half. Of
 * every cell the last unit is an evaluation that needs all others. */
#include "cluster/dispatch.h"

#include "base/clock.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double UNIT = 20, DELAY = 0.002, LEASE = 30, PULSE = 1;

enum kind { ASK, ALIVE, DONE, TICK, GIVEN, FINISHED, DIES };

struct event {
    double time;
    enum kind kind;
    int rank;
    uint64_t unit;
};

struct rank {
    double slowness, busy, until; /* until: the end of the unit it works at */
    bool dead, working, has_next;
    uint64_t next;
};

static struct simulation {
    struct event *heap;
    size_t count, room;
    struct dispatch *dispatch;
    struct dispatch_reply *replies;
    struct rank *ranks;
    int size;
    double *seconds; /* [units]: at a rank of slowness 1 */
    uint64_t messages, in_second, peak;
    double second, spent, longest;
    double first_idle; /* when a rank first had nothing to do; 0: not yet */
} sim;

static void fail(const char *what) {
    fprintf(stderr, "simulate: %s\n", what);
    exit(EXIT_FAILURE);
}

/* ---- events by time ---- */

static void add(double time, enum kind kind, int rank, uint64_t unit) {
    if (sim.count == sim.room) {
        sim.room = sim.room ? 2 * sim.room : 1024;
        sim.heap = realloc(sim.heap, sim.room * sizeof *sim.heap);
        if (!sim.heap) fail("out of memory");
    }
    size_t at = sim.count++;
    for (; at > 0 && sim.heap[(at - 1) / 2].time > time; at = (at - 1) / 2) sim.heap[at] = sim.heap[(at - 1) / 2];
    sim.heap[at] = (struct event){time, kind, rank, unit};
}

static struct event next_event(void) {
    struct event first = sim.heap[0], last = sim.heap[--sim.count];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < sim.count; at = child) {
        if (child + 1 < sim.count && sim.heap[child + 1].time < sim.heap[child].time) child++;
        if (last.time <= sim.heap[child].time) break;
        sim.heap[at] = sim.heap[child];
    }
    sim.heap[at] = last;
    return first;
}

static double normal(void) {
    return sqrt(-2 * log(1 - drand48())) * cos(2 * M_PI * drand48());
}

/* ---- ranks and coordinator ---- */

static void begin(int rank, uint64_t unit, double now) {
    double taken = sim.seconds[unit] * sim.ranks[rank].slowness;
    sim.ranks[rank].working = true;
    sim.ranks[rank].busy += taken;
    sim.ranks[rank].until = now + taken;
    add(now + taken, FINISHED, rank, unit);
    add(now + DELAY, ASK, rank, 0); /* for the one that waits meanwhile */
}

static void step(const struct event *event) {
    static const enum dispatch_event_kind kinds[] = {
        [ASK] = EVENT_REQUEST, [ALIVE] = EVENT_ALIVE, [DONE] = EVENT_DONE, [TICK] = EVENT_TICK};
    struct dispatch_event asked = {kinds[event->kind], event->rank, event->unit, event->time};
    double start = clock_seconds();
    size_t replies = dispatch_step(sim.dispatch, &asked, sim.replies);
    double taken = clock_seconds() - start;
    sim.messages++;
    sim.spent += taken;
    if (taken > sim.longest) sim.longest = taken;
    if (event->time - sim.second > 1) {
        sim.second = event->time;
        sim.in_second = 0;
    }
    if (++sim.in_second > sim.peak) sim.peak = sim.in_second;
    for (size_t i = 0; i < replies; i++) {
        if (sim.replies[i].kind != REPLY_UNIT) continue;
        add(event->time + DELAY, GIVEN, sim.replies[i].rank, sim.replies[i].unit);
    }
}

static void happen(const struct event *event) {
    struct rank *rank = &sim.ranks[event->rank];
    double now = event->time;
    switch (event->kind) {
        case TICK:
            step(event);
            add(now + PULSE, TICK, 0, 0);
            return;
        case ALIVE:
            if (rank->dead) return;
            step(event);
            add(now + PULSE, ALIVE, event->rank, 0);
            return;
        case ASK:
        case DONE: step(event); return;
        case DIES:
            rank->dead = true;
            if (rank->working) rank->busy -= rank->until - now;
            return;
        case GIVEN:
            if (rank->dead) return;
            if (rank->working) {
                rank->has_next = true;
                rank->next = event->unit;
            } else {
                begin(event->rank, event->unit, now);
            }
            return;
        case FINISHED:
            if (rank->dead) return;
            add(now + DELAY, DONE, event->rank, event->unit);
            rank->working = false;
            if (rank->has_next) begin(event->rank, rank->next, now);
            else sim.first_idle = sim.first_idle ? sim.first_idle : now;
            rank->has_next = false;
    }
}

int main(int argc, char **argv) {
    struct error err;
    if (argc != 5) fail("expected RANKS UNITS CELLS DEATHS");
    sim.size = atoi(argv[1]);
    uint64_t units = strtoull(argv[2], NULL, 10), cells = strtoull(argv[3], NULL, 10), cell = units / cells;
    int deaths = atoi(argv[4]);
    uint64_t *needs = calloc(units, sizeof *needs);
    sim.ranks = calloc((size_t)sim.size, sizeof *sim.ranks);
    sim.replies = calloc((size_t)sim.size, sizeof *sim.replies);
    sim.seconds = calloc(units, sizeof *sim.seconds);
    if (!needs || !sim.ranks || !sim.replies || !sim.seconds) fail("out of memory");
    srand48(1);
    for (uint64_t i = 0; i < units; i++) sim.seconds[i] = UNIT * exp(0.3 * normal());
    for (uint64_t i = cell; i <= units && cells > 1; i += cell) needs[i - 1] = cell - 1;
    if (dispatch_new(&sim.dispatch, units, needs, sim.size, LEASE, &err) != 0) fail(err.message);
    double expected = UNIT * (double)units / sim.size;
    for (int i = 0; i < sim.size; i++) {
        sim.ranks[i].slowness = exp(0.2 * normal());
        if (i > 0 && i <= deaths) add(drand48() * expected / 2, DIES, i, 0);
        add(drand48(), ALIVE, i, 0);
        add(0.001 * i, ASK, i, 0);
    }
    add(0, TICK, 0, 0);
    double now = 0, busy = 0, there = 0, wall = clock_seconds();
    while (sim.count > 0 && !dispatch_finished(sim.dispatch)) {
        struct event event = next_event();
        now = event.time;
        if (event.kind == DIES) there += now; /* its time ends here */
        happen(&event);
    }
    if (!dispatch_finished(sim.dispatch)) fail("it does not end");
    for (int i = 0; i < sim.size; i++) {
        if (!sim.ranks[i].dead) there += now;
        busy += sim.ranks[i].busy;
    }
    printf("{\"ranks\": %d, \"units\": %" PRIu64 ", \"cells\": %" PRIu64 ", \"deaths\": %d, \"done\": %" PRIu64
           ", \"quarantined\": %" PRIu64
           ", \"hours\": %.4f, \"messages_per_second\": %.1f, \"peak_messages_per_second\": %" PRIu64
           ", \"idle_share\": %.5f, \"tail_seconds\": %.1f, \"step_microseconds\": %.3f, "
           "\"longest_step_microseconds\": %.1f, \"coordinator_share\": %.6f, \"wall_seconds\": %.2f}\n",
           sim.size, units, cells, deaths, dispatch_done(sim.dispatch), dispatch_quarantined(sim.dispatch, NULL),
           now / 3600, (double)sim.messages / now, sim.peak, 1 - busy / there, now - sim.first_idle,
           1e6 * sim.spent / (double)sim.messages, 1e6 * sim.longest, sim.spent / now, clock_seconds() - wall);
    dispatch_free(sim.dispatch);
    free(needs);
    free(sim.heap);
    free(sim.ranks);
    free(sim.replies);
    free(sim.seconds);
    return EXIT_SUCCESS;
}
