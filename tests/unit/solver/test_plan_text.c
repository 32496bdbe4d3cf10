/* A plan as text: every op of jobs/README.md, "The plan", as jansson would write it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "format/json_file.h"
#include "solver/plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct term terms[] = {{1, 0}, {-0.1, 12}, {1e-9, 63}};
static struct op ops[] = {
    {.kind = OP_EVAL, .dst = 1, .time = 0.7, .labels = EVAL_NULL, .model = 1, .dst2 = 2},
    {.kind = OP_EVAL, .dst = 1, .src = 3, .time = 999, .labels = EVAL_NONE},
    {.kind = OP_LINCOMB, .dst = 0, .terms = terms, .terms_count = 3, .channels = {1, 3}},
    {.kind = OP_LINCOMB, .dst = 10, .terms = terms, .terms_count = 1},
    {.kind = OP_NOISE, .dst = 4, .stream = 4294967295},
    {.kind = OP_CLAMP, .dst = 1, .low = -1, .high = 1.5},
    {.kind = OP_RESCALE, .dst = 1, .src = 2, .like = 3, .phi = 0.25},
    {.kind = OP_MULEXP, .dst = 1, .src = 2, .a = 1e20, .b = -1e-5},
    {.kind = OP_THRESHOLD, .dst = 1, .quantile = 0.995, .low = 1, .high = INFINITY},
    {.kind = OP_THRESHOLD, .dst = 1, .quantile = 0.995, .low = 1, .high = 2},
    {.kind = OP_PROJECT, .dst = 1, .src = 2, .like = 3},
    {.kind = OP_LIMIT, .dst = 1, .high = 2.5},
    {.kind = OP_GUIDE, .dst = 1, .src = 2, .like = 3, .channels = {0, 1}},
};
static struct plan_step steps[] = {{1, 0.5, 0, 1, -INFINITY}, {0.5, 0, 0.6, 0.8, -0.25}};
static const struct plan every = {.solver = "a \"b\" \xc3\xa9",
                                  .nfe = 2,
                                  .model_calls = 4,
                                  .registers = 64,
                                  .initial_scale = 1,
                                  .steps = steps,
                                  .steps_count = 2,
                                  .ops = ops,
                                  .ops_count = sizeof ops / sizeof *ops};
static const char expected[] =
    "{'solver':'a \\'b\\' \xc3\xa9','nfe':2,'model_calls':4,'registers':64,'initial_scale':1.0,'steps':["
    "{'t':1.0,'s':0.5,'alpha':0.0,'sigma':1.0,'logsnr':null},"
    "{'t':0.5,'s':0.0,'alpha':0.59999999999999998,'sigma':0.80000000000000004,'logsnr':-0.25}],'ops':["
    "{'op':'EVAL','dst':1,'src':0,'time':0.69999999999999996,'labels':'null','model':1,'dst2':2},"
    "{'op':'EVAL','dst':1,'src':3,'time':999.0,'labels':'none','model':0},"
    "{'op':'LINCOMB','dst':0,'terms':[[1.0,0],[-0.10000000000000001,12],[1.0000000000000001e-9,63]],'channels':[1,3]},"
    "{'op':'LINCOMB','dst':10,'terms':[[1.0,0]]},"
    "{'op':'NOISE','dst':4,'stream':4294967295},"
    "{'op':'CLAMP','dst':1,'lo':-1.0,'hi':1.5},"
    "{'op':'RESCALE','dst':1,'src':2,'like':3,'phi':0.25},"
    "{'op':'MULEXP','dst':1,'src':2,'a':1e20,'b':-1.0000000000000001e-5},"
    "{'op':'THRESHOLD','dst':1,'quantile':0.995,'lo':1.0,'hi':null},"
    "{'op':'THRESHOLD','dst':1,'quantile':0.995,'lo':1.0,'hi':2.0},"
    "{'op':'PROJECT','dst':1,'src':2,'onto':3},"
    "{'op':'LIMIT','dst':1,'norm':2.5},"
    "{'op':'GUIDE','dst':1,'src':2,'guide':3,'channels':[0,1]}]}";

static void every_op(void **state) {
    (void)state;
    char *text = plan_text(&every), wanted[sizeof expected];
    assert_non_null(text);
    for (size_t i = 0; i < sizeof wanted; i++) wanted[i] = expected[i] == '\'' ? '"' : expected[i];
    assert_string_equal(text, wanted);
    json_t *json = plan_to_json(&every);
    char *again = json_text(json, JSON_COMPACT | JSON_REAL_PRECISION(17));
    assert_string_equal(again, text);
    free(again);
    json_decref(json);
    free(text);
}

static void adaptive(void **state) {
    (void)state;
    const struct plan plan = {.solver = "rk45", .adaptive = true, .registers = 1, .initial_scale = 80, .rtol = 0.5};
    char *text = plan_text(&plan);
    assert_string_equal(text,
                        "{\"solver\":\"rk45\",\"nfe\":null,\"model_calls\":null,\"registers\":1,\"initial_scale\":"
                        "80.0,\"steps\":[],\"ops\":[],\"adaptive\":{\"method\":\"rk45\",\"rtol\":0.5,\"atol\":"
                        "0.0}}");
    free(text);
}

/* Such a plan must not come to a run. */
static void no_number(void **state) {
    (void)state;
    const double none[] = {NAN, INFINITY};
    for (size_t i = 0; i < 2; i++) {
        struct op op = {.kind = OP_LIMIT, .high = none[i]};
        struct plan_step step = {.sigma = none[i]};
        struct plan with_op = {.solver = "x", .ops = &op, .ops_count = 1}, with_scale = {.initial_scale = none[i]},
                    with_step = {.solver = "x", .steps = &step, .steps_count = 1};
        assert_null(plan_text(&with_op));
        assert_null(plan_text(&with_step));
        assert_null(plan_text(&with_scale));
    }
}

/* The same packed, as JSON and before it is, and out of it. */
static void packed(void **state) {
    (void)state;
    struct error err;
    json_t *json = plan_to_json(&every), *one = plan_pack(&every), *other = plan_pack_json(json),
           *same = plan_pack_json(one);
    char *text = plan_text(&every), *out, sha256[SHA256_HEX];
    assert_true(json_equal(one, other) && same == one && plan_is_packed(one) && !plan_is_packed(json));
    assert_int_equal(plan_json_digest(json, sha256, &err), 0);
    assert_string_equal(json_string_value(json_object_get(one, "sha256")), sha256);
    assert_int_equal(plan_unpack(&out, one, &err), 0);
    assert_string_equal(out, text);
    free(out);
    free(text);
    json_decref(same);
    json_decref(other);
    json_decref(one);
    json_decref(json);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_op), cmocka_unit_test(adaptive),
                                       cmocka_unit_test(no_number), cmocka_unit_test(packed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
