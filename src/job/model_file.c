/* A model's file: its bytes, its digest and its kind. */
#include "job/model_file.h"

#include "base/digests.h"
#include "base/text.h"
#include "format/zip_file.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* ---- what it is ---- */

#define EXPORT "export it with tools/export.py, or torch.jit.save(torch.jit.trace(net, ...), FILE)"

const char *model_file_kind(const char *start, size_t size) {
    static const struct {
        size_t at, length;
        const char *bytes, *kind;
    } kinds[] = {
        {0, 2, "\x80\x02", "a pickle (of torch.save before 1.6, or EDM's): " EXPORT},
        {0, 2, "\x80\x03", "a pickle: " EXPORT},
        {0, 2, "\x80\x04", "a pickle: " EXPORT},
        {0, 2, "\x80\x05", "a pickle: " EXPORT},
        {5, 4, "\0\0\0{", "weights alone (safetensors): load them into their network in Python, and " EXPORT},
        {0, 4, "\x89HDF", "weights alone (HDF5): load them into their network in Python, and " EXPORT},
        {0, 6, "\x93NUMPY", "a numpy array"},
        {0, 8, "version ", "a Git LFS pointer, not the file itself: fetch it with git lfs pull"},
        {0, 1, "<", "a web page or XML: the download did not give the file"},
    };
    if (size == 0) return "an empty file";
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (size >= kinds[i].at + kinds[i].length && memcmp(start + kinds[i].at, kinds[i].bytes, kinds[i].length) == 0)
            return kinds[i].kind;
    size_t blanks = 0;
    while (blanks < size && strchr(" \t\r\n", start[blanks])) blanks++;
    if (blanks < size && start[blanks] == '{') return NULL; /* a model of the tests */
    for (size_t i = 0; i < size && i < 16; i++)
        if ((unsigned char)start[i] < 32 && !strchr("\t\r\n", start[i])) return NULL;
    return "a text";
}

/* Does a member's name end so? */
static bool has_member(zip_t *archive, const char *tail) {
    size_t length = strlen(tail);
    for (zip_int64_t i = 0; i < zip_get_num_entries(archive, 0); i++) {
        const char *name = zip_get_name(archive, (zip_uint64_t)i, 0);
        size_t size = name ? strlen(name) : 0;
        if (size >= length && strcmp(name + size - length, tail) == 0) return true;
    }
    return false;
}

zip_int64_t model_package_metadata(zip_t *archive) {
    static const char folder[] = "data/aotinductor/model/", code[] = ".so";
    for (zip_int64_t i = 0; i < zip_get_num_entries(archive, 0); i++) {
        const char *name = zip_get_name(archive, (zip_uint64_t)i, 0);
        if (!name || !strstr(name, folder) || !text_ends_in(name, code)) continue;
        char *metadata = text_new("%.*s_metadata.json", (int)(strlen(name) - strlen(code)), name);
        zip_int64_t found = metadata ? zip_name_locate(archive, metadata, 0) : -1;
        free(metadata);
        if (found >= 0) return found;
    }
    return -1;
}

const char *model_archive_kind(zip_t *archive) {
    static const struct {
        const char *tail, *kind;
    } kinds[] = {
        /* the first that fits */
        {"/constants.pkl", NULL}, /* TorchScript */
        {"archive_format", "an exported program (torch.export, .pt2), which is not compiled: " EXPORT},
        {"serialized_exported_program.json",
         "an exported program (torch.export, .pt2), which is not compiled: " EXPORT},
        {"/data.pkl", "a state dict or another pickle of torch.save, weights without code: " EXPORT},
        {".npy", "a numpy archive (.npz)"},
    };
    if (model_package_metadata(archive) >= 0) return NULL;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (has_member(archive, kinds[i].tail)) return kinds[i].kind;
    return NULL;
}

/* ---- whether it is whole ---- */

/* Contents that were found whole by this process: a sweep asks once a cell. */
static char known[8][SHA256_HEX];
static size_t known_count; /* ever */
static pthread_mutex_t known_lock = PTHREAD_MUTEX_INITIALIZER;

static bool is_known(const char *sha256) {
    bool found = false;
    pthread_mutex_lock(&known_lock);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) found |= strcmp(known[i], sha256) == 0;
    pthread_mutex_unlock(&known_lock);
    return found;
}

static void remember(const char *sha256) {
    pthread_mutex_lock(&known_lock);
    memcpy(known[known_count++ % (sizeof known / sizeof *known)], sha256, SHA256_HEX);
    pthread_mutex_unlock(&known_lock);
}

/* Reads a member to its end, where its checksum is compared. One of 0 was not computed (set_crc32_options(False)). */
static int check_member(zip_t *archive, zip_uint64_t index, char *buffer, size_t capacity, const char *path,
                        struct error *err) {
    zip_stat_t info;
    zip_file_t *file = NULL;
    if (zip_stat_index(archive, index, 0, &info) == 0 && (info.valid & ZIP_STAT_CRC) && info.crc == 0) return 0;
    zip_int64_t got = (file = zip_fopen_index(archive, index, 0)) ? 1 : -1;
    while (got > 0) got = zip_fread(file, buffer, capacity);
    if (got < 0)
        error_set(err, CODE_DATA, "%s is damaged: its member %s: %s; copy or make it again", path,
                  zip_get_name(archive, index, 0) ? zip_get_name(archive, index, 0) : "?",
                  file ? zip_file_strerror(file) : zip_strerror(archive));
    if (file) zip_fclose(file);
    return got < 0 ? -1 : 0;
}

/* libtorch looks at no checksum: a flipped bit in a weight would show in no sample, but change them all. */
static int check_archive(const char *data, size_t size, const char *path, struct error *err) {
    enum { BUFFER = 1 << 20 };
    zip_error_t reason;
    zip_error_init(&reason);
    zip_source_t *source = zip_source_buffer_create(data, size, 0, &reason);
    zip_t *archive = source ? zip_open_from_source(source, ZIP_RDONLY, &reason) : NULL;
    char *buffer = malloc(BUFFER);
    int rc = buffer ? 0 : error_memory(err);
    if (!archive) {
        rc = error_set(err, CODE_DATA, "%s: expected a whole zip archive, found: %s", path,
                       zip_error_strerror(&reason));
        zip_source_free(source);
    } else if (rc == 0 && model_archive_kind(archive)) {
        rc = error_set(err, CODE_DATA, "%s: expected a TorchScript archive or an AOTInductor package, found %s", path,
                       model_archive_kind(archive));
    } else if (rc == 0) {
        rc = zip_check_names(archive, path, err);
    }
    for (zip_int64_t i = 0; rc == 0 && i < zip_get_num_entries(archive, 0); i++)
        rc = check_member(archive, (zip_uint64_t)i, buffer, BUFFER, path, err);
    free(buffer);
    if (archive) zip_discard(archive);
    zip_error_fini(&reason);
    return rc;
}

int model_file_open(struct mapping **file, const char *path, const char *expected, struct error *err) {
    if (mapping_open(file, path, err) != 0) return -1;
    const char *data = (*file)->data, *sha256 = (*file)->sha256;
    size_t size = (*file)->size;
    int rc = sha256_expect(path, sha256, expected, err);
    if (rc == 0 && !is_known(sha256)) {
        bool archive = size >= 4 && memcmp(data, "PK\3\4", 4) == 0;
        const char *kind = archive ? NULL : model_file_kind(data, size);
        if (archive) rc = check_archive(data, size, path, err);
        else if (kind)
            rc = error_set(err, CODE_DATA, "%s: expected a TorchScript archive or an AOTInductor package, found %s",
                           path, kind);
        if (rc == 0) remember(sha256);
    }
    if (rc == 0) return 0;
    mapping_close(*file);
    *file = NULL;
    return -1;
}

int model_file_digest(const char *path, char sha256[SHA256_HEX], struct error *err) {
    struct mapping *file;
    if (digest_file(path, sha256, err) != 0) return -1;
    if (is_known(sha256)) return 0;
    if (model_file_open(&file, path, sha256, err) != 0) return -1;
    mapping_close(file);
    return 0;
}
