/* Files and folders that are written under a temporary name and renamed when they are whole. */
#include "base/draft.h"

#include "base/files.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int folder_sync(const char *folder) {
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return -1;
    int rc = fsync(fd);
    if (rc != 0 && errno == EINVAL) rc = 0; /* file systems that do not sync folders say so */
    close(fd);
    return rc;
}

char *draft_temporary(const char *folder, const char *name) {
    static atomic_uint count;
    char host[256] = "host";
    gethostname(host, sizeof host - 1);
    return text_new("%s/." DRAFT_NAME ".tmp-%s-%ld-%u", folder, name, host, (long)getpid(),
                    atomic_fetch_add(&count, 1));
}

int draft_begin(struct draft *draft, const char *path, bool folder, struct error *err) {
    const char *slash = strrchr(path, '/');
    *draft = (struct draft){0};
    if (file_check_place(path, folder, err) != 0) return -1;
    *draft = (struct draft){.path = strdup(path), .parent = path_folder(path)};
    if (draft->parent) draft->temporary = draft_temporary(draft->parent, slash ? slash + 1 : path);
    if (!draft->path || !draft->temporary) {
        draft_abandon(draft);
        return error_memory(err);
    }
    int fd = folder ? mkdir(draft->temporary, 0777)
                    : open(draft->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
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
    bool refused = false, synced = !guard || !guard->unsynced;
    int rc = synced ? draft_sync(draft->temporary) : 0;
    *lost = rc != 0 && errno == EIO;
    if (rc == 0) {
        step = "rename";
        rc = place(draft, guard, &refused, err);
    }
    if (rc == 0 && synced) {
        step = "fsync the folder of";
        rc = folder_sync(draft->parent);
    }
    if (rc != 0 && !refused) error_set(err, CODE_IO, "cannot %s %s: %s", step, draft->path, strerror(errno));
    draft_abandon(draft);
    return rc;
}

int file_system_sync(const char *path, struct error *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc = fd < 0 ? -1 : syncfs(fd), number = errno;
    if (fd >= 0) close(fd);
    return rc == 0 ? 0 : error_set(err, CODE_IO, "cannot sync the file system of %s: %s", path, strerror(number));
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

static int write_once(const char *path, const void *data, size_t size, const struct file_guard *guard, bool *lost,
                      struct error *err) {
    struct draft draft;
    *lost = false;
    if (draft_begin(&draft, path, false, err) != 0) return -1;
    if (file_write(draft.temporary, data, size, err) == 0) return commit(&draft, guard, lost, err);
    draft_abandon(&draft);
    return error_prefix(err, "%s", path);
}

int file_write_guarded(const char *path, const void *data, size_t size, const struct file_guard *guard,
                       struct error *err) {
    bool lost;
    int rc = write_once(path, data, size, guard, &lost, err);
    return rc != 0 && lost ? write_once(path, data, size, guard, &lost, err) : rc;
}

int file_write_atomic(const char *path, const void *data, size_t size, struct error *err) {
    return file_write_guarded(path, data, size, NULL, err);
}
