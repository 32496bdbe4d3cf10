/* Whole files and folders: open, read, write, remove. */
#include "base/files.h"

#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
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

/* *absent: there is none. O_NONBLOCK, for a FIFO's open waits for its other end; it is not for the reads and writes
 * after. */
static int open_regular(const char *path, int flags, bool *absent, struct error *err) {
    struct stat info;
    int fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666), number = errno;
    *absent = fd < 0 && file_absent(number);
    if (fd < 0 && (number == ENXIO || number == EISDIR) && stat(path, &info) == 0)
        return not_regular(path, info.st_mode, err);
    if (fd < 0) return error_set(err, CODE_IO, "cannot open %s: %s", path, strerror(number));
    if (fstat(fd, &info) != 0) error_set(err, CODE_IO, "cannot open %s: %s", path, strerror(errno));
    else if (!S_ISREG(info.st_mode)) not_regular(path, info.st_mode, err);
    else if (fcntl(fd, F_SETFL, flags & O_APPEND) != 0)
        error_set(err, CODE_IO, "cannot open %s: %s", path, strerror(errno));
    else return fd;
    close(fd);
    return -1;
}

int file_open(const char *path, int flags, struct error *err) {
    bool absent;
    return open_regular(path, flags, &absent, err);
}

FILE *file_stream(const char *path, struct error *err) {
    int fd = file_open(path, O_RDONLY, err);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "rb");
    if (fd < 0 || file) return file;
    error_set(err, CODE_IO, "cannot open %s: %s", path, strerror(errno));
    close(fd);
    return NULL;
}

/* What one try of reading a file found besides. */
struct trial {
    bool absent, replaced;
};

static int read_once(const char *path, char **data, size_t *size, struct trial *trial, struct error *err) {
    int fd = open_regular(path, O_RDONLY, &trial->absent, err);
    if (fd < 0) return -1;
    struct stat info = {.st_size = 0};
    int rc = fstat(fd, &info) == 0 ? 0 : error_set(err, CODE_IO, "cannot read %s: %s", path, strerror(errno));
    size_t capacity = (size_t)info.st_size, used = 0;
    char *buffer = malloc(capacity + 1);
    if (rc == 0 && !buffer)
        rc = error_set(err, CODE_INTERNAL, "cannot read %s: out of memory for its %zu bytes", path, capacity);
    for (ssize_t got; rc == 0 && used < capacity; used += (size_t)(got > 0 ? got : 0)) {
        got = read(fd, buffer + used, capacity - used);
        if (got == 0) break; /* the file shrank meanwhile */
        if (got > 0 || errno == EINTR) continue;
        trial->replaced = errno == ESTALE;
        rc = error_set(err, CODE_IO, "cannot read %s: %s", path, strerror(errno));
    }
    close(fd);
    if (rc != 0) {
        free(buffer);
        return -1;
    }
    buffer[used] = '\0';
    *data = buffer;
    *size = used;
    return 0;
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

int file_read_at(int fd, void *out, size_t size, size_t offset, const char *name, struct error *err) {
    for (size_t done = 0; done < size;) {
        ssize_t got = pread(fd, (char *)out + done, size - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return error_set(err, CODE_IO, "cannot read %s: %s", name, strerror(errno));
        if (got == 0) return error_set(err, CODE_DATA, "%s is cut short", name);
        done += (size_t)got;
    }
    return 0;
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

static bool same_time(struct timespec a, struct timespec b) {
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

bool file_unchanged(const struct stat *a, const struct stat *b) {
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           same_time(a->st_mtim, b->st_mtim) && same_time(a->st_ctim, b->st_ctim);
}

bool file_settled(const struct stat *info) {
    enum { TICKS = 3 /* s */ };
    return time(NULL) - info->st_mtim.tv_sec >= TICKS && time(NULL) - info->st_ctim.tv_sec >= TICKS;
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
    return error_set(err, CODE_IO, "cannot write %s: it is %s, and only a regular %s is replaced: choose another path",
                     path, kind_of(info.st_mode), folder ? "folder" : "file");
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

int folder_make(const char *path, struct error *err) {
    if (mkdir(path, 0777) == 0) return 0;
    bool there = errno == EEXIST;
    char *copy = strdup(path);
    if (!copy) return error_memory(err);
    int rc = 0;
    for (char *p = copy + 1; rc == 0 && !there; p++) {
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
