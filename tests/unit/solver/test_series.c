/* Truncated power series against Taylor coefficients written down from textbooks. */
#include "interpret.h"

#include "solver/series.h"

enum { ORDER = 12 };

static double factorial(int n) {
    return tgamma(n + 1.0);
}

static const double h_alone[ORDER + 1] = {0, 1};

static void products_and_quotients(void **state) {
    (void)state;
    double one_plus[ORDER + 1] = {1, 1}, one_minus[ORDER + 1] = {1, -1}, out[ORDER + 1];
    series_mul(ORDER, one_plus, one_minus, out); /* 1 - h^2 */
    for (int k = 0; k <= ORDER; k++) assert_close(out[k], k == 0 ? 1 : k == 2 ? -1 : 0, 0);
    series_div(ORDER, one_plus, one_minus, out); /* 1 + 2 h + 2 h^2 + ... */
    for (int k = 0; k <= ORDER; k++) assert_close(out[k], k == 0 ? 1 : 2, 0);
    series_scale(ORDER, 0.5, out, out);
    series_add(ORDER, out, one_plus, out);
    assert_close(out[0], 1.5, 0);
    assert_close(out[1], 2, 0);
    assert_close(out[7], 1, 0);
}

static void elementary_functions(void **state) {
    (void)state;
    double argument[ORDER + 1] = {0.3, -2}, out[ORDER + 1], back[ORDER + 1], root = 1;
    series_exp(ORDER, argument, out);
    for (int k = 0; k <= ORDER; k++) assert_close(out[k], exp(0.3) * pow(-2, k) / factorial(k), 1e-15);
    series_log(ORDER, out, back);
    for (int k = 0; k <= ORDER; k++) assert_close(back[k], argument[k], 1e-14);
    const double four_plus[ORDER + 1] = {4, 1}; /* sqrt(4 + h) = 2 sum binomial(1/2, k) (h/4)^k */
    series_sqrt(ORDER, four_plus, out);
    for (int k = 0; k <= ORDER; k++) {
        assert_close(out[k], 2 * root / pow(4, k), 1e-16);
        root *= (0.5 - k) / (k + 1);
    }
}

static void composition(void **state) {
    (void)state;
    double geometric[ORDER + 1], inner[ORDER + 1] = {7, 1, 1}, out[ORDER + 1]; /* inner[0] does not count */
    for (int k = 0; k <= ORDER; k++) geometric[k] = 1;
    series_compose(ORDER, geometric, inner, out); /* 1/(1 - h - h^2): Fibonacci's numbers */
    for (int k = 0, a = 1, b = 1; k <= ORDER; k++, b += a, a = b - a) assert_close(out[k], a, 0);
    series_compose(ORDER, geometric, h_alone, out);
    for (int k = 0; k <= ORDER; k++) assert_close(out[k], 1, 0);
    assert_close(series_value(ORDER, geometric, 0.5), 2 - pow(0.5, ORDER), 1e-15);
}

static void order_zero(void **state) {
    (void)state;
    double a = 2, b = 5, out;
    series_mul(0, &a, &b, &out);
    assert_close(out, 10, 0);
    series_exp(0, &a, &out);
    assert_close(out, exp(2), 0);
    series_compose(0, &a, &b, &out);
    assert_close(out, 2, 0);
    assert_close(series_value(0, &a, 3), 2, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(products_and_quotients), cmocka_unit_test(elementary_functions),
                                       cmocka_unit_test(composition), cmocka_unit_test(order_zero)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
