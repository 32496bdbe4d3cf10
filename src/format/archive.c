/* Zip archives, written as a stream. */
#include "format/archive.h"

#include "base/draft.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>

struct writer {
    const struct archive *archive;
    struct error *err;
    bool failed; /* *err says why */
};

struct member { /* what libzip reads as a file */
    struct writer *writer;
    size_t index;
    uint64_t size, offset;
    const char *bytes; /* those at hand, from offset on */
    size_t left;
};

static zip_int64_t fill(struct member *member, char *out, zip_uint64_t size) {
    const struct archive *archive = member->writer->archive;
    zip_uint64_t used = 0;
    while (used < size && member->offset < member->size) {
        if (member->left == 0 && archive->bytes(archive->context, member->index, member->offset, &member->bytes,
                                                &member->left, member->writer->err) != 0) {
            member->writer->failed = true;
            return -1;
        }
        size_t part = member->left < size - used ? member->left : (size_t)(size - used);
        memcpy(out + used, member->bytes, part);
        member->bytes += part;
        member->left -= part;
        member->offset += part;
        used += part;
    }
    return (zip_int64_t)used;
}

static zip_int64_t describe(struct member *member, zip_stat_t *stat) {
    const struct archive *archive = member->writer->archive;
    if (archive->size(archive->context, member->index, &member->size, member->writer->err) != 0) {
        member->writer->failed = true;
        return -1;
    }
    zip_stat_init(stat);
    stat->valid = ZIP_STAT_SIZE;
    stat->size = member->size;
    return sizeof *stat;
}

/* libzip's view of a member: it asks for the size, opens, reads to the end, closes. */
static zip_int64_t serve(void *context, void *data, zip_uint64_t size, zip_source_cmd_t command) {
    struct member *member = context;
    switch (command) {
        case ZIP_SOURCE_SUPPORTS:
            return zip_source_make_command_bitmap(ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE, ZIP_SOURCE_STAT,
                                                  ZIP_SOURCE_ERROR, ZIP_SOURCE_FREE, -1);
        case ZIP_SOURCE_STAT: return describe(member, data);
        case ZIP_SOURCE_OPEN: member->offset = member->left = 0; return 0;
        case ZIP_SOURCE_READ: return fill(member, data, size);
        case ZIP_SOURCE_CLOSE: return 0;
        case ZIP_SOURCE_ERROR:
            ((int *)data)[0] = ZIP_ER_READ;
            ((int *)data)[1] = 0;
            return 2 * sizeof(int);
        default: return 0;
    }
}

/* false: the archive's error says why. */
static bool add(zip_t *zip, struct member *member) {
    const struct archive *archive = member->writer->archive;
    const zip_uint16_t january_1980 = 1 << 5 | 1;
    char *name = archive->name(archive->context, member->index);
    zip_source_t *source = name ? zip_source_function(zip, serve, member) : NULL;
    zip_int64_t index = source ? zip_file_add(zip, name, source, ZIP_FL_ENC_UTF_8) : -1;
    free(name);
    if (source && index < 0) zip_source_free(source);
    return index >= 0 && zip_set_file_compression(zip, (zip_uint64_t)index, ZIP_CM_STORE, 0) == 0 &&
           zip_file_set_dostime(zip, (zip_uint64_t)index, 0, january_1980, 0) == 0;
}

int archive_write(const char *path, const struct archive *archive, struct error *err) {
    struct draft draft;
    struct writer writer = {archive, err, false};
    int code = 0, rc = -1;
    if (draft_begin(&draft, path, false, err) != 0) return -1;
    struct member *members = calloc(archive->members, sizeof *members);
    zip_t *zip = zip_open(draft.temporary, ZIP_CREATE | ZIP_TRUNCATE, &code);
    bool added = members && zip;
    for (size_t i = 0; added && i < archive->members; i++) {
        members[i] = (struct member){.writer = &writer, .index = i};
        added = add(zip, &members[i]);
    }
    if (!members) {
        error_memory(err);
    } else if (!zip) {
        error_set(err, CODE_IO, "cannot write %s: libzip's error %d", path, code);
    } else if (added && zip_close(zip) == 0) {
        zip = NULL;
        rc = draft_commit(&draft, err);
    } else if (!writer.failed) {
        error_set(err, CODE_IO, "cannot write %s: %s", path, zip_strerror(zip));
    }
    if (zip) zip_discard(zip);
    draft_abandon(&draft);
    free(members);
    return rc;
}
