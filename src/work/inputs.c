/* Compares the feature networks and references of all ranks. */
#include "work/inputs.h"

#include "base/log.h"
#include "cluster/agree.h"
#include "base/blas.h"
#include "job/model_file.h"
#include "work/result.h"

#include <stdlib.h>
#include <string.h>

struct digests {
    char network[SHA256_HEX], reference[SHA256_HEX];
};

/* Rank 0: reads both, so that mistakes in them show now. */
static int read_inputs(struct run *run, struct references *references, bool warn, struct digests *digests,
                       struct error *err) {
    const struct side *reference;
    if (references_get(references, run, false, &reference, err) != 0 || result_fits(run, reference, warn, err) != 0)
        return -1;
    const char *recipe = side_recipe(reference);
    if (recipe[0] && json_object_set_new(run->document, "reference_recipe", json_string(recipe)) != 0)
        return error_memory(err); /* run.json is written of it */
    memcpy(digests->reference, reference->sha256, SHA256_HEX);
    memcpy(digests->network, run->network.sha256, SHA256_HEX);
    return run->job.evaluate.features ? model_file_digest(run->job.evaluate.features, digests->network, err) : 0;
}

/* Does it have a reference, and can that be read yet? */
static bool has_inputs(const struct run *run) {
    return run->job.evaluate.enabled && !run->reference_unmade;
}

static int compare_inputs(struct run *run, const struct digests *digests, struct error *err) {
    const char *features = run->job.evaluate.features, *reference = run_reference(run);
    if (features && sha256_expect(features, run->network.sha256, digests->network, err) != 0) return -1;
    if (sha256_file(reference, run->reference, err) != 0) return -1;
    return sha256_expect(reference, run->reference, digests->reference, err);
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
        if (has_inputs(&cell->run)) rc = read_inputs(&cell->run, references, warn, &digests[i], err);
        if (rc != 0 && cell->name) error_prefix(err, "cell %s", cell->name);
    }
    rc = ranks_agree(comm, rc, err);
    if (rc == 0) rc = comm_broadcast(comm, digests, cells->count * sizeof *digests, 0, err);
    for (size_t i = 0; rc == 0 && i < cells->count; i++)
        if (has_inputs(&cells->cells[i].run)) rc = compare_inputs(&cells->cells[i].run, &digests[i], err);
    free(digests);
    return ranks_agree(comm, rc, err);
}
