/* Every state that the coordinator's machine can reach, breadth first: 3 ranks and 4 units, messages of any delay in
 * order between two ranks, at most 2 ranks lost and 2 leases that expire on ranks that live. From each state all that
 * can happen happens, in every order, with the code that clusters run. The rules:
 *   - a unit goes to a rank only when nobody else who has it is free of blame (lost, or silent for a lease), and never
 *     once it is known to be done;
 *   - what the coordinator counts as done is on disk, each unit once; a unit is quarantined only after two losses;
 *   - where nothing can happen any more, all is done, quarantined or skipped and every living rank was told so (no
 * deadlock, no unit lost);
 *   - no run comes back to a state it was in: so every run ends. */
#include "cluster/dispatch.h"
#include "state_set.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#ifdef __SANITIZE_ADDRESS__ /* several times slower: a corner of it */
enum { RANKS = 2, MOST = 1 };
#else
enum { RANKS = 3, MOST = 2 };
#endif
enum { UNITS = 4, ALL_RANKS = (1 << RANKS) - 1 };
static const double LEASE = 10;

/* The coordinator sees letters, not work: a unit that is on its way to a rank, being made, or made while the letter
 * that says so is under way, is all the same to it, however long each takes. So a rank is what it may still say: that
 * it is done with one of its units, that it wants another. Sets are bits. */
struct world {
    uint8_t has[RANKS];          /* units */
    uint8_t asking;              /* ranks whose request is under way */
    uint8_t dead, told, stopped; /* ranks; told: STOP is on its way */
    uint8_t blamed;              /* ranks that were silent for a lease and still have a unit from before */
    uint8_t done;                /* units, as far as the coordinator was told */
    uint8_t losses, expiries, failures;
};

struct node {
    struct world world;
    struct dispatch *dispatch;
    double now;
};

static struct limits { /* of what happens in a run */
    int held;          /* units a rank has at a time */
    int losses, expiries, failures;
    uint64_t needs[UNITS]; /* see dispatch_new */
} limits;

static void fail_node(const struct node *node, const char *rule, int rank, int unit) {
    fail_msg("%s (rank %d, unit %d; dead %x)", rule, rank, unit, node->world.dead);
}

static bool is_in(unsigned set, int index) {
    return set >> index & 1;
}

/* ---- the coordinator ---- */

static void give(struct node *node, int rank, int unit) {
    struct world *world = &node->world;
    if (unit >= UNITS) fail_node(node, "no such unit", rank, unit);
    if (is_in(world->done, unit)) fail_node(node, "a unit that is done is given out", rank, unit);
    for (uint64_t i = 1; i <= limits.needs[unit]; i++)
        if (!is_in(world->done, unit - (int)i)) fail_node(node, "given out before what it needs is done", rank, unit);
    for (int other = 0; other < RANKS; other++)
        if (is_in(world->has[other], unit) && !is_in(world->blamed, other))
            fail_node(node, "two ranks without blame have one unit", rank, unit);
    if (is_in(world->dead, rank)) return; /* nobody is there */
    world->has[rank] |= (uint8_t)(1 << unit);
    if (__builtin_popcount(world->has[rank]) < limits.held) world->asking |= (uint8_t)(1 << rank);
}

static void step(struct node *node, enum dispatch_event_kind kind, int rank, int unit) {
    struct world *world = &node->world;
    struct dispatch_event event = {kind, rank, (uint64_t)unit, node->now};
    struct dispatch_reply replies[RANKS];
    uint64_t before = dispatch_done(node->dispatch);
    bool news = kind == EVENT_DONE && !is_in(world->done, unit);
    if (news) world->done |= (uint8_t)(1 << unit);
    size_t count = dispatch_step(node->dispatch, &event, replies);
    for (size_t i = 0; i < count; i++) {
        if (replies[i].kind == REPLY_UNIT) {
            give(node, replies[i].rank, (int)replies[i].unit);
            continue;
        }
        if (!dispatch_finished(node->dispatch)) fail_node(node, "stopped too early", replies[i].rank, -1);
        world->told = ALL_RANKS; /* the coordinator tells everybody */
    }
    uint64_t quarantined = dispatch_quarantined(node->dispatch, NULL);
    if (dispatch_done(node->dispatch) != before + news) fail_node(node, "counted wrong", rank, unit);
    if (quarantined > 0 && world->losses + world->expiries + world->failures < 2)
        fail_node(node, "quarantined too early", rank, -1);
}

/* A lease goes by in which `silent` and the dead say nothing. */
static void pass_time(struct node *node, int silent) {
    node->world.blamed |= (uint8_t)(1 << silent);
    for (int i = 0; i < 6; i++) {
        node->now += LEASE / 5;
        for (int rank = 0; rank < RANKS; rank++)
            if (rank != silent && !is_in(node->world.dead, rank) && dispatch_alive(node->dispatch, rank))
                step(node, EVENT_ALIVE, rank, 0);
        step(node, EVENT_TICK, 0, 0);
    }
    assert_false(dispatch_alive(node->dispatch, silent));
}

/* ---- what can happen ---- */

enum {
    REQUEST,
    LEAVE,
    NOTICE,
    COME_BACK,
    DONE,
    PROGRESS = DONE + UNITS,
    LOSE = PROGRESS,
    EXPIRE,
    FAILED,
    ACTIONS = FAILED + UNITS
};

static bool is_possible(const struct node *node, int action, int rank) {
    const struct world *world = &node->world;
    bool dead = is_in(world->dead, rank), lives = !is_in(world->dead | world->stopped, rank);
    bool there = dispatch_alive(node->dispatch, rank);
    switch (action) {
        case REQUEST: return is_in(world->asking, rank);
        case LEAVE: return lives && is_in(world->told, rank);
        case NOTICE: return dead && there;
        case COME_BACK: return lives && !there;
        case LOSE: return lives && rank != 0 && world->losses < limits.losses; /* rank 0 is the coordinator's own */
        case EXPIRE: return lives && there && world->expiries < limits.expiries;
        default: break;
    }
    if (action < PROGRESS) return is_in(world->has[rank], action - DONE);
    return is_in(world->has[rank], action - FAILED) && world->failures < limits.failures;
}

static void leave(struct world *world, int rank) {
    world->has[rank] = 0;
    world->asking &= (uint8_t) ~(1 << rank);
}

/* One whose hands were full has not asked yet. */
static void drop(struct world *world, int rank, int unit) {
    if (__builtin_popcount(world->has[rank]) == limits.held) world->asking |= (uint8_t)(1 << rank);
    world->has[rank] &= (uint8_t) ~(1 << unit);
}

static void act(struct node *node, int action, int rank) {
    struct world *world = &node->world;
    uint8_t bit = (uint8_t)(1 << rank);
    switch (action) {
        case REQUEST:
            world->asking &= (uint8_t)~bit;
            step(node, EVENT_REQUEST, rank, 0);
            break;
        case LEAVE: /* what it was at is dropped */
            world->stopped |= bit;
            leave(world, rank);
            break;
        case NOTICE: pass_time(node, rank); break;               /* that it is dead */
        case COME_BACK: step(node, EVENT_ALIVE, rank, 0); break; /* with nothing to tell but that */
        case LOSE:
            world->losses++;
            world->dead |= bit;
            leave(world, rank);
            break;
        case EXPIRE:
            world->expiries++;
            pass_time(node, rank);
            break;
        default:
            drop(world, rank, action < PROGRESS ? action - DONE : action - FAILED);
            world->failures += action >= FAILED;
            step(node, action < PROGRESS ? EVENT_DONE : EVENT_FAILED, rank,
                 action < PROGRESS ? action - DONE : action - FAILED);
    }
    for (int other = 0; other < RANKS; other++) { /* what cannot matter any more is the same in all states */
        if (!world->has[other]) world->blamed &= (uint8_t) ~(1 << other);
        if (is_in(world->dead | world->stopped, other)) world->told &= (uint8_t) ~(1 << other);
    }
}

static void check_end(const struct node *node) {
    const struct world *world = &node->world;
    if (!dispatch_finished(node->dispatch)) fail_node(node, "the work does not end", -1, -1);
    for (int rank = 0; rank < RANKS; rank++)
        if (!is_in(world->dead | world->stopped, rank)) fail_node(node, "waits for ever", rank, -1);
    assert_int_equal(dispatch_done(node->dispatch) + dispatch_quarantined(node->dispatch, NULL) +
                         dispatch_skipped(node->dispatch),
                     UNITS);
}

static uint64_t hash_of(const struct node *node) {
    unsigned char bytes[sizeof(struct world) + 200] = {0};
    memcpy(bytes, &node->world, sizeof node->world); /* bytes throughout: no padding */
    size_t used = dispatch_state(node->dispatch, node->now, bytes + sizeof node->world, 190);
    assert_true(used > 0);
    uint64_t hash = 1;
    for (size_t i = 0; i < sizeof node->world + used; i += 8) {
        uint64_t word;
        memcpy(&word, bytes + i, sizeof word);
        hash = mix(hash, word);
    }
    return hash ? hash : 1;
}

/* ---- the exploration ---- */

struct graph {
    struct set set;
    struct node *queue; /* ring of the states that are not yet explored, as numbers first..first+waiting-1 */
    size_t room, first, waiting;
    uint32_t *edges; /* from, to, from, to, ... */
    size_t edges_count, edges_room;
    long ends;
};

static void push(struct graph *graph, const struct node *node) {
    if (graph->waiting == graph->room) {
        struct node *larger = malloc(2 * graph->room * sizeof *larger);
        assert_non_null(larger);
        for (size_t i = 0; i < graph->waiting; i++) larger[i] = graph->queue[(graph->first + i) % graph->room];
        free(graph->queue);
        graph->queue = larger;
        graph->room *= 2;
        graph->first = 0;
    }
    graph->queue[(graph->first + graph->waiting++) % graph->room] = *node;
}

static void add_edge(struct graph *graph, uint32_t from, uint32_t to) {
    if (graph->edges_count + 2 > graph->edges_room) {
        graph->edges_room *= 2;
        graph->edges = realloc(graph->edges, graph->edges_room * sizeof *graph->edges);
        assert_non_null(graph->edges);
    }
    graph->edges[graph->edges_count++] = from;
    graph->edges[graph->edges_count++] = to;
}

static void explore_node(struct graph *graph, const struct node *node, uint32_t number) {
    struct error err;
    bool goes_on = false;
    for (int i = 0; i < ACTIONS * RANKS; i++) {
        struct node next = *node;
        bool is_new;
        if (!is_possible(node, i / RANKS, i % RANKS)) continue;
        assert_int_equal(dispatch_copy(&next.dispatch, node->dispatch, &err), 0);
        act(&next, i / RANKS, i % RANKS);
        goes_on |= i / RANKS < PROGRESS;
        add_edge(graph, number, set_add(&graph->set, hash_of(&next), &is_new));
        if (is_new) push(graph, &next);
        else dispatch_free(next.dispatch);
    }
    if (goes_on) return;
    check_end(node);
    graph->ends++;
}

/* No way leads back: states without a way into them are taken away, until none is left. */
static void check_acyclic(const struct graph *graph) {
    size_t states = graph->set.count, taken = 0;
    uint32_t *into = calloc(states, sizeof *into), *first = calloc(states + 1, sizeof *first),
             *free_ones = malloc(states * sizeof *free_ones);
    assert_true(into && first && free_ones);
    for (size_t i = 0; i < graph->edges_count; i += 2) {
        first[graph->edges[i] + 1]++; /* edges lie in the order of `from` */
        into[graph->edges[i + 1]]++;
    }
    for (size_t i = 0; i < states; i++) first[i + 1] += first[i];
    size_t count = 0;
    for (size_t i = 0; i < states; i++)
        if (into[i] == 0) free_ones[count++] = (uint32_t)i;
    while (taken < count) {
        uint32_t state = free_ones[taken++];
        for (uint32_t k = first[state]; k < first[state + 1]; k++)
            if (--into[graph->edges[2 * k + 1]] == 0) free_ones[count++] = graph->edges[2 * k + 1];
    }
    assert_int_equal(taken, states);
    free(free_ones);
    free(first);
    free(into);
}

static void explore(struct limits most) {
    struct error err;
    struct graph graph = {.room = 1024, .edges_room = 4096};
    struct node start = {.world = {.asking = ALL_RANKS}, .now = 100};
    bool is_new;
    limits = most;
    set_new(&graph.set, 1 << 16);
    graph.queue = malloc(graph.room * sizeof *graph.queue);
    graph.edges = malloc(graph.edges_room * sizeof *graph.edges);
    assert_true(graph.queue && graph.edges);
    assert_int_equal(dispatch_new(&start.dispatch, UNITS, limits.needs, RANKS, LEASE, &err), 0);
    step(&start, EVENT_TICK, 0, 0);
    set_add(&graph.set, hash_of(&start), &is_new);
    push(&graph, &start);
    for (uint32_t number = 0; graph.waiting > 0; number++) {
        struct node node = graph.queue[graph.first];
        graph.first = (graph.first + 1) % graph.room;
        graph.waiting--;
        explore_node(&graph, &node, number);
        dispatch_free(node.dispatch);
    }
    check_acyclic(&graph);
    printf("%d ranks, %d units, %d at a time; %d losses, %d expired leases, %d failures: %zu states, %zu steps, %ld "
           "ends\n",
           RANKS, UNITS, most.held, most.losses, most.expiries, most.failures, graph.set.count, graph.edges_count / 2,
           graph.ends);
    assert_true(graph.ends > 0);
    free(graph.set.hashes);
    free(graph.set.numbers);
    free(graph.queue);
    free(graph.edges);
}

static void test_losses_and_expired_leases(void **state) {
    (void)state;
    explore((struct limits){.held = 1, .losses = MOST, .expiries = MOST});
}

static void test_two_units_at_a_time(void **state) {
    (void)state;
    explore((struct limits){.held = 2, .losses = MOST});
    explore((struct limits){.held = 2, .expiries = 1});
}

static void test_units_that_need_others(void **state) {
    (void)state;
    explore((struct limits){.held = 1, .losses = MOST, .failures = 1, .needs = {0, 0, 2, 0}});
    explore((struct limits){.held = 1, .losses = 1, .expiries = 1, .needs = {0, 0, 0, 3}});
}

static void test_failures_too(void **state) {
    (void)state;
    explore((struct limits){.held = 1, .losses = MOST, .failures = MOST});
    explore((struct limits){.held = 1, .expiries = 1, .failures = 1});
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_losses_and_expired_leases),
        cmocka_unit_test(test_two_units_at_a_time),
        cmocka_unit_test(test_units_that_need_others),
        cmocka_unit_test(test_failures_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
