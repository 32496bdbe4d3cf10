#include "run/cells.h"

#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "report/results.h"
#include "report/summary.h"
#include "run/agree.h"
#include "run/result.h"

#include <stdlib.h>
#include <string.h>

struct cell {
    json_t *document;
    double cost;    /* model calls */
    size_t number;  /* in the sweep */
    size_t same_as; /* the number of the cell that makes these samples: its own as a rule */
    bool done, evaluated;
};

static const char *dir_of(const json_t *document) {
    return json_string_value(json_object_get(json_object_get(json_object_get(document, "job"), "output"), "dir"));
}

static bool same_samples(const json_t *a, const json_t *b) {
    const json_t *job_a = json_object_get(a, "job"), *job_b = json_object_get(b, "job");
    return json_equal(json_object_get(a, "fingerprint"), json_object_get(b, "fingerprint")) &&
           json_equal(json_object_get(job_a, "seeds"), json_object_get(job_b, "seeds")) &&
           json_equal(json_object_get(job_a, "evaluate"), json_object_get(job_b, "evaluate"));
}

static double cost_of(const json_t *document) {
    const json_t *plan = json_object_get(document, "plan");
    struct seeds seeds = {0};
    struct error ignored;
    const char *text = json_string_value(json_object_get(json_object_get(document, "job"), "seeds"));
    double count = text && seeds_parse(&seeds, text, &ignored) == 0 ? (double)seeds.count : 0;
    double calls = json_number_value(json_object_get(plan, "model_calls"));
    seeds_free(&seeds);
    return count * (calls > 0 ? calls : 200); /* adaptive: a guess, which only orders the cells */
}

/* Rank 0: every cell's document, so that a mistake in the last one shows before the first one runs. */
static int make_documents(const char *job_path, const struct sweep *sweep, struct cell *cells, struct error *err) {
    for (size_t i = 0; i < sweep->count; i++) {
        const struct sweep_cell *from = &sweep->cells[i];
        cells[i].number = cells[i].same_as = i;
        if (document_make(&cells[i].document, job_path, from->overrides, from->count, err) != 0 ||
            document_settle(cells[i].document, err) != 0)
            return error_prefix(err, "cell %s", from->name);
        cells[i].cost = cost_of(cells[i].document);
        for (size_t k = 0; k < i && cells[i].same_as == i; k++)
            if (same_samples(cells[i].document, cells[k].document)) cells[i].same_as = cells[k].same_as;
    }
    return 0;
}

static int dearest_first(const void *a, const void *b) {
    const struct cell *x = a, *y = b;
    if (x->cost != y->cost) return x->cost < y->cost ? 1 : -1;
    return x->number < y->number ? -1 : 1;
}

static int share_cells(struct comm *comm, struct cell **cells, size_t *count, struct error *err) {
    if (comm_broadcast(comm, count, sizeof *count, 0, err) != 0) return -1;
    if (!*cells) *cells = calloc(*count, sizeof **cells);
    int rc = ranks_agree(comm, *cells ? 0 : error_memory(err), err);
    for (size_t i = 0; rc == 0 && i < *count; i++) {
        json_t *document = (*cells)[i].document;
        if ((rc = comm_broadcast(comm, &(*cells)[i], sizeof **cells, 0, err)) != 0) break;
        (*cells)[i].document = document; /* no pointer of another process; NULL but at rank 0 */
        rc = document_share(comm, &(*cells)[i].document, err);
    }
    return rc;
}

/* Makes every cell's samples and features. What is left out for its quarantined shards is in *left_out. */
static int make_samples(struct comm *comm, struct cell *cells, size_t count, const struct pipeline_options *options,
                        struct error *left_out, bool *lost, struct error *err) {
    struct pipeline_options deferred = *options;
    deferred.defer = true;
    for (size_t i = 0; i < count; i++) {
        json_t *result = NULL;
        if (cells[i].same_as != cells[i].number) continue;
        if (comm_rank(comm) == 0) log_info("cell %zu of %zu: %s", i + 1, count, dir_of(cells[i].document));
        int rc = pipeline_run(comm, json_incref(cells[i].document), NULL, &deferred, &result, lost, err);
        json_decref(result);
        if (*lost) return rc != 0 ? rc : error_set(err, CODE_AGAIN, "a rank was lost: run again to continue");
        rc = ranks_agree(comm, rc, err);
        cells[i].done = rc == 0;
        if (rc != 0 && err->code != CODE_QUARANTINE) return -1;
        if (rc != 0) *left_out = *err;
    }
    return 0;
}

/* Rank 0's factor of a reference at every rank, whose side holds the same statistics. */
static int share_factor(struct comm *comm, struct view *view, struct error *err) {
    struct frechet *factor = &view->factor;
    int head[2] = {factor->of != NULL, factor->rank};
    if (comm_broadcast(comm, head, sizeof head, 0, err) != 0) return -1;
    if (!head[0]) return 0;
    size_t dim = view->statistics.dim, size = dim * (size_t)head[1] * sizeof *factor->factor;
    if (comm_rank(comm) != 0)
        *factor = (struct frechet){&view->statistics, malloc(size + 1), malloc(dim * sizeof *factor->order), head[1]};
    if (ranks_agree(comm, factor->factor && factor->order ? 0 : error_memory(err), err) != 0 ||
        comm_broadcast(comm, factor->factor, size, 0, err) != 0)
        return -1;
    return comm_broadcast(comm, factor->order, dim * sizeof *factor->order, 0, err);
}

/* A cell's reference, read by every rank and factored by rank 0. */
static int load_reference(struct comm *comm, json_t *document, struct side *reference, struct error *err) {
    struct run run;
    *reference = (struct side){0};
    int opened = run_open(&run, json_incref(document), NULL, err), rc = opened;
    if (rc == 0) rc = result_reference(&run, reference, err);
    if (rc == 0 && comm_rank(comm) == 0) rc = side_factor(reference, run.job.evaluate.metrics, err);
    rc = ranks_agree(comm, rc, err);
    for (int kind = 0; rc == 0 && kind < FEATURE_KINDS; kind++) rc = share_factor(comm, &reference->views[kind], err);
    if (opened == 0) run_close(&run);
    if (rc != 0) side_free(reference);
    return rc;
}

/* The cells from `first` on that have its evaluate block, each rank every size-th of them. */
static int evaluate_group(struct comm *comm, struct cell *cells, size_t count, size_t first, struct error *err) {
    struct side reference;
    const json_t *wanted = json_object_get(json_object_get(cells[first].document, "job"), "evaluate");
    size_t number = 0;
    if (load_reference(comm, cells[first].document, &reference, err) != 0) return -1;
    int rc = 0;
    for (size_t i = first; i < count; i++) {
        const json_t *theirs = json_object_get(json_object_get(cells[i].document, "job"), "evaluate");
        if (!cells[i].done || cells[i].evaluated || !json_equal(wanted, theirs)) continue;
        cells[i].evaluated = true;
        if (rc != 0 || number++ % (size_t)comm_size(comm) != (size_t)comm_rank(comm)) continue;
        json_t *result = NULL;
        rc = pipeline_conclude(json_incref(cells[i].document), &reference, &result, err);
        if (rc != 0) error_prefix(err, "%s", dir_of(cells[i].document));
        json_decref(result);
    }
    side_free(&reference);
    return ranks_agree(comm, rc, err);
}

static int evaluate(struct comm *comm, struct cell *cells, size_t count, struct error *err) {
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        const json_t *wanted = json_object_get(json_object_get(cells[i].document, "job"), "evaluate");
        if (cells[i].done && !cells[i].evaluated && json_is_object(wanted)) rc = evaluate_group(comm, cells, count, i, err);
    }
    return rc;
}

/* Rank 0: one row a cell in the sweep's order, and the files. */
static int collect(const struct sweep *sweep, const struct cell *cells, size_t count, json_t **results, struct error *err) {
    *results = results_new(sweep->dir);
    int rc = *results ? 0 : error_memory(err);
    for (size_t number = 0; rc == 0 && number < count; number++) {
        size_t i = 0, source = 0;
        while (cells[i].number != number) i++;
        while (cells[source].number != cells[i].same_as) source++;
        if (!cells[source].done) continue;
        char *path = text_new("%s/metrics.json", dir_of(cells[source].document));
        json_t *result = NULL;
        rc = path ? summary_read(&result, path, err) : error_memory(err);
        const char *same_as = source == i ? NULL : sweep->cells[cells[source].number].name;
        if (rc == 0) rc = results_add(*results, sweep->cells[number].name, sweep->cells[number].values, result, same_as, err);
        json_decref(result);
        free(path);
    }
    return rc == 0 ? results_write(*results, err) : rc;
}

int cells_run(struct comm *comm, const char *job_path, const struct sweep *sweep, const struct pipeline_options *options,
              json_t **results, bool *lost, struct error *err) {
    struct cell *cells = NULL;
    struct error left_out = {.code = CODE_OK};
    size_t count = 0;
    int rc = 0;
    *results = NULL;
    if (comm_rank(comm) == 0) {
        count = sweep->count;
        cells = calloc(count, sizeof *cells);
        rc = cells ? make_documents(job_path, sweep, cells, err) : error_memory(err);
        if (rc == 0) qsort(cells, count, sizeof *cells, dearest_first);
    }
    rc = ranks_agree(comm, rc, err);
    if (rc == 0) rc = share_cells(comm, &cells, &count, err);
    if (rc == 0) rc = make_samples(comm, cells, count, options, &left_out, lost, err);
    if (rc == 0 && options->evaluate) rc = evaluate(comm, cells, count, err);
    if (rc == 0 && comm_rank(comm) == 0) rc = collect(sweep, cells, count, results, err);
    if (rc == 0 && left_out.code != CODE_OK) {
        *err = left_out;
        rc = -1;
    }
    for (size_t i = 0; cells && i < count; i++) json_decref(cells[i].document);
    free(cells);
    return rc;
}
