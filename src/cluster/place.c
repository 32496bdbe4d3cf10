/* Which device and how many workers this rank has. */
#include "cluster/place.h"

#include "base/log.h"
#include "base/text.h"
#include "cluster/agree.h"
#include "sample/model.h"
#include "torch_shim.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { GPU_WORKERS = 2 }; /* one drives the GPU while the other quantises, compresses and writes */

struct seat { /* what the ranks tell each other */
    char host[64], device[80], machine[128];
    int workers;
    struct error err; /* code CODE_OK: none */
};

static int cores_of(pid_t process) { /* those it may use; 0: this one */
    cpu_set_t set;
    return sched_getaffinity(process, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

static int cores_allowed(void) {
    return cores_of(0);
}

int place_cores(const struct comm *comm) {
    int mine = cores_allowed(), online = (int)sysconf(_SC_NPROCESSORS_ONLN);
    int share = mine < online ? mine : mine / comm_local_size(comm);
    return share > 0 ? share : 1;
}

static int choose_device(const struct comm *comm, const struct job *job, int *device, struct error *err) {
    if (model_device(job->device, comm_local_rank(comm), "device:", device, err) != 0) return -1;
    int devices = *device == SHIM_CPU ? 0 : shim_device_count();
    if (comm_local_size(comm) <= devices || job->share_device || devices <= 1) return 0;
    return error_set(err, CODE_DATA,
                     "%d ranks on a node that shows %d GPUs: start %d ranks a node, or allow several ranks on one GPU "
                     "with share_device: true",
                     comm_local_size(comm), devices, devices);
}

static int refuse_doubles(const struct seat *seats, int size, struct error *err) {
    for (int a = 0; a < size; a++)
        for (int b = a + 1; b < size; b++)
            if (strcmp(seats[a].device, "cpu") != 0 && strcmp(seats[a].device, seats[b].device) == 0)
                return error_set(err, CODE_DATA,
                                 "ranks %d and %d share one GPU (%s on %s): bind one GPU a rank (srun "
                                 "--gpus-per-task=1), or say share_device: true",
                                 a, b, seats[a].device, seats[a].host);
    return 0;
}

static int record(json_t **hosts, const struct seat *seats, int size, struct error *err) {
    *hosts = json_array();
    for (int i = 0; i < size; i++)
        if (json_array_append_new(*hosts, json_pack("{s:i, s:s, s:s, s:s, s:i}", "rank", i, "host", seats[i].host,
                                                    "device", seats[i].device, "machine", seats[i].machine, "workers",
                                                    seats[i].workers)) != 0) {
            json_decref(*hosts);
            *hosts = NULL;
            return error_memory(err);
        }
    return 0;
}

/* More workers than cores would only take turns. *cut: what was asked for, or 0. */
static int count_workers(const struct comm *comm, const struct job *job, int device, int *cut) {
    int cores = cores_allowed();
    *cut = 0;
    if (!job->workers) return device == SHIM_CPU ? place_cores(comm) : GPU_WORKERS;
    if (job->workers <= cores) return job->workers;
    *cut = job->workers;
    return cores;
}

/* Open MPI's mpirun binds up to two ranks to a core each, and with them all their workers. */
static void warn_of_binding(const struct comm *comm, const struct job *job, int cut) {
    int mine = cores_allowed(), launcher = getenv("OMPI_COMM_WORLD_RANK") ? cores_of(getppid()) : 0;
    if ((!job->workers || cut) && mine * comm_local_size(comm) < launcher)
        log_warn("mpirun binds each rank here to %d of %d cores: to use all of them say mpirun --bind-to none", mine,
                 launcher);
}

/* "3 ranks on 2 hosts (node1: 2, node2: 1), cpu, 4 workers each": what runs where, in one line. */
static void log_places(const struct seat *seats, int size) {
    struct text hosts = {0};
    int count = 0, gpus = 0, least = seats[0].workers, most = least;
    for (int i = 0; i < size; i++) {
        int here = 0, first = i;
        for (int k = 0; k < size; k++)
            if (strcmp(seats[k].host, seats[i].host) == 0) {
                here++;
                if (k < first) first = k;
            }
        if (seats[i].workers < least) least = seats[i].workers;
        if (seats[i].workers > most) most = seats[i].workers;
        gpus += strcmp(seats[i].device, "cpu") != 0;
        if (first < i) continue;
        if (count++ < 8) text_add(&hosts, "%s%s: %d", count > 1 ? ", " : "", seats[i].host, here);
    }
    if (count > 8) text_add(&hosts, ", ...");
    char workers[48], *line;
    snprintf(workers, sizeof workers, least == most ? "%d" : "%d to %d", least, most);
    line = text_new("%d rank%s on %d host%s (%s), %s, %s worker%s each", size, size == 1 ? "" : "s", count,
                    count == 1 ? "" : "s", hosts.data ? hosts.data : "",
                    gpus == 0      ? "cpu"
                    : gpus == size ? "a GPU each"
                                   : "GPUs and cpu mixed",
                    workers, most == 1 ? "" : "s");
    log_info("%s", line ? line : "");
    free(line);
    text_release(&hosts);
}

int place_rank(struct comm *comm, const struct job *job, struct place *place, json_t **hosts, struct error *err) {
    struct seat mine = {.err = {.code = CODE_OK}};
    int size = comm_size(comm), cut;
    char message[SHIM_ERROR];
    *place = (struct place){.ranks = size};
    *hosts = NULL;
    gethostname(mine.host, sizeof mine.host - 1);
    strcpy(mine.device, "cpu");
    if (choose_device(comm, job, &place->device, &mine.err) == 0 && place->device != SHIM_CPU &&
        shim_device_identity(place->device, mine.device, sizeof mine.device, message) != 0)
        error_set(&mine.err, CODE_DATA, "cannot identify GPU %d: %s", place->device, message);
    shim_describe_device(place->device, mine.machine, sizeof mine.machine);
    mine.workers = place->workers = count_workers(comm, job, place->device, &cut);
    struct seat *seats = malloc((size_t)size * sizeof *seats);
    int rc = ranks_agree(comm, seats ? 0 : error_memory(err), err);
    if (rc == 0) rc = comm_gather(comm, &mine, sizeof mine, seats, err);
    for (int i = 0; rc == 0 && i < size; i++) {
        place->all_workers += seats[i].workers;
        if (seats[i].err.code != CODE_OK) rc = (*err = seats[i].err, -1);
    }
    if (rc == 0 && !job->share_device) rc = refuse_doubles(seats, size, err);
    if (rc == 0) rc = record(hosts, seats, size, err);
    if (rc == 0 && comm_rank(comm) == 0) {
        if (cut)
            log_warn("workers: %d, but this process may use %d core%s: %d worker%s", cut, place->workers,
                     place->workers == 1 ? "" : "s", place->workers, place->workers == 1 ? "" : "s");
        log_places(seats, size);
        if (place->device == SHIM_CPU) warn_of_binding(comm, job, cut);
    }
    free(seats);
    return rc;
}
