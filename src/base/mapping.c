/* Maps files, and watches over those that are mapped. */
#include "base/mapping.h"

#include "base/files.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAPPED_LEAST = 1 << 20 /* bytes */ };

struct file {
    struct mapping mapping; /* first: a struct mapping * is one of these */
    char *path, *copy;      /* copy: it is not mapped */
    int fd;
    struct stat stat; /* before its digest was taken */
    struct file *_Atomic next;
};

/* The mapped ones. Handlers of signals read it without the lock. */
static struct file *_Atomic files;
static struct error changed; /* of a file that is closed; code CODE_OK: none */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- open and close ---- */

/* 1: it is none to be mapped. Pages that are written to, by who may not, become this process's own. */
static int map(struct file *file, const char *path, struct error *err) {
    if ((file->fd = file_open(path, O_RDONLY, err)) < 0) return -1;
    if (fstat(file->fd, &file->stat) != 0) return error_set(err, CODE_IO, "cannot read %s: %s", path, strerror(errno));
    file->mapping.size = (size_t)file->stat.st_size;
    if (file->mapping.size < MAPPED_LEAST || !file_settled(&file->stat)) return 1;
    void *pages = mmap(NULL, file->mapping.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file->fd, 0);
    if (pages == MAP_FAILED) return 1; /* a file system without */
    madvise(pages, file->mapping.size, MADV_WILLNEED);
    file->mapping.data = pages;
    return 0;
}

static void release(struct file *file) {
    if (file->mapping.data && !file->copy) munmap((void *)file->mapping.data, file->mapping.size);
    if (file->fd >= 0) close(file->fd);
    free(file->copy);
    free(file->path);
    free(file);
}

int mapping_open(struct mapping **mapping, const char *path, struct error *err) {
    struct file *file = calloc(1, sizeof *file);
    *mapping = NULL;
    if (!file) return error_memory(err);
    file->fd = -1;
    int rc = (file->path = strdup(path)) ? map(file, path, err) : error_memory(err);
    if (rc == 1 && (rc = file_read(path, &file->copy, &file->mapping.size, err)) == 0) file->mapping.data = file->copy;
    if (rc != 0) {
        release(file);
        return -1;
    }
    sha256_bytes(file->mapping.data, file->mapping.size, file->mapping.sha256);
    if (!file->copy) {
        pthread_mutex_lock(&lock);
        file->next = files;
        files = file;
        pthread_mutex_unlock(&lock);
    }
    *mapping = &file->mapping;
    return 0;
}

/* Its times say that nobody wrote to it. Where only the inode was touched (a rename, a link, a mode), its content says
 * so. */
static int check(struct file *file, struct error *err) {
    struct stat now;
    char sha256[SHA256_HEX];
    if (fstat(file->fd, &now) != 0)
        return error_set(err, CODE_IO, "cannot read %s, which is in use: %s", file->path, strerror(errno));
    if (file_unchanged(&now, &file->stat)) return 0;
    struct stat touched = now;
    touched.st_ctim = file->stat.st_ctim;
    if (file_unchanged(&touched, &file->stat)) {
        sha256_bytes(file->mapping.data, file->mapping.size, sha256);
        if (strcmp(sha256, file->mapping.sha256) == 0) {
            file->stat = now;
            return 0;
        }
    }
    return error_set(err, CODE_IO, "%s was changed while it was in use: start the job again", file->path);
}

void mapping_close(struct mapping *mapping) {
    struct file *file = (struct file *)mapping;
    if (!file) return;
    if (!file->copy) {
        pthread_mutex_lock(&lock);
        struct error err;
        if (check(file, &err) != 0 && changed.code == CODE_OK) changed = err;
        struct file *_Atomic *place = &files;
        while (*place != file) place = &(*place)->next;
        *place = file->next;
        pthread_mutex_unlock(&lock);
    }
    release(file);
}

/* ---- what became of them ---- */

int mappings_check(struct error *err) {
    pthread_mutex_lock(&lock);
    int rc = changed.code == CODE_OK ? 0 : (*err = changed, -1);
    for (struct file *file = files; rc == 0 && file; file = file->next) rc = check(file, err);
    pthread_mutex_unlock(&lock);
    return rc;
}

const char *mapping_at(const void *address) {
    const char *at = address;
    for (const struct file *file = files; file; file = file->next)
        if (at >= file->mapping.data && at < file->mapping.data + file->mapping.size) return file->path;
    return NULL;
}
