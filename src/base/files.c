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

static int read_once(const char *path, char **data, size_t *size, bool *replaced, struct error *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return error_set(err, CODE_IO, "cannot open %s: %s", path, strerror(errno));
    struct stat info;
    char *buffer = NULL;
    size_t used = 0;
    int rc = -1;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        error_set(err, CODE_IO, "cannot read %s: not a regular file", path);
        goto out;
    }
    size_t capacity = (size_t)info.st_size;
    buffer = malloc(capacity + 1);
    if (!buffer) {
        error_memory(err);
        goto out;
    }
    while (used < capacity) {
        ssize_t got = read(fd, buffer + used, capacity - used);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            *replaced = errno == ESTALE;
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

int file_read(const char *path, char **data, size_t *size, struct error *err) {
    bool replaced = false; /* NFS: another host renamed a new file over it, which is as good */
    *data = NULL;
    int rc = read_once(path, data, size, &replaced, err);
    return replaced ? read_once(path, data, size, &replaced, err) : rc;
}

bool file_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0;
}

bool folder_has(const char *folder, const char *name) {
    char *path = text_new("%s/%s", folder, name);
    bool there = path && file_exists(path);
    free(path);
    return there;
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

static char *temporary_name(const char *folder, const char *name) {
    static atomic_uint count;
    char host[256] = "host";
    gethostname(host, sizeof host - 1);
    return text_new("%s/.%s.tmp-%s-%ld-%u", folder, name, host, (long)getpid(), atomic_fetch_add(&count, 1));
}

int draft_begin(struct draft *draft, const char *path, bool folder, struct error *err) {
    const char *slash = strrchr(path, '/');
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
    for (FTSENT *entry; (entry = fts_read(tree));) /* a folder comes before and behind what is in it */
        if (entry->fts_info != FTS_D && remove(entry->fts_path) != 0 && errno != ENOENT)
            rc = error_set(err, CODE_IO, "cannot remove %s: %s", entry->fts_path, strerror(errno));
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
    if (!dir) return errno == ENOENT ? 0 : error_set(err, CODE_IO, "cannot list %s: %s", folder, strerror(errno));
    int rc = 0;
    for (struct dirent *entry; rc == 0 && (entry = readdir(dir));) {
        if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0 || !is_stale(folder, entry->d_name, judge, context)) continue;
        char *path = path_join(folder, entry->d_name);
        rc = path ? tree_remove(path, err) : error_memory(err);
        free(path);
    }
    closedir(dir);
    return rc;
}

int file_remove_stale(const char *folder, file_judge *judge, const void *context, struct error *err) {
    return remove_stale(folder, ".", judge, context, err);
}

int draft_remove_stale(const char *path, struct error *err) {
    const char *slash = strrchr(path, '/');
    char *folder = path_folder(path), *prefix = text_new(".%s.tmp-", slash ? slash + 1 : path);
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
    if (rc == 0 && (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)))
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
