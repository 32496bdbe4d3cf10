/* Digests of files, remembered; those of large ones from start to start. */
#include "base/digests.h"

#include "base/clock.h"
#include "base/draft.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static struct digest known[64];
static size_t known_count; /* ever; the next goes to known[known_count % 64] */
static pthread_mutex_t known_lock = PTHREAD_MUTEX_INITIALIZER;

static bool recall(struct digest *digest) {
    bool found = false;
    pthread_mutex_lock(&known_lock);
    for (size_t i = 0; i < sizeof known / sizeof *known && i < known_count && !found; i++)
        if ((found = strcmp(known[i].key, digest->key) == 0)) *digest = known[i];
    pthread_mutex_unlock(&known_lock);
    return found;
}

void digest_adopt(const struct digest *digest) {
    struct digest other = *digest;
    if (!digest->hex[0] || recall(&other)) return;
    pthread_mutex_lock(&known_lock);
    known[known_count++ % (sizeof known / sizeof *known)] = *digest;
    pthread_mutex_unlock(&known_lock);
}

/* Where the digest of `key` is remembered: new; NULL: nowhere. */
static char *memory_path(const char *key) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache && cache[0] == '/') return text_new("%s/qtaylor/digests/%s", cache, key);
    return home && home[0] == '/' ? text_new("%s/.cache/qtaylor/digests/%s", home, key) : NULL;
}

/* What lies there: the digest and, so that no damaged one is believed, that of key and digest. */
static void write_line(const struct digest *digest, char line[2 * SHA256_HEX + 1]) {
    char both[2 * SHA256_HEX], check[SHA256_HEX];
    snprintf(both, sizeof both, "%s %s", digest->key, digest->hex);
    sha256_bytes(both, strlen(both), check);
    snprintf(line, 2 * SHA256_HEX + 1, "%s %s\n", digest->hex, check);
}

/* Nothing depends on whether it is there: what can't be read is not known. */
static bool read_memory(struct digest *digest) {
    char *path = memory_path(digest->key), *text = NULL, line[2 * SHA256_HEX + 1];
    struct digest other = *digest;
    size_t size = 0;
    struct error ignored;
    bool found = path && file_read_if_there(path, &text, &size, &ignored) == 0 && text && size == 2 * SHA256_HEX &&
                 strspn(text, "0123456789abcdef") == SHA256_HEX - 1;
    if (found) {
        memcpy(other.hex, text, SHA256_HEX - 1);
        other.hex[SHA256_HEX - 1] = '\0';
        write_line(&other, line);
        if ((found = strcmp(line, text) == 0)) *digest = other;
    }
    free(text);
    free(path);
    return found;
}

static void write_memory(const struct digest *digest) {
    char *path = memory_path(digest->key), *folder = path ? path_folder(path) : NULL, line[2 * SHA256_HEX + 1];
    struct error ignored;
    write_line(digest, line);
    if (folder && folder_make(folder, &ignored) == 0) (void)file_write_atomic(path, line, strlen(line), &ignored);
    free(path);
    free(folder);
}

/* The key of a file as it is now; *settled: it can't change without another one. */
static int look(struct digest *digest, const char *path, bool *settled, bool *large, struct error *err) {
    struct stat info;
    char *absolute = path_absolute(path);
    if (!absolute) return error_memory(err);
    *digest = (struct digest){0};
    int rc = stat(path, &info) == 0 ? 0 : error_set(err, CODE_IO, "cannot open %s: %s", path, strerror(errno));
    char *text = rc == 0 ? text_new("%s %ju %ju %jd %jd.%09ld %jd.%09ld", absolute, (uintmax_t)info.st_dev,
                                    (uintmax_t)info.st_ino, (intmax_t)info.st_size, (intmax_t)info.st_mtim.tv_sec,
                                    info.st_mtim.tv_nsec, (intmax_t)info.st_ctim.tv_sec, info.st_ctim.tv_nsec)
                         : NULL;
    if (rc == 0 && !text) rc = error_memory(err);
    if (rc == 0) {
        sha256_bytes(text, strlen(text), digest->key);
        *settled = file_settled(&info);
        *large = info.st_size >= MEMORABLE;
    }
    free(text);
    free(absolute);
    return rc;
}

static int look_up(struct digest *digest, const char *path, bool *settled, bool *large, struct error *err) {
    if (look(digest, path, settled, large, err) != 0) return -1;
    if (recall(digest) || !*large || !read_memory(digest)) return 0;
    digest_adopt(digest);
    return 0;
}

int digest_look(struct digest *digest, const char *path, struct error *err) {
    bool settled, large;
    return look_up(digest, path, &settled, &large, err);
}

int digest_file(const char *path, char hex[SHA256_HEX], struct error *err) {
    struct digest before, after;
    bool settled, large, ignored;
    if (look_up(&before, path, &settled, &large, err) != 0) return -1;
    if (!before.hex[0]) {
        double start = clock_seconds();
        if (sha256_file(path, before.hex, err) != 0 || look(&after, path, &ignored, &ignored, err) != 0) return -1;
        bool same = strcmp(before.key, after.key) == 0;
        if (same && settled) digest_adopt(&before);
        if (same && settled && large) write_memory(&before);
        if (large) log_event("\"hashed\": \"%s\", \"seconds\": %.3f", before.hex, clock_seconds() - start);
    }
    memcpy(hex, before.hex, SHA256_HEX);
    return 0;
}
