/* A library for LD_PRELOAD that makes system calls of qtaylor fail on demand. QTAYLOR_FAULTS holds faults, separated by
 * ";", each a list of words:
 *
 *   rank=1          only in this rank; left out: in every one
 *   call=write      write, read, fsync, close, open (fopen too), link (renameat2 too), rename (those too), mkdir,
 *                   unlink, stat, lstat, fstat, opendir, scandir; or one of these groups:
 *                     file    any up to unlink but read
 *                     look    any that says what is there: open, and stat to scandir
 *                     tick    those of file, and nanosleep
 *                     malloc  calloc, realloc, strdup, ... called by the program or by jansson
 *   path=TEXT       only calls on a path that holds TEXT
 *   n=3, n=3+       the third such call of the process; the third and all later ones
 *   do=ENOSPC       it fails with that error, or
 *   do=short        write: half of it is written, or
 *   do=SIGKILL      the process sends itself that signal before the call; after: when the call is done; all: to the
 *                   launcher and all ranks of its session too, or
 *   do=away         the folder of the file that was to be opened is renamed to NAME.away before
 *   clock=86400     nothing fails, but the rank's wall clock is so many seconds ahead
 *
 * QTAYLOR_FAULT_LOG=FILE: a line "rank fault count" a fault when a process ends by itself, "rank fault fired" when one
 * happens first. */
#include <ctype.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MOST_FAULTS = 8, WORD = 256 };

struct named {
    const char *name;
    int number;
};
static const struct named errors[] = {{"ENOSPC", ENOSPC}, {"EIO", EIO},       {"EDQUOT", EDQUOT}, {"EROFS", EROFS},
                                      {"ENOENT", ENOENT}, {"EACCES", EACCES}, {"EMFILE", EMFILE}, {"ENOMEM", ENOMEM},
                                      {"EINTR", EINTR},   {"EPERM", EPERM},   {"ESTALE", ESTALE}};
static const struct named signals[] = {
    {"SIGKILL", SIGKILL}, {"SIGTERM", SIGTERM}, {"SIGUSR1", SIGUSR1}, {"SIGSTOP", SIGSTOP}};

static struct fault {
    char call[WORD], path[WORD], action[WORD];
    long n;
    bool on, all, after;
    int error, signal; /* 0: none */
    atomic_long count;
    atomic_bool fired;
} faults[MOST_FAULTS];
static int faults_count, rank;
static long skew;
static _Thread_local bool inside; /* a call made by this library itself */

static int number_of(const char *name, const struct named *table, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(table[i].name, name) == 0) return table[i].number;
    return 0;
}

static void note(int index, long count) {
    const char *file = getenv("QTAYLOR_FAULT_LOG");
    char line[100];
    int length = count < 0 ? snprintf(line, sizeof line, "%d %d fired\n", rank, index)
                           : snprintf(line, sizeof line, "%d %d %ld\n", rank, index, count);
    long fd = file ? syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND, 0666) : -1;
    if (fd < 0) return;
    syscall(SYS_write, fd, line, length);
    syscall(SYS_close, fd);
}

/* False: not a fault of this rank. */
static bool parse(struct fault *fault, char *text) {
    bool mine = true;
    *fault = (struct fault){.n = -1};
    for (char *rest = text, *word; (word = strsep(&rest, " "));) {
        char *value = strchr(word, '=');
        if (value) *value++ = '\0';
        if (strcmp(word, "rank") == 0) mine = atoi(value) == rank;
        else if (strcmp(word, "call") == 0) snprintf(fault->call, WORD, "%s", value);
        else if (strcmp(word, "path") == 0) snprintf(fault->path, WORD, "%s", value);
        else if (strcmp(word, "do") == 0) snprintf(fault->action, WORD, "%s", value);
        else if (strcmp(word, "n") == 0) fault->n = atol(value), fault->on = strchr(value, '+') != NULL;
        else if (strcmp(word, "all") == 0) fault->all = true;
        else if (strcmp(word, "after") == 0) fault->after = true;
        else if (strcmp(word, "clock") == 0 && mine) skew = atol(value);
    }
    fault->error = number_of(fault->action, errors, sizeof errors / sizeof *errors);
    fault->signal = number_of(fault->action, signals, sizeof signals / sizeof *signals);
    return mine && fault->call[0];
}

__attribute__((constructor)) static void start(void) {
    const char *text = getenv("QTAYLOR_FAULTS"), *number = getenv("OMPI_COMM_WORLD_RANK");
    if (!number) number = getenv("SLURM_PROCID");
    rank = number ? atoi(number) : 0;
    if (!text || strcmp(program_invocation_short_name, "qtaylor") != 0) return;
    char copy[2000];
    snprintf(copy, sizeof copy, "%s", text);
    for (char *rest = copy, *one; (one = strsep(&rest, ";")) && faults_count < MOST_FAULTS;)
        if (parse(&faults[faults_count], one)) faults_count++;
}

__attribute__((destructor)) static void stop(void) {
    for (int i = 0; i < faults_count; i++) note(i, faults[i].count);
}

/* ---- what happens ---- */

static bool takes_part(pid_t pid) {
    static const char *const names[] = {"qtaylor\n", "mpirun\n", "orted\n"};
    char path[64], name[32] = "";
    snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
    FILE *file = fopen(path, "r");
    bool found = false;
    if (file && fgets(name, sizeof name, file))
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) found |= strcmp(name, names[i]) == 0;
    if (file) fclose(file);
    return found;
}

static void signal_session(int number) {
    DIR *proc = opendir("/proc");
    pid_t session = getsid(0);
    for (struct dirent *entry; proc && (entry = readdir(proc));) {
        pid_t pid = atoi(entry->d_name);
        if (pid > 0 && pid != getpid() && getsid(pid) == session && takes_part(pid)) kill(pid, number);
    }
    kill(getpid(), number);
}

static void move_away(const char *path) {
    char folder[4096], away[4200];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash) *slash = '\0';
    snprintf(away, sizeof away, "%s.away", folder);
    syscall(SYS_rename, folder, away);
}

/* list: words, each with a blank before and behind. */
static bool is_in(const char *call, const char *list) {
    char word[WORD];
    snprintf(word, sizeof word, " %s ", call);
    return strstr(list, word);
}

static bool concerns(const struct fault *fault, const char *call, const char *path) {
    bool sleeps = strcmp(call, "nanosleep") == 0;
    if (strcmp(fault->call, "tick") == 0 && sleeps) return true;
    bool same = strcmp(fault->call, call) == 0 || (strcmp(fault->call, "rename") == 0 && strcmp(call, "link") == 0) ||
                (is_in(call, " write fsync close open rename link mkdir unlink ") &&
                 is_in(fault->call, " file tick ")) ||
                (is_in(call, " open stat lstat fstat opendir scandir ") && strcmp(fault->call, "look") == 0);
    return same && (!fault->path[0] || (path && strstr(path, fault->path)));
}

/* The fault that this call meets, or NULL. Every call is counted once a fault. */
static struct fault *meet(const char *call, const char *path) {
    struct fault *met = NULL;
    if (inside) return NULL;
    for (int i = 0; i < faults_count; i++) {
        struct fault *fault = &faults[i];
        if (!concerns(fault, call, path)) continue;
        long count = atomic_fetch_add(&fault->count, 1) + 1;
        if (fault->n < 1 || !(count == fault->n || (fault->on && count > fault->n))) continue;
        met = fault;
        if (!atomic_exchange(&fault->fired, true)) note(i, -1);
    }
    return met;
}

static void act(const struct fault *fault, const char *path, bool after) {
    if (!fault || fault->after != after) return;
    inside = true;
    if (fault->signal) {
        if (fault->all) signal_session(fault->signal);
        else if (fault->signal == SIGSTOP)
            raise(SIGSTOP); /* sent to the process it may find this thread a few calls further */
        else kill(getpid(), fault->signal);
    }
    if (path && strcmp(fault->action, "away") == 0) move_away(path);
    inside = false;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
/* One call of `type name`: the fault before, the real one, the fault after. */
#define CALL(type, failure, name, path, real) \
    struct fault *fault = meet(name, path); \
    act(fault, path, false); \
    if (fault && fault->error) { \
        errno = fault->error; \
        return failure; \
    } \
    type result = real; \
    act(fault, path, true); \
    return result

/* ---- file calls ---- */

static const char *path_of(int fd, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = faults_count ? readlink(link, path, size - 1) : -1;
    path[length > 0 ? length : 0] = '\0';
    return path;
}

ssize_t write(int fd, const void *data, size_t size) {
    char path[4096];
    path_of(fd, path, sizeof path);
    struct fault *fault = meet("write", path);
    act(fault, path, false);
    if (fault && fault->error) return errno = fault->error, -1;
    if (fault && strcmp(fault->action, "short") == 0 && size > 1) size /= 2;
    ssize_t result = NEXT(write)(fd, data, size);
    act(fault, path, true);
    return result;
}

ssize_t read(int fd, void *data, size_t size) {
    char path[4096];
    path_of(fd, path, sizeof path);
    CALL(ssize_t, -1, "read", path, NEXT(read)(fd, data, size));
}

int fsync(int fd) {
    char path[4096];
    path_of(fd, path, sizeof path);
    CALL(int, -1, "fsync", path, NEXT(fsync)(fd));
}

int close(int fd) { /* one that fails has closed all the same */
    char path[4096];
    path_of(fd, path, sizeof path);
    struct fault *fault = meet("close", path);
    act(fault, path, false);
    int result = NEXT(close)(fd);
    act(fault, path, true);
    return fault && fault->error ? (errno = fault->error, -1) : result;
}

int open(const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    CALL(int, -1, "open", path, (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode));
}

FILE *fopen(const char *path, const char *mode) {
    CALL(FILE *, NULL, "open", path, NEXT(fopen)(path, mode));
}

int rename(const char *from, const char *to) {
    CALL(int, -1, "rename", to, NEXT(rename)(from, to));
}

int link(const char *from, const char *to) {
    CALL(int, -1, "link", to, NEXT(link)(from, to));
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
    CALL(int, -1, "link", to, NEXT(renameat2)(from_folder, from, to_folder, to, flags));
}

int stat(const char *path, struct stat *info) {
    CALL(int, -1, "stat", path, NEXT(stat)(path, info));
}

int lstat(const char *path, struct stat *info) {
    CALL(int, -1, "lstat", path, NEXT(lstat)(path, info));
}

int fstat(int fd, struct stat *info) {
    char path[4096];
    path_of(fd, path, sizeof path);
    CALL(int, -1, "fstat", path, NEXT(fstat)(fd, info));
}

DIR *opendir(const char *path) {
    CALL(DIR *, NULL, "opendir", path, NEXT(opendir)(path));
}

int scandir(const char *path, struct dirent ***entries, int (*choose)(const struct dirent *),
            int (*compare)(const struct dirent **, const struct dirent **)) {
    CALL(int, -1, "scandir", path, NEXT(scandir)(path, entries, choose, compare));
}

int mkdir(const char *path, mode_t mode) {
    CALL(int, -1, "mkdir", path, NEXT(mkdir)(path, mode));
}

int unlink(const char *path) {
    CALL(int, -1, "unlink", path, NEXT(unlink)(path));
}

int nanosleep(const struct timespec *wanted, struct timespec *left) {
    CALL(int, -1, "nanosleep", NULL, NEXT(nanosleep)(wanted, left));
}

/* ---- clocks ---- */

int clock_gettime(clockid_t clock, struct timespec *now) {
    int rc = (int)syscall(SYS_clock_gettime, clock, now);
    if (rc == 0 && clock == CLOCK_REALTIME) now->tv_sec += skew;
    return rc;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}

/* ---- memory: only what the program and jansson ask for, since neither MPI nor libc promises to survive ---- */

static struct {
    uintptr_t begin, end;
} ours[2];

static int find_module(struct dl_phdr_info *info, size_t size, void *context) {
    (void)size, (void)context;
    int slot = info->dlpi_name[0] == '\0' && !ours[0].end ? 0 : strstr(info->dlpi_name, "libjansson") ? 1 : -1;
    for (int i = 0; slot >= 0 && i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_LOAD && info->dlpi_phdr[i].p_flags & PF_X) {
            ours[slot].begin = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
            ours[slot].end = ours[slot].begin + info->dlpi_phdr[i].p_memsz;
        }
    return 0;
}

static bool memory_fails(const void *caller) {
    bool counted = false;
    if (inside || faults_count == 0) return false;
    for (int i = 0; i < faults_count; i++) counted |= strcmp(faults[i].call, "malloc") == 0;
    if (!counted) return false;
    if (!ours[0].end) {
        inside = true;
        dl_iterate_phdr(find_module, NULL);
        inside = false;
    }
    for (int i = 0; i < 2; i++)
        if ((uintptr_t)caller >= ours[i].begin && (uintptr_t)caller < ours[i].end && meet("malloc", NULL)) {
            errno = ENOMEM;
            return true;
        }
    return false;
}

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
#define CALLER __builtin_return_address(0)

void *malloc(size_t size) {
    return memory_fails(CALLER) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    return memory_fails(CALLER) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size) {
    return memory_fails(CALLER) ? NULL : __libc_realloc(old, size);
}

#undef strdup
#undef strndup
char *strdup(const char *text) {
    return memory_fails(CALLER) ? NULL : strcpy(__libc_malloc(strlen(text) + 1), text);
}

char *strndup(const char *text, size_t most) {
    size_t length = strnlen(text, most);
    char *copy = memory_fails(CALLER) ? NULL : __libc_malloc(length + 1);
    if (copy) {
        memcpy(copy, text, length);
        copy[length] = 0;
    }
    return copy;
}

int vasprintf(char **out, const char *format, va_list arguments) {
    if (memory_fails(CALLER)) return *out = NULL, -1;
    return NEXT(vasprintf)(out, format, arguments);
}
