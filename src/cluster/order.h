/* In which order a job goes through the units when several jobs share a run directory: a pure function. Two jobs meet
 * in the middle; more of them rarely want the same unit at the same time. */
#ifndef CLUSTER_ORDER_H
#define CLUSTER_ORDER_H

#include <stdint.h>

/* The unit at a position in the order of a job before which `ahead` other jobs are at work; position < count. A
 * permutation of 0..count-1: front to back for ahead 0, back to front for 1, scattered for others, each its own way. */
uint64_t order_unit(uint64_t position, uint64_t count, int ahead);

#endif
