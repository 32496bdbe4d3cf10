#include "cluster/agree.h"

#include "cluster/build.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int ranks_agree(struct comm *comm, int rc, struct error *err) {
    unsigned char code = rc == 0 ? 0 : (unsigned char)(err->code ? err->code : CODE_INTERNAL);
    struct error failure;
    if (!comm) return rc;
    if (comm_merge(comm, &code, 1, &failure) != 0) {
        if (rc == 0) *err = failure;
        return -1;
    }
    if (code == 0) return 0;
    if (rc == 0) *err = (struct error){.code = (enum code)code};
    return -1;
}

int ranks_same_program(struct comm *comm, struct error *err) {
    struct program { char host[64], build[192]; } mine = {.host = ""}, *all = malloc((size_t)comm_size(comm) * sizeof mine);
    gethostname(mine.host, sizeof mine.host - 1);
    build_describe(mine.build, sizeof mine.build);
    int rc = all ? comm_gather(comm, &mine, sizeof mine, all, err) : error_memory(err);
    for (int i = 1; rc == 0 && i < comm_size(comm); i++)
        if (memcmp(all[0].build, all[i].build, sizeof mine.build) != 0)
            rc = error_set(err, CODE_DATA, "the ranks run different programs: rank 0 on %s is %s, rank %d on %s is %s; install "
                           "one build for all nodes", all[0].host, all[0].build, i, all[i].host, all[i].build);
    free(all);
    if (rc != 0 && comm_rank(comm) != 0) err->message[0] = '\0';
    return rc;
}
