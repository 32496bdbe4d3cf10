/* The shard file. In order:
 *
 *   1. one zstd frame: the .npy header, 128 bytes;
 *   2. zstd frames of 64 rows each, or as many as stay within 16 MiB, but at least one; the last may hold fewer;
 *   3. one skippable frame, magic 0x184D2A57: our JSON, compact, keys sorted;
 *   4. one skippable frame, magic 0x184D2A5E: the seek table of zstd's seekable format. For each frame of 1-3 an entry
 *      of 8 bytes (compressed size with headers and decompressed size, 4 bytes each, little-endian; decompressed size
 *      0 for the JSON frame), then a footer of 9: number of entries (4 bytes), descriptor 0 (1 byte), magic 0x8F92EAB1
 *      (4 bytes).
 *
 * So `zstd -d` gives the .npy, seekable readers find any row, and standard tools skip what is ours. Each zstd frame
 * carries its content size and checksum. The JSON's member "check" is the SHA-256 over all compressed bytes before the
 * JSON frame and the JSON without "check": no flipped bit in either goes unnoticed, and the seek table must fit the
 * frames exactly. All functions may be called by several threads at a time. */
#ifndef SHARD_FRAMES_H
#define SHARD_FRAMES_H

#include "base/error.h"
#include "base/hash.h"
#include "format/npy.h"

#include <jansson.h>
#include <stddef.h>

enum { FRAMES_ROWS = 64 };

/* SHA-256 of the .npy stream, as `zstd -dc FILE | sha256sum` gives it. */
int frames_digest(const struct npy *npy, const void *rows, char hex[SHA256_HEX], struct error *err);
/* The whole file as bytes: *file is new. `about` (the JSON, without "check") is not changed. Same input and zstd
 * version, same bytes. */
int frames_encode(const struct npy *npy, const void *rows, const json_t *about, int level, char **file, size_t *size,
                  struct error *err);
/* Decodes and verifies a whole file: *rows and *about (with "check") are new. CODE_DATA: damaged, and how. */
int frames_decode(const char *file, size_t size, struct npy *npy, void **rows, json_t **about, struct error *err);
/* Does a seek table end the file and account for all of its bytes? One that is far too long shows before it is read.
 * As of frames_decode, messages of damage do not name the file; others do. */
int frames_check_end(const char *path, struct error *err);
/* Reads rows first..first+count-1 and only the frames that hold them, guarded by their zstd checksums alone. *rows is
 * new; npy describes it: shape[0] is count. CODE_DATA: damaged, or no such rows. */
int frames_read_rows(const char *path, uint64_t first, uint64_t count, struct npy *npy, void **rows, struct error *err);

#endif
