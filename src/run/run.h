/* An opened run: its document (document.h) as structs, and the questions that everybody asks of it. Nothing here is
 * collective; a run that is open may be read by several threads at a time. */
#ifndef RUN_RUN_H
#define RUN_RUN_H

#include "base/error.h"
#include "base/hash.h"
#include "eval/network.h"
#include "job/card.h"
#include "job/fingerprint.h"
#include "job/job.h"
#include "run/document.h"
#include "shard/layout.h"
#include "shard/lists.h"
#include "shard/store.h"
#include "solver/plan.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct evaluated {          /* a feature network of the evaluation and its files */
    struct network network; /* not loaded */
    const char *path;       /* of its file, borrowed from the job; NULL: none */
    struct evaluated_with {
        const char *path; /* borrowed from the job; NULL: not given */
        char *made;       /* of the images that are there (reference_images.h), which stands in its place, or NULL */
        char sha256[SHA256_HEX]; /* once ranks agree on it; else "" */
    } files[EVALUATED_FILES];
};

struct run { /* an opened document; const while ranks work on it */
    json_t *document;
    struct job job;
    uint64_t all_seeds; /* of the job's list; where the run was stopped (document_samples) job.seeds are fewer */
    struct card card;
    struct sampler sampler; /* resolved */
    struct {
        char solver[32];
        int nfe, model_calls; /* 0 of an adaptive one */
        bool adaptive;
    } plan; /* at a glance: document_read_plan has it whole */
    struct layout layout;
    struct evaluated *evaluated; /* [evaluated_count], in the job's order; owned */
    size_t evaluated_count;      /* 0: nothing is evaluated */
    char fingerprint[SHA256_HEX];
    char latents[SHA256_HEX]; /* fingerprint_of_latents */
    bool keeps_latents;       /* job.output.latents; who has no use for them may set it to false */
    bool reference_unmade;    /* some of its references are images of which there are no statistics yet */
    uint64_t condition_rows;  /* rows of the conditions; 0: the job has none */
    struct lists lists;       /* where files say who gets which label, row and scale of guidance */
    char *dir;
};

/* dir: the run directory; NULL: the job's output.dir. evaluate: false leaves the job's evaluation out, and its files
 * are not looked at. Takes over the reference to document, also on failure. */
int run_open(struct run *run, json_t *document, const char *dir, bool evaluate, struct error *err);
void run_close(struct run *run);
/* Does the job in run.json mean to this program what the run was made with? CODE_DATA: not, naming the key. */
int run_check(const struct run *run, struct error *err);
/* The fingerprint of such a job and card, with the run's files but for the decoder's (sha256; NULL: none). */
int run_fingerprint(struct fingerprint *fingerprint, const struct run *run, const struct job *job,
                    const struct card *card, const char *decoder, struct error *err);

/* Opens the job's feature networks and gives each its files; run->job and run->card must be there. Names that are not
 * all different, and files of networks that there are not, are CODE_DATA. run_close also after a failure. */
int run_open_networks(struct run *run, struct error *err);
void run_close_networks(struct run *run);
/* The file that a network is evaluated with; borrowed; NULL: none. */
const char *run_evaluated_file(const struct run *run, size_t network, enum evaluated_file which);
/* New: the sha256 of the feature network, or of its enum evaluated_file ("": it has none): of one network a string, of
 * several an object by their names. */
enum { NETWORK_DIGESTS = -1 };
json_t *run_digests(const struct run *run, int which);

/* The sha256 of a file that the samples come from, as the document has it; NULL: it has none. */
#define MODEL_SHA256 "model.sha256"
#define GUIDE_SHA256 "sampler.guidance.model.sha256"
#define LABELS_SHA256 "labels.sha256"
#define INITIAL_SHA256 "initial"
#define DECODER_SHA256 "decode.sha256"
#define SCALES_SHA256 "sampler.guidance.scale.sha256"
#define ROWS_SHA256 "conditions.rows_sha256"
const char *run_sha256(const struct run *run, const char *key);

/* The label of the sample at a position in the seed list; -1 where the model takes none. */
int64_t run_label(const struct run *run, uint64_t position);
/* The row of the conditions that the sample at a position in the seed list gets. */
uint64_t run_row(const struct run *run, uint64_t position);
/* The scale of guidance of that sample, where each has its own (lists.scales). */
double run_scale(const struct run *run, uint64_t position);
/* A shard's files are the latents that its samples were decoded of, where they are kept, its samples and, by number,
 * the wanted outputs of the feature networks: output k of network i is i * NETWORK_OUTPUTS + k. */
enum { LATENTS = -2, SAMPLES = -1, FEATURE_FILES = EVALUATED_MOST * NETWORK_OUTPUTS };
#define LATENTS_FOLDER "latents"
const struct network_output *run_output(const struct run *run, int output); /* of a feature network; borrowed */
/* Is there such a file? True for SAMPLES. */
bool run_wants(const struct run *run, int output);
/* Type and shape of a shard's latents (float32 or float16 [n,C,H,W]), samples (uint8 [n,H,W,C], or float32 or float16
 * [n,C,H,W]) or features (float32 [n,D]). */
struct npy run_npy(const struct run *run, shard_id shard, int output);
/* The meta of a shard's file. seeds [rows] and labels [rows] are the caller's buffers, filled here; labels may stay
 * unused. */
struct shard_meta run_meta(const struct run *run, shard_id shard, int output, uint64_t *seeds, int64_t *labels);
char *run_path(const struct run *run, shard_id shard, int output); /* new */

#endif
