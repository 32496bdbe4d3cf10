/* What a new solver can't get wrong in silence: a form with more terms than fit makes no plan. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "solver/builder.h"

static int compile(int terms, bool by_form, struct error *err) {
    struct plan plan = {.registers = 1};
    struct sampler sampler = {.solver = "new"};
    struct builder builder = {.plan = &plan, .sampler = &sampler, .scratch = -1, .unguided = -1};
    struct form form = {.count = 0}, sum = {.count = 0};
    for (int i = 0; i < terms; i++) form_add(&form, 1, i);
    form_add(&form, 1, 0); /* is there already */
    form_add_form(&sum, 2, &form);
    builder_lincomb(&builder, 0, by_form ? &sum : &form);
    int rc = builder_finish(&builder, err);
    if (rc == 0) assert_int_equal(plan.ops[0].terms_count, terms);
    plan_release(&plan);
    return rc;
}

static void too_many_terms(void **state) {
    struct error err;
    (void)state;
    for (int by_form = 0; by_form < 2; by_form++) {
        assert_int_equal(compile(FORM_TERMS, by_form, &err), 0);
        assert_int_equal(compile(FORM_TERMS + 1, by_form, &err), -1);
        assert_int_equal(err.code, CODE_INTERNAL);
        assert_non_null(strstr(err.message, "FORM_TERMS"));
        assert_int_equal(compile(3 * FORM_TERMS, by_form, &err), -1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(too_many_terms)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
