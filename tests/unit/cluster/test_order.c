/* The order of a job's units beside other jobs: a permutation for any number of units and jobs, as documented for the
 * first two, and so that several jobs at one pace seldom want the same unit. */
#include "cluster/order.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void every_order_is_a_permutation(void **state) {
    (void)state;
    enum { MOST = 400 };
    for (uint64_t count = 1; count <= MOST; count++)
        for (int ahead = 0; ahead < 12; ahead++) {
            bool seen[MOST] = {false};
            for (uint64_t i = 0; i < count; i++) {
                uint64_t unit = order_unit(i, count, ahead);
                if (unit >= count || seen[unit])
                    fail_msg("%d of %d with %d ahead: %d", (int)i, (int)count, ahead, (int)unit);
                seen[unit] = true;
            }
        }
}

static void front_to_back_then_back_to_front(void **state) {
    (void)state;
    for (uint64_t i = 0; i < 10; i++) {
        assert_int_equal(order_unit(i, 10, 0), i);
        assert_int_equal(order_unit(i, 10, 1), 9 - i);
    }
    assert_int_equal(order_unit(UINT64_MAX / 2, UINT64_MAX, 1), UINT64_MAX / 2);
    assert_true(order_unit(UINT64_MAX / 2, UINT64_MAX, 5) < UINT64_MAX);
}

/* Jobs that take one unit each in turn, and pass over what is done: how much of the work is done twice at most? */
static void jobs_seldom_meet(void **state) {
    (void)state;
    enum { COUNT = 500 };
    for (int jobs = 2; jobs <= 6; jobs++) {
        bool done[COUNT] = {false};
        int computed = 0;
        uint64_t at[6] = {0};
        for (bool any = true; any;) {
            uint64_t taken[6];
            any = false;
            for (int job = 0; job < jobs; job++) { /* all look before anyone is done */
                while (at[job] < COUNT && done[order_unit(at[job], COUNT, job)]) at[job]++;
                taken[job] = at[job] < COUNT ? order_unit(at[job]++, COUNT, job) : COUNT;
                any |= taken[job] < COUNT;
                computed += taken[job] < COUNT;
            }
            for (int job = 0; job < jobs; job++)
                if (taken[job] < COUNT) done[taken[job]] = true;
        }
        printf("%d jobs compute %d units of %d\n", jobs, computed, COUNT);
        if (computed > COUNT + COUNT / 20 + jobs) fail_msg("%d jobs computed %d units of %d", jobs, computed, COUNT);
        if (jobs == 2) assert_true(computed <= COUNT + 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_order_is_a_permutation),
        cmocka_unit_test(front_to_back_then_back_to_front),
        cmocka_unit_test(jobs_seldom_meet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
