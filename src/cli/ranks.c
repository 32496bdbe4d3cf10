/* Commands that MPI ranks work on together. */
#include "base/crash.h"
#include "base/log.h"
#include "cluster/agree.h"
#include "cli/command.h"

bool command_leave_at_once;

int command_ranks(const struct call *call, command_work *work, void *context, struct error *err) {
    struct comm *comm = NULL;
    int argc = call->argc;
    char **argv = call->argv;
    if (log_background(err) != 0) return -1;
    crash_let();
    int rc = comm_start(&comm, &argc, &argv, err);
    crash_catch(NULL);
    if (rc != 0) return -1;
    log_rank(comm_rank(comm), comm_size(comm));
    rc = ranks_same_program(comm, argc, argv, err);
    if (rc == 0) rc = work(comm, call, context, err);
    if (rc != 0 && err->message[0]) { /* now: a launcher may kill the last rank to leave */
        log_error("%s", err->message);
        log_flush();
        err->message[0] = '\0';
        /* A lack of memory or a bug may have struck between two collective calls, in which the others wait. */
        if (err->code == CODE_INTERNAL && comm_size(comm) > 1) comm_abort(comm, CODE_INTERNAL);
    }
    if (!command_leave_at_once) comm_finish(comm);
    return rc;
}
