/* Opening a run for a command that reads its samples alone. */
#include "cli/command.h"
#include "run/run.h"

int command_open_run(struct run *run, const char *dir, struct error *err) {
    json_t *document;
    if (document_read(&document, dir, err) != 0) return -1;
    return run_open(run, document, dir, false, err);
}
