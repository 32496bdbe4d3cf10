/* Compares the feature networks and references of all ranks. */
#include "work/inputs.h"

#include "base/digests.h"
#include "base/log.h"
#include "cluster/agree.h"
#include "base/blas.h"
#include "job/model_file.h"
#include "sample/conditions.h"
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
        const char *recipe = side_recipe(files[EVALUATED_REFERENCE]);
        if (recipe[0] && json_object_set_new(run->document, "reference_recipe", json_string(recipe)) != 0)
            return error_memory(err); /* run.json is written of it */
        for (int which = 0; which < EVALUATED_FILES; which++)
            if (files[which]) memcpy(digests->of[i].files[which], files[which]->sha256, SHA256_HEX);
        memcpy(digests->of[i].network, evaluated->network.sha256, SHA256_HEX);
        if (evaluated->path && model_file_digest(evaluated->path, digests->of[i].network, err) != 0) return -1;
    }
    return 0;
}

/* Does it have a reference, and can that be read yet? */
static bool has_inputs(const struct run *run) {
    return run->job.evaluate.enabled && !run->reference_unmade;
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
            if (digest_file(path, evaluated->files[which].sha256, err) != 0 ||
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
        bool warn = i == 0 || cell->run.layout.samples != cell[-1].run.layout.samples; /* else it has been said */
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

/* ---- digests of large files ---- */

/* What this rank knows of each file, in the order of the names; reads: those that it does not know, too. */
static int find_digests(struct digest *digests, const json_t *names, bool reads, struct error *err) {
    const char *name;
    json_t *ignored;
    char hex[SHA256_HEX];
    size_t i = 0;
    json_object_foreach((json_t *)names, name, ignored) {
        if (digest_look(&digests[i], name, err) != 0) return -1;
        bool unknown = !digests[i].hex[0];
        if (reads && unknown && (digest_file(name, hex, err) != 0 || digest_look(&digests[i], name, err) != 0))
            return -1;
        i++;
    }
    return 0;
}

/* Takes over what others found out of files that are the same here: key for key. */
static void adopt(const struct digest *mine, const struct digest *theirs, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(mine[i].key, theirs[i].key) == 0) digest_adopt(&theirs[i]);
}

static int share(struct comm *comm, const json_t *names, struct error *err) {
    size_t count = json_object_size(names), ranks = (size_t)comm_size(comm);
    struct digest *mine = calloc(count, sizeof *mine), *all = calloc(ranks * count, sizeof *all);
    bool first = comm_rank(comm) == 0, leads = comm_local_rank(comm) == 0;
    int rc = mine && all ? find_digests(mine, names, first, err) : error_memory(err);
    rc = ranks_agree(comm, rc, err);
    if (rc == 0 && first) memcpy(all, mine, count * sizeof *mine);
    if (rc == 0) rc = comm_broadcast(comm, all, count * sizeof *all, 0, err);
    if (rc == 0) adopt(mine, all, count);
    if (rc == 0) rc = ranks_agree(comm, find_digests(mine, names, leads, err), err);
    if (rc == 0) rc = comm_gather(comm, mine, count * sizeof *mine, all, err);
    for (size_t i = 0; rc == 0 && i < ranks; i++) adopt(mine, all + i * count, count);
    free(mine);
    free(all);
    return rc;
}

int inputs_share_digests(struct comm *comm, const struct cells *cells, struct error *err) {
    json_t *names = json_object();
    int rc = names ? 0 : error_memory(err);
    for (size_t i = 0; rc == 0 && i < cells->count; i++)
        if (cells->cells[i].solves)
            rc = conditions_names(names, &cells->cells[i].run.card, &cells->cells[i].run.job, err);
    rc = ranks_agree(comm, rc, err);
    if (rc == 0 && json_object_size(names) > 0) rc = share(comm, names, err);
    json_decref(names);
    return rc;
}
