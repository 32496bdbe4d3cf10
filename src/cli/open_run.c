/* Opening a run for a command that reads its samples alone, and a job for one that makes none. */
#include "cli/command.h"
#include "job/sweep.h"
#include "run/document.h"
#include "run/run.h"

int command_one_job(json_t **document, const char *path, const char *const *overrides, size_t count,
                    const char *command, const char *solver, struct error *err) {
    struct sweep sweep;
    struct job_file file;
    if (job_file_read(&file, path, err) != 0) return -1;
    int rc = sweep_read(&sweep, &file, overrides, count, err);
    size_t cells = sweep.count;
    sweep_release(&sweep);
    if (rc == 0 && cells > 0)
        rc = error_set(err, CODE_DATA,
                       "%s: sweep: %s takes one job, found %zu: say --set sweep=null and what else the job needs, such "
                       "as --set sampler.solver=%s --set sampler.nfe=10",
                       path, command, cells, solver);
    if (rc == 0) rc = document_make(document, &file, overrides, count, NULL, err);
    job_file_release(&file);
    return rc;
}

int command_open_run(struct run *run, const char *dir, struct error *err) {
    json_t *document;
    if (document_read(&document, dir, err) != 0) return -1;
    return run_open(run, document, dir, false, err);
}
