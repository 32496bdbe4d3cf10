/* Shard files: commit, read, check, manifest. The file format is in frames.h. What a run has made is what its shard
 * files hold: the manifest and all other records can be made again from them. Several threads and processes may call
 * these at the same time, for the same file too: a reader sees a whole file, old or new. Nothing is collective. Errors:
 * CODE_DATA, the file is damaged; CODE_IO, it cannot be read or written; CODE_INTERNAL, out of memory. */
#ifndef SHARD_STORE_H
#define SHARD_STORE_H

#include "base/draft.h"
#include "base/error.h"
#include "base/hash.h"
#include "format/npy.h"
#include "shard/layout.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct text;

/* What the job determines about one shard file: its JSON frame,
 *   {"format": 1, "fingerprint", "shard": id, "seeds": "0-255,300", "labels": [...] or null, "dtype": "|u1", "shape",
 *    "sha256" of the .npy stream, "check": see frames.h}
 * with "rows": [...] where there are conditions, which row each sample got, "scales": [...] where guidance goes by
 * them, each sample's scale, in files of latents "output", in feature files also "network", "output" and "samples" (the
 * sha256 of those that they are of; older versions left it out), and in files of uint8 samples "clipped": so many
 * values lay outside the model's range by more than half a level before they were stored (left out where they were not
 * counted). seeds and labels are borrowed. */
struct shard_meta {
    shard_id id;
    uint64_t rows;
    const uint64_t *seeds; /* [rows] */
    const int64_t *labels; /* [rows] or NULL */
    /* The row of the job's conditions that the sample at a position gets; NULL: there are none. */
    uint64_t (*condition_row)(const void *run, uint64_t position);
    double (*scale)(const void *run, uint64_t position); /* its scale of guidance; NULL: one for all, or none */
    const void *run;                                     /* borrowed */
    uint64_t first;                                      /* the shard's first position */
    char fingerprint[SHA256_HEX];
    char network[SHA256_HEX]; /* feature files: sha256 of the network file; else "" */
    char samples[SHA256_HEX]; /* feature files: sha256 of the samples' .npy stream; "": not known, any will do */
    const char *output;       /* feature files: the network's output, "pool"; "latents"; NULL for samples */
    bool any_labels;          /* labels are NULL because they are not known here: any will do */
    bool counted;             /* samples: `clipped` is known. Nothing that a file is compared with */
    uint64_t clipped;
};

struct shard_info {          /* of a committed file */
    char sha256[SHA256_HEX]; /* of the .npy stream: header and rows, uncompressed */
    uint64_t file_bytes;
    uint64_t saturated; /* of uint8: values of 0 and 255 */
    uint64_t clipped;   /* what the file says of it, where counted */
    bool counted;
};

enum shard_state {
    SHARD_UNKNOWN, /* not looked at; store_check never says so */
    SHARD_GOOD,
    SHARD_MISSING,
    SHARD_DAMAGED, /* truncated, bit-flipped, unreadable, wrong shape */
    SHARD_FOREIGN, /* another format, network, output or id: a copy of another of its files */
    SHARD_STALE,   /* ours, but for another slice of seeds (the seed list grew, or the shard size changed) */
    SHARD_OTHERS,  /* whole, and of another fingerprint: another job's work, which is never replaced (store_yields) */
    SHARD_STATES
};
extern const char *const shard_state_names[];

/* "DIR/samples/000012.npy.zst", "DIR/latents/000012.npy.zst" and "DIR/features/NETWORK12/OUTPUT/000012.npy.zst", new;
 * network "": samples, where output is NULL, or latents. */
char *store_path(const char *run_dir, const char *network, const char *output, shard_id id);

/* Does this file name, "000012.npy.zst", name a shard of a run that has so many? Fills *id. */
bool store_names(const char *name, uint64_t shards, shard_id *id);
/* Seeds as text, runs of neighbours as "first-last": "0-255,300". New, or NULL when out of memory. */
char *store_seeds(const uint64_t *seeds, uint64_t count);

/* Compresses rows [meta->rows][...] (zstd `level`) and commits one file atomically; its folder must exist. guard: see
 * file_write_guarded. Same input, same bytes. */
int store_write(const char *path, const struct shard_meta *meta, const struct npy *npy, const void *rows, int level,
                const struct file_guard *guard, struct shard_info *info, struct error *err);
/* Reads a whole file and verifies everything that can be: zstd checksums, seek table, JSON, sha256. *rows new.
 * *json (new; NULL not wanted): the JSON frame. CODE_DATA: damaged. */
int store_read(const char *path, struct npy *npy, void **rows, json_t **json, struct shard_info *info,
               struct error *err);
/* Reads and judges a file against what it should be. `why` (may be NULL) explains a state that is neither good nor
 * missing, without naming the path. Returns -1 only when the file is there but cannot be read, or memory runs out.
 * *info stays empty and *rows_out (NULL: not wanted) NULL unless the file is good; then *rows_out is new. */
int store_check(const char *path, const struct shard_meta *expected, const struct npy *npy, enum shard_state *state,
                struct shard_info *info, void **rows_out, struct error *why, struct error *err);

/* CODE_DATA: a file of this state and `why` (store_check) at `path` must not be replaced. */
int store_yields(const char *path, enum shard_state state, const struct error *why, struct error *err);

/* store_check for a file's rows and the labels it carries (labels[rows]; NULL: not wanted). A model's labels that
 * `expected` leaves out (labels NULL, any_labels) are taken as the file has them. *rows is new where the file is good,
 * else NULL. */
int store_load(const char *path, const struct shard_meta *expected, const struct npy *npy, enum shard_state *state,
               void **rows, int64_t *labels, struct error *why, struct error *err);

/* manifest.jsonl: one record a good shard, {"id", "seeds", "rows": their number, "conditions": "0-9,0-5" where there
 * are some, "sha256", "bytes"}, rewritten whole. infos: [count], an empty sha256 is left out. */
int store_manifest(const char *run_dir, const struct shard_meta *metas, const struct shard_info *infos, size_t count,
                   const struct file_guard *guard, struct error *err);
/* Appends what would be written. */
int store_manifest_text(struct text *text, const struct shard_meta *metas, const struct shard_info *infos, size_t count,
                        struct error *err);
/* One digest of all payloads: sha256 over the shards' sha256 hex digits in id order (the number that must be equal for
 * any number of ranks); "" when out of memory. */
void store_payload_digest(const struct shard_info *infos, size_t count, char hex[SHA256_HEX]);

/* Appends to names, a line each and sorted, the paths in that folder that are no shard 0..shards-1, and adds their
 * number to *count. A missing folder has none. Hidden files are not looked at: they are files on their way, of this run
 * or of a dead one. */
int store_strangers(const char *run_dir, const char *network, const char *output, uint64_t shards, struct text *names,
                    size_t *count, struct error *err);

#endif
