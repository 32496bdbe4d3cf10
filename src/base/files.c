#include "base/files.h"

#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *kind_of(mode_t mode) {
    return S_ISREG(mode)    ? "a regular file"
           : S_ISDIR(mode)  ? "a folder"
           : S_ISLNK(mode)  ? "a symbolic link"
           : S_ISFIFO(mode) ? "a FIFO"
           : S_ISSOCK(mode) ? "a socket"
                            : "a device";
}

bool file_absent(int number) {
    return number == ENOENT || number == ENOTDIR;
}

static int not_regular(const char *path, mode_t mode, struct error *err) {
    return error_set(err, CODE_IO, "cannot open %s: expected a regular file, found %s", path, kind_of(mode));
}

/* *absent: there is none. O_NONBLOCK, for a FIFO's open waits for its other end; it is not for the reads and writes after. */
static int open_regular(const char *path, int flags, bool *absent, struct error *err) {
    struct stat info;
    int fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666), number = errno;
    *absent = fd < 0 && file_absent(number);
    if (fd < 0 && (number == ENXIO || number == EISDIR) && stat(path, &info) == 0) return not_regular(path, info.st_mode, err);
    if (fd < 0) return error_set(err, CODE_IO, "cannot open %s: %s", path, strerror(number));
    if (fstat(fd, &info) != 0) error_set(err, CODE_IO, "cannot open %s: %s", path, strerror(errno));
    else if (!S_ISREG(info.st_mode)) not_regular(path, info.st_mode, err);
    else if (fcntl(fd, F_SETFL, flags & O_APPEND) != 0) error_set(err, CODE_IO, "cannot open %s: %s", path, strerror(errno));
    else return fd;
    close(fd);
    return -1;
}

int file_open(const char *path, int flags, struct error *err) {
    bool absent;
    return open_regular(path, flags, &absent, err);
}

int file_check(const char *path, struct error *err) {
    int fd = file_open(path, O_RDONLY, err);
    if (fd >= 0) close(fd);
    return fd >= 0 ? 0 : -1;
}

/* What one try of reading a file found besides. */
struct trial {
    bool absent, replaced;
};

static int read_once(const char *path, char **data, size_t *size, struct trial *trial, struct error *err) {
    int fd = open_regular(path, O_RDONLY, &trial->absent, err);
    if (fd < 0) return -1;
    struct stat info;
    char *buffer = NULL;
    size_t used = 0;
    int rc = -1;
    if (fstat(fd, &info) != 0) {
        error_set(err, CODE_IO, "cannot read %s: %s", path, strerror(errno));
        goto out;
    }
    size_t capacity = (size_t)info.st_size;
    buffer = malloc(capacity + 1);
    if (!buffer) {
        error_set(err, CODE_INTERNAL, "cannot read %s: out of memory for its %zu bytes", path, capacity);
        goto out;
    }
    while (used < capacity) {
        ssize_t got = read(fd, buffer + used, capacity - used);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            trial->replaced = errno == ESTALE;
            error_set(err, CODE_IO, "cannot read %s: %s", path, strerror(errno));
            goto out;
        }
        if (got == 0) break; /* the file shrank meanwhile */
        used += (size_t)got;
    }
    buffer[used] = '\0';
    *data = buffer;
    *size = used;
    buffer = NULL;
    rc = 0;
out:
    free(buffer);
    close(fd);
    return rc;
}

static int read_file(const char *path, char **data, size_t *size, bool *absent, struct error *err) {
    struct trial trial = {0}; /* NFS: another host renamed a new file over it, which is as good */
    *data = NULL;
    *size = 0;
    int rc = read_once(path, data, size, &trial, err);
    if (trial.replaced) rc = read_once(path, data, size, &trial, err);
    *absent = trial.absent;
    return rc;
}

int file_read(const char *path, char **data, size_t *size, struct error *err) {
    bool absent;
    return read_file(path, data, size, &absent, err);
}

int file_read_if_there(const char *path, char **data, size_t *size, struct error *err) {
    bool absent;
    struct error why;
    int rc = read_file(path, data, size, &absent, &why);
    return rc == 0 || absent ? 0 : (*err = why, -1);
}

int file_look(const char *path, struct stat *info, bool *there, struct error *err) {
    *there = stat(path, info) == 0;
    return *there || file_absent(errno) ? 0 : error_set(err, CODE_IO, "cannot look at %s: %s", path, strerror(errno));
}

int file_exists(const char *path, bool *there, struct error *err) {
    struct stat info;
    return file_look(path, &info, there, err);
}

int folder_has(const char *folder, const char *name, bool *there, struct error *err) {
    char *path = text_new("%s/%s", folder, name);
    int rc = path ? file_exists(path, there, err) : error_memory(err);
    free(path);
    return rc;
}

int file_check_place(const char *path, bool folder, struct error *err) {
    struct stat info;
    if (lstat(path, &info) != 0)
        return file_absent(errno) ? 0 : error_set(err, CODE_IO, "cannot write %s: %s", path, strerror(errno));
    if (folder ? S_ISDIR(info.st_mode) : S_ISREG(info.st_mode)) return 0;
    return error_set(err, CODE_IO, "cannot write %s: it is %s, and only a regular %s is replaced: choose another path", path,
                     kind_of(info.st_mode), folder ? "folder" : "file");
}

static int write_all(int fd, const char *data, size_t size) {
    while (size > 0) {
        ssize_t put = write(fd, data, size);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return -1;
        data += put;
        size -= (size_t)put;
    }
    return 0;
}

static int folder_sync(const char *folder) {
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return -1;
    int rc = fsync(fd);
    if (rc != 0 && errno == EINVAL) rc = 0; /* file systems that do not sync folders say so */
    close(fd);
    return rc;
}

/* How much of a name its temporary has, so that host (64), numbers (20) and what libzip adds (7) fit 255 bytes beside it. */
#define NAME_PART "%.140s"

static char *temporary_name(const char *folder, const char *name) {
    static atomic_uint count;
    char host[256] = "host";
    gethostname(host, sizeof host - 1);
    return text_new("%s/." NAME_PART ".tmp-%s-%ld-%u", folder, name, host, (long)getpid(), atomic_fetch_add(&count, 1));
}

int draft_begin(struct draft *draft, const char *path, bool folder, struct error *err) {
    const char *slash = strrchr(path, '/');
    *draft = (struct draft){0};
    if (file_check_place(path, folder, err) != 0) return -1;
    *draft = (struct draft){.path = strdup(path), .parent = path_folder(path)};
    if (draft->parent) draft->temporary = temporary_name(draft->parent, slash ? slash + 1 : path);
    if (!draft->path || !draft->temporary) {
        draft_abandon(draft);
        return error_memory(err);
    }
    int fd = folder ? mkdir(draft->temporary, 0777) : open(draft->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd >= 0 && (folder || close(fd) == 0)) return 0;
    error_set(err, CODE_IO, "cannot create %s: %s", path, strerror(errno));
    draft_abandon(draft);
    return -1;
}

/* A folder's files were not synced one by one: the whole file system is. */
static int draft_sync(const char *temporary) {
    int fd = open(temporary, O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (fd < 0) return -1;
    int rc = fstat(fd, &info) != 0 ? -1 : S_ISDIR(info.st_mode) ? syncfs(fd) : fsync(fd);
    return close(fd) != 0 ? -1 : rc;
}

/* Does this errno say that the file system lacks the call? */
static bool is_lacking(int number) {
    return number == EPERM || number == EINVAL || number == ENOSYS || number == EOPNOTSUPP;
}

static int rename_as(const struct draft *draft, unsigned flags) {
    return renameat2(AT_FDCWD, draft->temporary, AT_FDCWD, draft->path, flags);
}

/* Gives a name that nobody has; EEXIST: somebody has it. */
static int put_new(const struct draft *draft) {
    struct stat info;
    if (link(draft->temporary, draft->path) == 0) return 0;
    if (errno == EEXIST) /* NFS: so it answers too when it did it, and the first answer was lost */
        return stat(draft->temporary, &info) == 0 && info.st_nlink > 1 ? 0 : (errno = EEXIST, -1);
    if (!is_lacking(errno)) return -1;
    if (rename_as(draft, RENAME_NOREPLACE) == 0) return 0;
    if (!is_lacking(errno)) return -1;
    int fd = open(draft->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666); /* empty for a moment */
    if (fd < 0) return -1;
    close(fd);
    return rename(draft->temporary, draft->path);
}

enum put { PUT_FAILED, PUT_NEW, PUT_EXCHANGED, PUT_OVER };

static enum put put(const struct draft *draft) {
    for (;;) {
        if (put_new(draft) == 0) return PUT_NEW;
        if (errno != EEXIST) return PUT_FAILED;
        if (rename_as(draft, RENAME_EXCHANGE) == 0) return PUT_EXCHANGED;
        if (is_lacking(errno)) return rename(draft->temporary, draft->path) == 0 ? PUT_OVER : PUT_FAILED;
        if (errno != ENOENT) return PUT_FAILED; /* else the other one left meanwhile */
    }
}

static bool is_file(const char *path, const struct stat *file) {
    struct stat info;
    return stat(path, &info) == 0 && info.st_dev == file->st_dev && info.st_ino == file->st_ino;
}

/* Gives the name back to whoever had it, or has taken it since. */
static int take_back(const struct draft *draft, enum put how, const struct stat *ours) {
    if (how == PUT_NEW) return is_file(draft->path, ours) ? unlink(draft->path) : 0;
    do
        if (rename_as(draft, RENAME_EXCHANGE) != 0) return -1;
    while (!is_file(draft->temporary, ours));
    return 0;
}

/* *refused: by the guard, which has set *err; else errno says why. */
static int place(const struct draft *draft, const struct file_guard *guard, bool *refused, struct error *err) {
    struct stat ours;
    if (!guard) return rename(draft->temporary, draft->path);
    if (stat(draft->temporary, &ours) != 0) return -1;
    if (guard->check(guard->context, draft->path, err) != 0) return *refused = true, -1;
    enum put how = put(draft);
    if (how == PUT_FAILED || how == PUT_OVER) return how == PUT_OVER ? 0 : -1;
    if (guard->check(guard->context, how == PUT_NEW ? NULL : draft->temporary, err) == 0) return 0;
    if (take_back(draft, how, &ours) == 0) *refused = true;
    return -1;
}

/* *lost: an fsync failed with EIO, and what is on disk is unknown. */
static int commit(struct draft *draft, const struct file_guard *guard, bool *lost, struct error *err) {
    const char *step = "fsync";
    bool refused = false;
    int rc = draft_sync(draft->temporary);
    *lost = rc != 0 && errno == EIO;
    if (rc == 0) {
        step = "rename";
        rc = place(draft, guard, &refused, err);
    }
    if (rc == 0) {
        step = "fsync the folder of";
        rc = folder_sync(draft->parent);
    }
    if (rc != 0 && !refused) error_set(err, CODE_IO, "cannot %s %s: %s", step, draft->path, strerror(errno));
    draft_abandon(draft);
    return rc;
}

int draft_commit(struct draft *draft, struct error *err) {
    bool lost;
    return commit(draft, NULL, &lost, err);
}

void draft_abandon(struct draft *draft) {
    struct error ignored;
    if (draft->temporary) tree_remove(draft->temporary, &ignored);
    free(draft->temporary);
    free(draft->parent);
    free(draft->path);
    *draft = (struct draft){0};
}

int file_write(const char *path, const void *data, size_t size, struct error *err) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    const char *step = "create";
    int rc = fd < 0 ? -1 : 0;
    if (rc == 0) {
        step = "write";
        rc = write_all(fd, data, size);
        if (close(fd) != 0) rc = -1;
    }
    return rc == 0 ? 0 : error_set(err, CODE_IO, "cannot %s %s: %s", step, path, strerror(errno));
}

static int write_once(const char *path, const void *data, size_t size, const struct file_guard *guard, bool *lost,
                      struct error *err) {
    struct draft draft;
    *lost = false;
    if (draft_begin(&draft, path, false, err) != 0) return -1;
    if (file_write(draft.temporary, data, size, err) == 0) return commit(&draft, guard, lost, err);
    draft_abandon(&draft);
    return error_prefix(err, "%s", path);
}

int file_write_guarded(const char *path, const void *data, size_t size, const struct file_guard *guard, struct error *err) {
    bool lost;
    int rc = write_once(path, data, size, guard, &lost, err);
    return rc != 0 && lost ? write_once(path, data, size, guard, &lost, err) : rc;
}

int file_write_atomic(const char *path, const void *data, size_t size, struct error *err) {
    return file_write_guarded(path, data, size, NULL, err);
}

int tree_remove(const char *path, struct error *err) {
    char *const roots[] = {(char *)path, NULL};
    FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    if (!tree) return error_set(err, CODE_IO, "cannot list %s: %s", path, strerror(errno));
    int rc = 0;
    for (FTSENT *entry; (errno = 0, entry = fts_read(tree));) /* a folder comes before and behind what is in it */
        if (entry->fts_info != FTS_D && remove(entry->fts_path) != 0 && !file_absent(errno))
            rc = error_set(err, CODE_IO, "cannot remove %s: %s", entry->fts_path, strerror(errno));
    if (errno != 0) rc = error_set(err, CODE_IO, "cannot list %s: %s", path, strerror(errno));
    fts_close(tree);
    return rc;
}

/* Does process pid run this very program? False for a zombie and for a stranger that got the number anew. */
static bool runs_this_program(long pid) {
    char link[64], ours[4096], theirs[4096];
    snprintf(link, sizeof link, "/proc/%ld/exe", pid);
    ssize_t length = readlink("/proc/self/exe", ours, sizeof ours), other = readlink(link, theirs, sizeof theirs);
    return length > 0 && other >= length && memcmp(ours, theirs, (size_t)length) == 0;
}

/* ".NAME.tmp-HOST-PID-COUNT": false when it is no temporary. */
static bool parse_temporary(const char *name, char host[256], long *pid) {
    const char *mark = name[0] == '.' ? strstr(name, ".tmp-") : NULL, *owner = mark ? mark + strlen(".tmp-") : "";
    const char *count = strrchr(owner, '-'), *process = count; /* a host's name may have dashes of its own */
    while (process && process > owner && *--process != '-') {}
    if (!process || process <= owner || process - owner > 255) return false;
    snprintf(host, 256, "%.*s", (int)(process - owner), owner);
    *pid = strtol(process + 1, NULL, 10);
    return true;
}

/* The time by the clock that stamps the folder's files, which may be another host's; 0 when it cannot be told. */
static time_t folder_time(const char *folder) {
    struct stat info = {.st_mtime = 0};
    char *probe = temporary_name(folder, "clock");
    int fd = probe ? open(probe, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666) : -1;
    if (fd >= 0) {
        if (fstat(fd, &info) != 0) info.st_mtime = 0;
        close(fd);
        unlink(probe);
    }
    free(probe);
    return info.st_mtime;
}

/* Is the temporary `name` one that nobody will finish any more? */
static bool is_stale(const char *folder, const char *name, file_judge *judge, const void *context) {
    char host[256], ours[256] = "host";
    long pid;
    if (!parse_temporary(name, host, &pid)) return false;
    enum file_owner owner = judge ? judge(context, host, pid) : OWNER_UNKNOWN;
    if (owner == OWNER_ALIVE) return false;
    gethostname(ours, sizeof ours - 1);
    if (strcmp(host, ours) == 0) return !runs_this_program(pid);
    if (owner == OWNER_DEAD) return true;
    struct stat info;
    char *path = path_join(folder, name);
    bool old = path && stat(path, &info) == 0 && folder_time(folder) - info.st_mtime > 3600;
    free(path);
    return old;
}

/* prefix: how the temporaries' names begin. */
static int remove_stale(const char *folder, const char *prefix, file_judge *judge, const void *context, struct error *err) {
    DIR *dir = opendir(folder);
    if (!dir) return file_absent(errno) ? 0 : error_set(err, CODE_IO, "cannot list %s: %s", folder, strerror(errno));
    int rc = 0;
    for (struct dirent *entry; rc == 0 && (errno = 0, entry = readdir(dir));) {
        if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0 || !is_stale(folder, entry->d_name, judge, context)) continue;
        char *path = path_join(folder, entry->d_name);
        rc = path ? tree_remove(path, err) : error_memory(err);
        free(path);
    }
    if (rc == 0 && errno != 0) rc = error_set(err, CODE_IO, "cannot list %s: %s", folder, strerror(errno));
    closedir(dir);
    return rc;
}

int file_remove_stale(const char *folder, file_judge *judge, const void *context, struct error *err) {
    return remove_stale(folder, ".", judge, context, err);
}

int draft_remove_stale(const char *path, struct error *err) {
    const char *slash = strrchr(path, '/');
    char *folder = path_folder(path), *prefix = text_new("." NAME_PART ".tmp-", slash ? slash + 1 : path);
    int rc = folder && prefix ? remove_stale(folder, prefix, NULL, NULL, err) : error_memory(err);
    free(prefix);
    free(folder);
    return rc;
}

int folder_make(const char *path, struct error *err) {
    char *copy = strdup(path);
    if (!copy) return error_memory(err);
    int rc = 0;
    for (char *p = copy + 1; rc == 0; p++) {
        char end = *p;
        if (end != '/' && end != '\0') continue;
        *p = '\0';
        if (mkdir(copy, 0777) != 0 && errno != EEXIST)
            rc = error_set(err, CODE_IO, "cannot make folder %s: %s", copy, strerror(errno));
        *p = end;
        if (end == '\0') break;
    }
    struct stat info;
    if (rc == 0 && stat(path, &info) != 0) rc = error_set(err, CODE_IO, "cannot look at %s: %s", path, strerror(errno));
    else if (rc == 0 && !S_ISDIR(info.st_mode))
        rc = error_set(err, CODE_IO, "cannot make folder %s: a file is in the way", path);
    free(copy);
    return rc;
}

char *path_absolute(const char *path) {
    if (path[0] == '/') return strdup(path);
    char *here = getcwd(NULL, 0);
    char *whole = here ? text_new("%s/%s", here, path) : NULL;
    free(here);
    return whole;
}
