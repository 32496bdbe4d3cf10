/* The bytes of a shard file: written, read and checked. */
#include "shard/frames.h"

#include "base/files.h"
#include "format/json_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

static const uint32_t MAGIC_JSON = 0x184D2A57, MAGIC_TABLE = 0x184D2A5E, MAGIC_FOOTER = 0x8F92EAB1;
static const size_t MOST_FRAME_BYTES = (size_t)16 << 20;
static const size_t MOST_RATIO = 32768; /* a zstd block of at least 4 bytes holds at most 128 KiB */
enum { SKIPPABLE_HEADER = 8, ENTRY = 8, FOOTER = 9, CANONICAL = JSON_COMPACT | JSON_SORT_KEYS };

static void put32(char *at, uint32_t value) {
    for (int i = 0; i < 4; i++) at[i] = (char)(value >> 8 * i);
}

static uint32_t get32(const char *at) {
    const unsigned char *u = (const unsigned char *)at;
    return u[0] | (uint32_t)u[1] << 8 | (uint32_t)u[2] << 16 | (uint32_t)u[3] << 24;
}

static size_t frame_rows(const struct npy *npy) {
    size_t fit = MOST_FRAME_BYTES / npy_row_bytes(npy);
    return fit == 0 ? 1 : fit < FRAMES_ROWS ? fit : FRAMES_ROWS;
}

/* Can this array be stored: does it have rows, and does each fit a seek table's 4 bytes? */
static bool has_rows(const struct npy *npy) {
    return npy->rank > 0 && npy_row_bytes(npy) > 0 && npy_row_bytes(npy) <= UINT32_MAX;
}

int frames_digest(const struct npy *npy, const void *rows, char hex[SHA256_HEX], struct error *err) {
    char header[NPY_HEADER];
    struct sha256 *hash = sha256_new();
    if (!hash) return error_memory(err);
    npy_header(npy, header);
    sha256_add(hash, header, NPY_HEADER);
    sha256_add(hash, rows, npy_bytes(npy));
    sha256_finish(hash, hex);
    return 0;
}

/* The digest that guards compressed bytes and JSON against silent change. */
static int make_check(const char *frames, size_t size, const json_t *about, char hex[SHA256_HEX], struct error *err) {
    json_t *bare = json_whole_copy(about);
    if (bare) json_object_del(bare, "check");
    char *text = bare ? json_text(bare, CANONICAL) : NULL;
    struct sha256 *hash = text ? sha256_new() : NULL;
    if (hash) {
        sha256_add(hash, frames, size);
        sha256_add(hash, text, strlen(text));
        sha256_finish(hash, hex);
    }
    free(text);
    json_decref(bare);
    return hash ? 0 : error_memory(err);
}

struct writer {
    char *data, *table; /* table: entries so far */
    size_t size, capacity;
    uint32_t entries;
    ZSTD_CCtx *zstd;
};

static void add_entry(struct writer *writer, size_t packed, size_t raw) {
    put32(writer->table + ENTRY * writer->entries, (uint32_t)packed);
    put32(writer->table + ENTRY * writer->entries + 4, (uint32_t)raw);
    writer->entries++;
    writer->size += packed;
}

static int add_frame(struct writer *writer, const void *raw, size_t size, struct error *err) {
    size_t room = writer->capacity - writer->size;
    size_t packed = ZSTD_compress2(writer->zstd, writer->data + writer->size, room, raw, size);
    if (ZSTD_isError(packed)) return error_set(err, CODE_INTERNAL, "zstd: %s", ZSTD_getErrorName(packed));
    add_entry(writer, packed, size);
    return 0;
}

static int add_json(struct writer *writer, const json_t *about, struct error *err) {
    char check[SHA256_HEX];
    if (make_check(writer->data, writer->size, about, check, err) != 0) return -1;
    json_t *whole = json_whole_copy(about);
    int rc = whole && json_object_set_new(whole, "check", json_string(check)) == 0 ? 0 : error_memory(err);
    char *text = rc == 0 ? json_text(whole, CANONICAL) : NULL;
    size_t length = text ? strlen(text) : 0;
    size_t table = SKIPPABLE_HEADER + ENTRY * ((size_t)writer->entries + 1) + FOOTER;
    size_t needed = writer->size + SKIPPABLE_HEADER + length + table;
    char *data = text ? realloc(writer->data, needed) : NULL;
    if (data) {
        writer->data = data;
        put32(data + writer->size, MAGIC_JSON);
        put32(data + writer->size + 4, (uint32_t)length);
        memcpy(data + writer->size + SKIPPABLE_HEADER, text, length);
        add_entry(writer, SKIPPABLE_HEADER + length, 0);
    } else if (rc == 0) {
        rc = error_memory(err);
    }
    free(text);
    json_decref(whole);
    return rc;
}

static void add_table(struct writer *writer) {
    size_t entries = ENTRY * (size_t)writer->entries;
    char *at = writer->data + writer->size;
    put32(at, MAGIC_TABLE);
    put32(at + 4, (uint32_t)(entries + FOOTER));
    memcpy(at + SKIPPABLE_HEADER, writer->table, entries);
    at += SKIPPABLE_HEADER + entries;
    put32(at, writer->entries);
    at[4] = 0;
    put32(at + 5, MAGIC_FOOTER);
    writer->size += SKIPPABLE_HEADER + entries + FOOTER;
}

int frames_encode(const struct npy *npy, const void *rows, const json_t *about, int level, char **file, size_t *size,
                  struct error *err) {
    if (!has_rows(npy))
        return error_set(err, CODE_DATA, "a shard needs rows of 1 byte to 4 GiB, found %zu bytes", npy_row_bytes(npy));
    size_t bytes = npy_bytes(npy), step = frame_rows(npy) * npy_row_bytes(npy), frames = 2 + bytes / step + 1;
    char header[NPY_HEADER];
    struct writer writer = {.capacity = ZSTD_compressBound(NPY_HEADER) + frames * ZSTD_compressBound(step)};
    writer.data = malloc(writer.capacity);
    writer.table = malloc(ENTRY * frames);
    writer.zstd = ZSTD_createCCtx();
    int rc = writer.data && writer.table && writer.zstd ? 0 : error_memory(err);
    if (rc == 0 && (ZSTD_isError(ZSTD_CCtx_setParameter(writer.zstd, ZSTD_c_checksumFlag, 1)) ||
                    ZSTD_isError(ZSTD_CCtx_setParameter(writer.zstd, ZSTD_c_compressionLevel, level))))
        rc = error_set(err, CODE_INTERNAL, "zstd does not take level %d", level);
    npy_header(npy, header);
    if (rc == 0) rc = add_frame(&writer, header, NPY_HEADER, err);
    for (size_t at = 0; rc == 0 && at < bytes; at += step)
        rc = add_frame(&writer, (const char *)rows + at, bytes - at < step ? bytes - at : step, err);
    if (rc == 0) rc = add_json(&writer, about, err);
    if (rc == 0) {
        add_table(&writer);
        *file = writer.data;
        *size = writer.size;
        writer.data = NULL;
    }
    ZSTD_freeCCtx(writer.zstd);
    free(writer.table);
    free(writer.data);
    return rc;
}

static int damaged(struct error *err, const char *what) {
    return error_set(err, CODE_DATA, "%s", what);
}

struct seek_table {
    const char *entries; /* borrowed */
    uint32_t count;
    size_t at; /* the table's place in the file: the end of the frames it lists */
};

static size_t packed_size(const struct seek_table *table, uint32_t frame) {
    return get32(table->entries + ENTRY * (size_t)frame);
}

static size_t raw_size(const struct seek_table *table, uint32_t frame) {
    return get32(table->entries + ENTRY * (size_t)frame + 4);
}

static int check_length(size_t size, struct error *err) {
    if (size == 0) return damaged(err, "it is empty");
    return size < SKIPPABLE_HEADER + FOOTER ? damaged(err, "it is too short for a shard") : 0;
}

/* Bytes of the whole seek table, from the file's last FOOTER bytes. */
static int table_size(const char *footer, size_t file_size, size_t *size, struct error *err) {
    if (get32(footer + 5) != MAGIC_FOOTER || footer[4] != 0)
        return damaged(err, "no seek table at its end: cut short, or no shard");
    *size = SKIPPABLE_HEADER + ENTRY * (size_t)get32(footer) + FOOTER;
    return get32(footer) >= 2 && *size <= file_size ? 0 : damaged(err, "its seek table does not fit in it");
}

/* bytes: the seek table's `size` bytes. Its sizes must fill the file exactly. */
static int table_open(struct seek_table *table, const char *bytes, size_t size, size_t file_size, struct error *err) {
    table->entries = bytes + SKIPPABLE_HEADER;
    table->count = get32(bytes + size - FOOTER);
    table->at = file_size - size;
    if (get32(bytes) != MAGIC_TABLE || get32(bytes + 4) != size - SKIPPABLE_HEADER)
        return damaged(err, "its seek table has a wrong head");
    size_t sum = 0;
    for (uint32_t i = 0; i < table->count; i++) sum += packed_size(table, i);
    return sum == table->at ? 0 : damaged(err, "its seek table does not match its size");
}

/* Are there as many frames, of as many bytes, as an array of this type and shape takes? Only then is so much memory
 * asked for. */
static int table_compare(const struct seek_table *table, const struct npy *npy, struct error *err) {
    if (!has_rows(npy)) return damaged(err, "its .npy header announces no rows");
    size_t bytes = npy_bytes(npy), step = frame_rows(npy) * npy_row_bytes(npy);
    size_t frames = bytes / step + (bytes % step != 0);
    bool same = table->count == frames + 2 && raw_size(table, table->count - 1) == 0 && bytes / MOST_RATIO <= table->at;
    for (size_t i = 0; same && i < frames; i++)
        same = raw_size(table, (uint32_t)i + 1) == (i + 1 < frames ? step : bytes - i * step);
    return same ? 0 : damaged(err, "its frames do not hold what its .npy header announces");
}

/* Decompresses one frame, of exactly `size` bytes, to exactly `raw` bytes. */
static int unpack(const char *frame, size_t size, char *out, size_t raw, struct error *err) {
    if (ZSTD_findFrameCompressedSize(frame, size) != size)
        return damaged(err, "a frame is not where its seek table says");
    size_t got = ZSTD_decompress(out, raw, frame, size);
    if (ZSTD_isError(got))
        return error_set(err, CODE_DATA, "a frame cannot be decompressed: %s", ZSTD_getErrorName(got));
    return got == raw ? 0 : damaged(err, "a frame is shorter than its seek table says");
}

/* Decompresses frames begin..end-1; `packed` is where the first of them starts, the others follow it. */
static int unpack_frames(const struct seek_table *table, uint32_t begin, uint32_t end, const char *packed, char *out,
                         struct error *err) {
    for (uint32_t i = begin; i < end; i++) {
        if (unpack(packed, packed_size(table, i), out, raw_size(table, i), err) != 0) return -1;
        packed += packed_size(table, i);
        out += raw_size(table, i);
    }
    return 0;
}

static int unpack_header(const struct seek_table *table, const char *frame, struct npy *npy, struct error *err) {
    char header[NPY_HEADER];
    size_t offset;
    if (raw_size(table, 0) != NPY_HEADER) return damaged(err, "its first frame is no .npy header of 128 bytes");
    if (unpack(frame, packed_size(table, 0), header, NPY_HEADER, err) != 0 ||
        npy_parse(npy, &offset, header, NPY_HEADER, "first frame", err) != 0)
        return -1;
    if (offset != NPY_HEADER) return damaged(err, "its .npy header is not 128 bytes long");
    return table_compare(table, npy, err);
}

/* The JSON frame lies at file + at and is the last one before the table. */
static int take_json(const char *file, size_t at, size_t size, json_t **about, struct error *err) {
    const char *frame = file + at, *text = frame + SKIPPABLE_HEADER;
    if (size < SKIPPABLE_HEADER || get32(frame) != MAGIC_JSON || get32(frame + 4) != size - SKIPPABLE_HEADER)
        return damaged(err, "no JSON frame where it should be");
    size -= SKIPPABLE_HEADER;
    *about = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
    char *canonical = *about ? json_text(*about, CANONICAL) : NULL;
    bool same = canonical && strlen(canonical) == size && memcmp(canonical, text, size) == 0;
    free(canonical);
    const char *check = json_string_value(json_object_get(*about, "check"));
    char expected[SHA256_HEX];
    if (!same || !check) return damaged(err, "its JSON frame is not as it was written");
    if (make_check(file, at, *about, expected, err) != 0) return -1;
    return strcmp(check, expected) == 0 ? 0 : damaged(err, "its bytes are not those that were written (member check)");
}

int frames_decode(const char *file, size_t size, struct npy *npy, void **rows, json_t **about, struct error *err) {
    struct seek_table table;
    size_t table_bytes;
    char *data = NULL;
    *about = NULL;
    *rows = NULL;
    if (check_length(size, err) != 0 || table_size(file + size - FOOTER, size, &table_bytes, err) != 0 ||
        table_open(&table, file + size - table_bytes, table_bytes, size, err) != 0 ||
        unpack_header(&table, file, npy, err) != 0)
        return -1;
    size_t bytes = npy_bytes(npy), json_bytes = packed_size(&table, table.count - 1);
    if (!(data = malloc(bytes ? bytes : 1))) return error_memory(err);
    if (unpack_frames(&table, 1, table.count - 1, file + packed_size(&table, 0), data, err) == 0 &&
        take_json(file, table.at - json_bytes, json_bytes, about, err) == 0) {
        *rows = data;
        return 0;
    }
    json_decref(*about);
    *about = NULL;
    free(data);
    return -1;
}

/* `size` bytes of an open file from `at` on; *piece is new. */
static int read_piece(int fd, size_t at, size_t size, char **piece, struct error *err) {
    *piece = malloc(size ? size : 1);
    return *piece ? file_read_at(fd, *piece, size, at, "it", err) : error_memory(err);
}

static int open_table(int fd, struct seek_table *table, char **bytes, struct error *err) {
    struct stat info;
    char *footer = NULL;
    size_t size, table_bytes;
    if (fstat(fd, &info) != 0) return error_set(err, CODE_IO, "cannot read it: %s", strerror(errno));
    size = (size_t)info.st_size;
    if (check_length(size, err) != 0) return -1;
    int rc = read_piece(fd, size - FOOTER, FOOTER, &footer, err);
    if (rc == 0) rc = table_size(footer, size, &table_bytes, err);
    if (rc == 0) rc = read_piece(fd, size - table_bytes, table_bytes, bytes, err);
    if (rc == 0) rc = table_open(table, *bytes, table_bytes, size, err);
    free(footer);
    return rc;
}

/* Unpacks the frames of rows first..first+count-1 into *rows, new, and moves those rows to its beginning. */
static int pick_rows(int fd, const struct seek_table *table, const struct npy *npy, uint64_t first, uint64_t count,
                     char **rows, struct error *err) {
    size_t row = npy_row_bytes(npy), step = frame_rows(npy), at = 0, packed = 0, raw = 0;
    uint32_t begin = 1 + (uint32_t)(first / step), end = 2 + (uint32_t)((first + count - 1) / step);
    char *frames = NULL;
    for (uint32_t i = 0; i < begin; i++) at += packed_size(table, i);
    for (uint32_t i = begin; i < end; i++) {
        packed += packed_size(table, i);
        raw += raw_size(table, i);
    }
    int rc = read_piece(fd, at, packed, &frames, err);
    if (rc == 0 && !(*rows = malloc(raw))) rc = error_memory(err);
    if (rc == 0) rc = unpack_frames(table, begin, end, frames, *rows, err);
    if (rc == 0) memmove(*rows, *rows + first % step * row, count * row);
    free(frames);
    return rc;
}

int frames_check_end(const char *path, struct error *err) {
    struct seek_table table;
    char *bytes = NULL;
    int fd = file_open(path, O_RDONLY, err);
    if (fd < 0) return -1;
    int rc = open_table(fd, &table, &bytes, err);
    free(bytes);
    close(fd);
    return rc != 0 && err->code != CODE_DATA ? error_prefix(err, "%s", path) : rc;
}

int frames_read_rows(const char *path, uint64_t first, uint64_t count, struct npy *npy, void **rows,
                     struct error *err) {
    struct seek_table table;
    char *table_bytes = NULL, *header = NULL, *data = NULL;
    *rows = NULL;
    int fd = file_open(path, O_RDONLY, err);
    if (fd < 0) return -1;
    int rc = open_table(fd, &table, &table_bytes, err);
    if (rc == 0) rc = read_piece(fd, 0, packed_size(&table, 0), &header, err);
    if (rc == 0) rc = unpack_header(&table, header, npy, err);
    if (rc == 0 && (count == 0 || first >= npy->shape[0] || count > npy->shape[0] - first))
        rc = error_set(err, CODE_DATA, "it has %zu rows, there are no %" PRIu64 " from row %" PRIu64 " on",
                       npy->shape[0], count, first);
    if (rc == 0) rc = pick_rows(fd, &table, npy, first, count, &data, err);
    if (rc == 0) {
        npy->shape[0] = count;
        *rows = data;
        data = NULL;
    } else {
        error_prefix(err, "%s", path);
    }
    free(data);
    free(header);
    free(table_bytes);
    close(fd);
    return rc;
}
