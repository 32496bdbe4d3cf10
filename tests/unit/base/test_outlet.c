/* What waits for a reader that is slow, asleep or gone. */
#include "base/outlet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SIZE = 1 << 20 };

static struct outlet *new_pipe(int ends[2]) {
    struct error err;
    struct outlet *outlet;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(outlet_new(&outlet, ends[1], &err), 0);
    return outlet;
}

static void *read_slowly(void *context) {
    int from = *(int *)context;
    char *all = malloc(SIZE + 1);
    size_t size = 0;
    for (ssize_t got; size < SIZE && (got = read(from, all + size, SIZE + 1 - size)) > 0; usleep(1000))
        size += (size_t)got;
    return all;
}

static void all_of_it_in_order(void **state) {
    (void)state;
    int ends[2];
    struct outlet *outlet = new_pipe(ends);
    pthread_t reader;
    void *got;
    char *text = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++) text[i] = (char)('a' + i * i % 23);
    pthread_create(&reader, NULL, read_slowly, &ends[0]);
    for (size_t at = 0; at < SIZE; at += SIZE / 64) assert_true(outlet_put(outlet, text + at, SIZE / 64, SIZE));
    assert_int_equal(outlet_flush(outlet, 5), 0);
    pthread_join(reader, &got);
    assert_memory_equal(got, text, SIZE);
    free(got);
    free(text);
}

static void nobody_reads(void **state) {
    (void)state;
    int ends[2];
    struct outlet *outlet = new_pipe(ends);
    char *text = calloc(1, SIZE);
    pthread_t reader;
    void *got;
    assert_true(outlet_put(outlet, text, SIZE, SIZE));
    assert_false(outlet_put(outlet, text, 1000, 1000)); /* more waits than the pipe holds */
    assert_int_equal(outlet_flush(outlet, 1), ETIMEDOUT);
    assert_int_equal(outlet_flush(outlet, 1000000), ETIMEDOUT); /* at once */
    pthread_create(&reader, NULL, read_slowly, &ends[0]);
    pthread_join(reader, &got);
    assert_int_equal(outlet_flush(outlet, 5), 0); /* it woke up */
    free(got);
    free(text);
}

static void who_reads_leaves(void **state) {
    (void)state;
    int ends[2];
    struct outlet *outlet = new_pipe(ends);
    close(ends[0]);
    outlet_put(outlet, "text", 4, SIZE);
    assert_int_equal(outlet_flush(outlet, 5), EPIPE);
    assert_false(outlet_put(outlet, "text", 4, SIZE));
    assert_int_equal(outlet_flush(outlet, 5), EPIPE);
}

static void a_signal_handler_does_not_wait(void **state) {
    (void)state;
    int ends[2];
    char bytes[4096] = {0};
    assert_int_equal(pipe(ends), 0);
    outlet_now(ends[1], "text", 4);
    assert_int_equal(read(ends[0], bytes, sizeof bytes), 4);
    fcntl(ends[1], F_SETFL, O_NONBLOCK);
    while (write(ends[1], bytes, sizeof bytes) > 0) {}
    fcntl(ends[1], F_SETFL, 0);
    outlet_now(ends[1], "text", 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_of_it_in_order), cmocka_unit_test(nobody_reads),
                                       cmocka_unit_test(who_reads_leaves),
                                       cmocka_unit_test(a_signal_handler_does_not_wait)};
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
