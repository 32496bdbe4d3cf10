/* A shard file, as it is and behind checksums that are right: an input that starts with "S" is cut into the pieces of a
 * shard, which are then put together with sound frames, check and seek table. */
#include "fuzz.h"

#include "base/hash.h"
#include "shard/frames.h"
#include "shard/store.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

struct file {
    char *data;
    size_t size;
    char table[1024];
    uint32_t entries;
};

static void put32(char *at, size_t value) {
    for (int i = 0; i < 4; i++) at[i] = (char)(value >> 8 * i);
}

static char *grow(struct file *file, size_t more) {
    if (!(file->data = realloc(file->data, file->size + more))) abort();
    return file->data + file->size;
}

static void add_entry(struct file *file, size_t packed, size_t raw) {
    put32(file->table + 8 * file->entries, packed);
    put32(file->table + 8 * file->entries + 4, raw);
    file->entries++;
    file->size += packed;
}

static void add_frame(struct file *file, const void *raw, size_t size) {
    size_t room = ZSTD_compressBound(size);
    size_t packed = ZSTD_compress(grow(file, room), room, raw, size, 1);
    if (ZSTD_isError(packed)) abort();
    add_entry(file, packed, size);
}

static void add_json(struct file *file, json_t *about) {
    char check[SHA256_HEX];
    json_object_del(about, "check");
    char *bare = json_dumps(about, JSON_COMPACT | JSON_SORT_KEYS);
    struct sha256 *hash = sha256_new();
    if (!bare || !hash) abort();
    sha256_add(hash, file->data, file->size);
    sha256_add(hash, bare, strlen(bare));
    sha256_finish(hash, check);
    json_object_set_new(about, "check", json_string(check));
    char *text = json_dumps(about, JSON_COMPACT | JSON_SORT_KEYS), *at = grow(file, 8 + strlen(text));
    put32(at, 0x184D2A57);
    put32(at + 4, strlen(text));
    memcpy(at + 8, text, strlen(text));
    add_entry(file, 8 + strlen(text), 0);
    free(text);
    free(bare);
}

static void add_table(struct file *file) {
    size_t entries = 8 * (size_t)file->entries;
    char *at = grow(file, 17 + entries);
    put32(at, 0x184D2A5E);
    put32(at + 4, entries + 9);
    memcpy(at + 8, file->table, entries);
    put32(at + 8 + entries, file->entries);
    at[12 + entries] = 0;
    put32(at + 13 + entries, 0x8F92EAB1);
    file->size += 17 + entries;
}

/* "S", frames (0-100), bytes a frame (2 bytes), 128 bytes of header, then JSON up to a NUL, then rows. */
static struct file assemble(const uint8_t *data, size_t size) {
    struct file file = {0};
    if (size < 4 + NPY_HEADER) return file;
    size_t frames = data[1] % 101, step = data[2] | (size_t)data[3] << 8;
    const uint8_t *json = data + 4 + NPY_HEADER, *end = memchr(json, '\0', size - 4 - NPY_HEADER);
    json_t *about = end ? json_loadb((const char *)json, (size_t)(end - json), JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (!json_is_object(about)) {
        json_decref(about);
        return file;
    }
    add_frame(&file, data + 4, NPY_HEADER);
    size_t left = size - (size_t)(end + 1 - data);
    for (size_t i = 0; i < frames && left > 0; i++) {
        size_t bytes = left < step ? left : step;
        add_frame(&file, data + size - left, bytes);
        left -= bytes;
    }
    add_json(&file, about);
    add_table(&file);
    json_decref(about);
    return file;
}

static void read_it(const void *data, size_t size) {
    uint64_t seeds[2] = {0, 1};
    int64_t labels[2] = {0, 1};
    struct shard_meta meta = {.rows = 2, .seeds = seeds, .labels = labels, .fingerprint = "f"};
    struct npy npy, expected = {.type = NPY_UINT8, .item = 1, .rank = 4, .shape = {2, 4, 4, 1}};
    enum shard_state state;
    struct shard_info info;
    struct error why, err;
    void *rows;
    json_t *about;
    if (frames_decode(data, size, &npy, &rows, &about, &err) == 0) {
        free(rows);
        json_decref(about);
    }
    const char *path = fuzz_file(data, size);
    if (frames_read_rows(path, 1, 1, &npy, &rows, &err) == 0) free(rows);
    if (store_check(path, &meta, &expected, &state, &info, &rows, &why, &err) == 0) free(rows);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct file file = size && data[0] == 'S' ? assemble(data, size) : (struct file){0};
    if (file.data) read_it(file.data, file.size);
    else read_it(data, size);
    free(file.data);
    return 0;
}
