/* A list of references that were read, under a lock. */
#include "work/reference.h"

#include "work/evaluation.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct reference {
    struct reference *next;
    const char *path; /* borrowed from a run */
    char network[SHA256_HEX];
    unsigned metrics;
    bool factored;
    struct side side;
};

struct references {
    pthread_mutex_t lock; /* while one is read, the others wait: they want the same one as a rule */
    struct reference *first;
};

int references_new(struct references **references, struct error *err) {
    if (!(*references = calloc(1, sizeof **references))) return error_memory(err);
    pthread_mutex_init(&(*references)->lock, NULL);
    return 0;
}

void references_free(struct references *references) {
    if (!references) return;
    for (struct reference *reference = references->first, *next; reference; reference = next) {
        next = reference->next;
        side_release(&reference->side);
        free(reference);
    }
    pthread_mutex_destroy(&references->lock);
    free(references);
}

static int find_or_read(struct references *references, const struct run *run, size_t network, enum evaluated_file which,
                        struct reference **found, struct error *err) {
    const char *path = run_evaluated_file(run, network, which), *sha256 = run->evaluated[network].network.sha256;
    for (*found = references->first; *found; *found = (*found)->next)
        if (strcmp((*found)->path, path) == 0 && strcmp((*found)->network, sha256) == 0 &&
            (*found)->metrics == run->job.evaluate.metrics)
            return 0;
    struct reference *made = calloc(1, sizeof *made);
    if (!made) return error_memory(err);
    *made = (struct reference){.next = references->first, .path = path, .metrics = run->job.evaluate.metrics};
    memcpy(made->network, sha256, SHA256_HEX);
    if (evaluation_reference(run, network, which, &made->side, err) != 0) {
        free(made);
        return -1;
    }
    *found = references->first = made;
    return 0;
}

static int references_get(struct references *references, const struct run *run, size_t network,
                          enum evaluated_file which, bool factor, const struct side **side, struct error *err) {
    struct reference *reference;
    pthread_mutex_lock(&references->lock);
    int rc = find_or_read(references, run, network, which, &reference, err);
    if (rc == 0 && factor && !reference->factored && (rc = side_factor(&reference->side, reference->metrics, err)) == 0)
        reference->factored = true;
    if (rc == 0) *side = &reference->side;
    pthread_mutex_unlock(&references->lock);
    return rc;
}

int references_all(struct references *references, const struct run *run, size_t network, bool factor,
                   const struct side *files[EVALUATED_FILES], struct error *err) {
    for (enum evaluated_file which = 0; which < EVALUATED_FILES; which++) {
        files[which] = NULL;
        if (run_evaluated_file(run, network, which) &&
            references_get(references, run, network, which, factor && which == EVALUATED_REFERENCE, &files[which],
                           err) != 0)
            return -1;
    }
    return 0;
}
