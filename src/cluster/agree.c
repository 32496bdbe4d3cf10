/* Ranks agree on how a step went, and that they are one program with one command line. */
#include "cluster/agree.h"

#include "base/hash.h"
#include "base/log.h"
#include "cluster/build.h"

#include <stdio.h>
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
    uint64_t mine = sha256_mark(err->message, strlen(err->message)), first = mine;
    bool told = comm_broadcast(comm, &first, sizeof first, 0, &failure) == 0 && comm_rank(comm) > 0 && first == mine;
    if (told) err->message[0] = '\0';
    return -1;
}

/* What launchers tell each process they start: how many there are, and its number. The nearest launcher comes first. */
static void warn_if_alone(void) {
    static const struct {
        const char *size, *rank;
    } launchers[] = {
        {"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"},
        {"PMI_SIZE", "PMI_RANK"},
        {"SLURM_STEP_NUM_TASKS", "SLURM_PROCID"}, /* of srun; SLURM_NTASKS is in every batch script */
    };
    for (size_t i = 0; i < sizeof launchers / sizeof *launchers; i++) {
        const char *size = getenv(launchers[i].size), *rank = getenv(launchers[i].rank);
        if (!size) continue;
        if (strtol(size, NULL, 10) > 1 && (!rank || strtol(rank, NULL, 10) == 0))
            log_warn("%s separate processes were started (%s), each of them alone, doing everything: MPI (%s) does not "
                     "know this launcher; say srun --mpi=pmix, or use the mpirun of that MPI",
                     size, launchers[i].size, comm_describe());
        return;
    }
}

/* Of this size in every build, for they are what is compared first. */
struct program {
    char host[64], build[192];
};

struct arguments {
    char sha256[SHA256_HEX], text[160];
};

static int same_builds(struct comm *comm, struct program *all, struct error *err) {
    struct program mine = {.host = ""};
    gethostname(mine.host, sizeof mine.host - 1);
    build_describe(mine.build, sizeof mine.build);
    if (comm_gather(comm, &mine, sizeof mine, all, err) != 0) return -1;
    for (int i = 1; i < comm_size(comm); i++)
        if (memcmp(all[0].build, all[i].build, sizeof mine.build) != 0)
            return error_set(err, CODE_DATA,
                             "the ranks run different programs: rank 0 on %s is %s, rank %d on %s is %s; install one "
                             "build for all nodes",
                             all[0].host, all[0].build, i, all[i].host, all[i].build);
    return 0;
}

static int same_arguments(struct comm *comm, int argc, char **argv, const struct program *programs,
                          struct arguments *all, struct error *err) {
    struct arguments mine = {.text = ""};
    struct sha256 *hash = sha256_new();
    for (int i = 0; hash && i < argc; i++) {
        size_t length = strlen(mine.text);
        snprintf(mine.text + length, sizeof mine.text - length, "%s%s", i ? " " : "", argv[i]);
        sha256_add(hash, argv[i], strlen(argv[i]) + 1);
    }
    if (hash) sha256_finish(hash, mine.sha256);
    if (ranks_agree(comm, hash ? 0 : error_memory(err), err) != 0 ||
        comm_gather(comm, &mine, sizeof mine, all, err) != 0)
        return -1;
    for (int i = 1; i < comm_size(comm); i++)
        if (strcmp(all[0].sha256, all[i].sha256) != 0)
            return error_set(err, CODE_USAGE,
                             "the ranks were given different arguments: rank 0 on %s \"%s\", rank %d on %s \"%s\"; "
                             "start all ranks by one command",
                             programs[0].host, all[0].text, i, programs[i].host, all[i].text);
    return 0;
}

int ranks_same_program(struct comm *comm, int argc, char **argv, struct error *err) {
    size_t size = (size_t)comm_size(comm);
    struct program *programs = malloc(size * sizeof *programs);
    struct arguments *arguments = malloc(size * sizeof *arguments);
    if (size == 1) warn_if_alone();
    int rc = programs && arguments ? same_builds(comm, programs, err) : error_memory(err);
    if (rc == 0) rc = same_arguments(comm, argc, argv, programs, arguments, err);
    free(arguments);
    free(programs);
    if (rc != 0 && comm_rank(comm) != 0) err->message[0] = '\0';
    return rc;
}
