/* OpenBLAS, with what it does not do by itself: it maps 128 MiB for every thread that is in it at one time, and where
 * it may not, tries again for ever. */
#ifndef BASE_BLAS_H
#define BASE_BLAS_H

#include "base/error.h"

/* Before this thread's first call and after its last one: makes sure that there is memory for one thread more
 * (CODE_INTERNAL: there is none). One thread computes each call: another number may sum in another order. */
int blas_enter(struct error *err);
void blas_leave(void);
/* The same at once: is there memory for a first thread? */
int blas_try(struct error *err);

#endif
