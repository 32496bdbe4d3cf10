/* Proves the networks of all cells, and notes what differs between batches. */
#include "work/proof.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "run/claim.h"
#include "cluster/agree.h"
#include "sample/decode.h"
#include "sample/proof.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum network_kind { MODEL, GUIDE, DECODER, FEATURES /* and so many of them: */, NETWORKS = FEATURES + EVALUATED_MOST };

/* "model", "features", of several feature networks "features.NAME". */
static void name_of(const struct run *run, int kind, char name[NETWORK_NAME + 16]) {
    static const char *const names[] = {[MODEL] = "model", [GUIDE] = "guide", [DECODER] = "decoder"};
    if (kind < FEATURES) snprintf(name, NETWORK_NAME + 16, "%s", names[kind]);
    else if (run->evaluated_count == 1) snprintf(name, NETWORK_NAME + 16, "features");
    else snprintf(name, NETWORK_NAME + 16, "features.%s", run->evaluated[kind - FEATURES].network.name);
}

static const struct shim_model *network_of(const struct cell *cell, int kind) {
    switch (kind) {
        case MODEL: return cell->model;
        case GUIDE: return cell->guide;
        case DECODER: return cell->decoder;
        default: break;
    }
    size_t network = (size_t)(kind - FEATURES);
    return network < cell->run.evaluated_count ? cell->run.evaluated[network].network.model : NULL;
}

/* With batched guidance, the calls that its settings say. */
static bool same_calls(const struct run *a, const struct run *b) {
    const json_t *of_a = json_object_get(json_object_get(a->document, "sampler"), "guidance");
    const json_t *of_b = json_object_get(json_object_get(b->document, "sampler"), "guidance");
    bool batched = a->sampler.guidance.batched == BATCHED_ON || b->sampler.guidance.batched == BATCHED_ON;
    return !batched || (json_equal(of_a, of_b) && a->plan.adaptive == b->plan.adaptive);
}

/* Another cell's proof holds for this one. */
static bool same_proof(const struct cell *a, const struct cell *b, int kind) {
    return network_of(a, kind) == network_of(b, kind) && a->conditions == b->conditions &&
           a->run.job.model.row_dependent == b->run.job.model.row_dependent && same_calls(&a->run, &b->run) &&
           a->run.job.batch == b->run.job.batch && a->run.job.decode.batch == b->run.job.decode.batch &&
           a->run.job.output.dtype == b->run.job.output.dtype;
}

static int prove_model(const struct cell *cell, int kind, double *difference, struct error *err) {
    const struct run *run = &cell->run;
    struct plan plan;
    if (document_read_plan(&plan, run->document, err) != 0) return -1;
    struct proof_model of = {.job = &run->job,
                             .plan = &plan,
                             .sampler = &run->sampler,
                             .card = &run->card,
                             .model = kind == MODEL ? cell->model : cell->guide,
                             .conditions = cell->conditions,
                             .number = kind == GUIDE};
    int rc = proof_of_model(&of, difference, err);
    plan_release(&plan);
    return rc;
}

static int prove(const struct cell *cell, int kind, double *difference, struct error *err) {
    const struct run *run = &cell->run;
    if (kind == DECODER)
        return decoding_prove(run->card.decoder, cell->decoder, run->job.decode.path,
                              decoder_batch(run->card.decoder, &run->job), difference, err);
    if (kind >= FEATURES)
        return network_prove(&run->evaluated[kind - FEATURES].network, run->evaluated[kind - FEATURES].path,
                             (size_t)run->job.batch, difference, err);
    return prove_model(cell, kind, difference, err);
}

/* differences: [cells][NETWORKS] */
static int prove_all(const struct cells *cells, int device, double *differences, struct error *err) {
    char message[SHIM_ERROR];
    double start = clock_seconds();
    if (shim_thread_start(device, message) != 0) return error_set(err, CODE_INTERNAL, "%s", message);
    for (size_t i = 0; i < cells->count * NETWORKS; i++) {
        const struct cell *cell = &cells->cells[i / NETWORKS];
        size_t same = i % NETWORKS;
        if (!network_of(cell, (int)(i % NETWORKS))) continue;
        while (!same_proof(&cells->cells[same / NETWORKS], cell, (int)(i % NETWORKS))) same += NETWORKS;
        differences[i] = differences[same];
        if (same == i && prove(cell, (int)(i % NETWORKS), &differences[i], err) != 0) return -1;
    }
    log_event("\"proved\": true, \"seconds\": %.3f", clock_seconds() - start);
    return 0;
}

static int note_difference(const struct run *run, int kind, double difference, struct error *err) {
    char name[NETWORK_NAME + 16];
    name_of(run, kind, name);
    json_t *value = json_pack("{s:f}", name, difference);
    int rc = value ? claim_note(run, "row_difference", value, err) : error_memory(err);
    json_decref(value);
    return rc;
}

/* The largest over ranks, whose devices may differ. */
static int note_all(const struct comm *comm, const struct cells *cells, const double *all, bool note,
                    struct error *err) {
    size_t count = cells->count * NETWORKS;
    for (size_t i = 0; i < count; i++) {
        double difference = 0;
        for (int rank = 0; rank < comm_size(comm); rank++)
            if (all[(size_t)rank * count + i] > difference) difference = all[(size_t)rank * count + i];
        if (difference == 0) continue;
        const struct run *run = &cells->cells[i / NETWORKS].run;
        char name[NETWORK_NAME + 16];
        name_of(run, (int)(i % NETWORKS), name);
        log_warn("%s: the %s's output for one sample changes by up to %.1e of the largest output with the other "
                 "samples of the batch or its place among them: the bits hold for these seeds in these batches alone",
                 run->dir, name, difference);
        if (note && note_difference(run, (int)(i % NETWORKS), difference, err) != 0) return -1;
    }
    return 0;
}

/* Some network was not yet proved with its cell: the same on every rank. */
static bool take_new(struct cells *cells) {
    bool found = false;
    for (size_t i = 0; i < cells->count; i++)
        for (int kind = 0; kind < NETWORKS; kind++)
            if (!(cells->cells[i].proved & 1u << kind) && network_of(&cells->cells[i], kind)) {
                cells->cells[i].proved |= 1u << kind;
                found = true;
            }
    return found;
}

int prove_cells(struct comm *comm, struct cells *cells, int device, bool note, struct error *err) {
    if (!take_new(cells)) return 0;
    size_t count = cells->count * NETWORKS;
    double *differences = calloc(count, sizeof *differences);
    double *all = calloc(count * (size_t)comm_size(comm), sizeof *all);
    int rc = differences && all ? 0 : error_memory(err);
    /* A region of one thread: what torch sets for workers stays inside. */
#pragma omp parallel num_threads(1)
    if (rc == 0) rc = prove_all(cells, device, differences, err);
    rc = ranks_agree(comm, rc, err);
    if (rc == 0) rc = comm_gather(comm, differences, count * sizeof *differences, all, err);
    if (rc == 0 && comm_rank(comm) == 0) rc = note_all(comm, cells, all, note, err);
    free(differences);
    free(all);
    return ranks_agree(comm, rc, err);
}

int prove_models(const struct cell *of, int device, struct error *err) {
    struct cell cell = *of;
    struct cells cells = {.cells = &cell, .count = 1};
    double differences[NETWORKS] = {0};
    int rc = 0;
    cell.run.evaluated_count = 0;
#pragma omp parallel num_threads(1)
    rc = prove_all(&cells, device, differences, err);
    return rc;
}
