/* Compares the feature networks and references of all ranks. */
#include "work/inputs.h"

#include "base/log.h"
#include "cluster/agree.h"
#include "base/blas.h"
#include "job/model_file.h"
#include "work/evaluation.h"

#include <stdlib.h>
#include <string.h>

struct digests { /* of a cell's feature networks */
    struct {
        char network[SHA256_HEX], files[EVALUATED_FILES][SHA256_HEX];
    } of[EVALUATED_MOST];
};

/* Rank 0: reads both, so that mistakes in them show now. */
static int read_inputs(struct run *run, struct references *references, bool warn, struct digests *digests,
                       struct error *err) {
    for (size_t i = 0; i < run->evaluated_count; i++) {
        const struct evaluated *evaluated = &run->evaluated[i];
        const struct side *files[EVALUATED_FILES];
        if (references_all(references, run, i, false, files, err) != 0 ||
            evaluation_fits(run, i, files, warn, err) != 0)
            return -1;
        for (int which = 0; which < EVALUATED_FILES; which++)
            if (files[which]) memcpy(digests->of[i].files[which], files[which]->sha256, SHA256_HEX);
        memcpy(digests->of[i].network, evaluated->network.sha256, SHA256_HEX);
        if (evaluated->path && model_file_digest(evaluated->path, digests->of[i].network, err) != 0) return -1;
    }
    return 0;
}

static int compare_inputs(struct run *run, const struct digests *digests, struct error *err) {
    for (size_t i = 0; i < run->evaluated_count; i++) {
        struct evaluated *evaluated = &run->evaluated[i];
        if (evaluated->path &&
            sha256_expect(evaluated->path, evaluated->network.sha256, digests->of[i].network, err) != 0)
            return -1;
        for (enum evaluated_file which = 0; which < EVALUATED_FILES; which++) {
            const char *path = run_evaluated_file(run, i, which);
            if (!path) continue;
            if (sha256_file(path, evaluated->files[which].sha256, err) != 0 ||
                sha256_expect(path, evaluated->files[which].sha256, digests->of[i].files[which], err) != 0)
                return -1;
        }
    }
    return 0;
}

int inputs_agree(struct comm *comm, struct cells *cells, struct references *references, struct error *err) {
    struct digests *digests = calloc(cells->count, sizeof *digests);
    bool first = comm_rank(comm) == 0;
    int rc = digests ? 0 : error_memory(err);
    for (size_t i = 0; rc == 0 && i < cells->count; i++)
        if (cells->cells[i].run.job.evaluate.enabled)
            rc = blas_try(err); /* by every rank: one of them will compute the metrics */
    for (size_t i = 0; rc == 0 && first && i < cells->count; i++) {
        struct cell *cell = &cells->cells[i];
        bool warn = i == 0 || cell->run.job.seeds.count != cell[-1].run.job.seeds.count; /* else it has been said */
        struct error why;
        if (run_check(&cell->run, &why) != 0)
            log_warn("%s", why.message); /* samples that are there are what they are */
        if (cell->run.job.evaluate.enabled) rc = read_inputs(&cell->run, references, warn, &digests[i], err);
        if (rc != 0 && cell->name) error_prefix(err, "cell %s", cell->name);
    }
    rc = ranks_agree(comm, rc, err);
    if (rc == 0) rc = comm_broadcast(comm, digests, cells->count * sizeof *digests, 0, err);
    for (size_t i = 0; rc == 0 && i < cells->count; i++)
        if (cells->cells[i].run.job.evaluate.enabled) rc = compare_inputs(&cells->cells[i].run, &digests[i], err);
    free(digests);
    return ranks_agree(comm, rc, err);
}
