/* For tests of solvers: networks of data known in closed form, a start, and a noise without chance. */
#ifndef NETWORKS_H
#define NETWORKS_H

#include "interpret.h"

static const struct network point_mass = {1, {1}, {0.7}, {0}, linear_process, PREDICTION_EPSILON, 0.5, 0, NULL};
static const struct network gaussian = {1, {1}, {0.3}, {0.4}, linear_process, PREDICTION_EPSILON, 0.5, 0, NULL};
static const struct network mixture = {
    3, {0.5, 0.3, 0.2}, {-0.8, 0.1, 0.9}, {0.2, 0.3, 0.15}, linear_process, PREDICTION_EPSILON, 0.5, 0, NULL};
static const double start[ELEMENTS] = {-1.7, -0.4, 0.2, 0.9, 2.1};

static inline double some_noise(uint32_t stream, size_t element) {
    return 2 * sin(12.9898 * (double)stream + 78.233 * (double)element);
}

#endif
