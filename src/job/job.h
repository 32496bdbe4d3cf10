/* A job file (YAML), read once into a value that nobody changes afterwards. Keys: jobs/README.md. */
#ifndef JOB_JOB_H
#define JOB_JOB_H

#include "base/error.h"
#include "config/source.h"
#include "job/card.h"
#include "job/sample_dtype.h"
#include "job/sampler.h"
#include "job/seeds.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum label_rule {
    LABELS_NONE,     /* the default: the model gets no labels (or its null label, where it needs one) */
    LABELS_BALANCED, /* seed mod classes */
    LABELS_RANDOM,   /* Philox stream 2^32-1 of the seed */
    LABELS_EDM,      /* as EDM's generate.py draws them: needs noise torch-cpu or torch-cuda */
    LABELS_CONSTANT, /* one class for all */
    LABELS_FILE,     /* one label a sample, in the order of the seed list */
};
enum rows_rule {             /* which row of the conditions a sample gets */
                 ROWS_CYCLE, /* its position in the seed list, modulo their number */
                 ROWS_EACH,  /* its position: as many rows as samples */
                 ROWS_FILE,  /* one number a sample, in the order of the seed list */
};
enum rounding { ROUNDING_EDM, ROUNDING_ADM, ROUNDING_DIFFUSERS };
enum latents_kind { LATENTS_NONE, LATENTS_FLOAT32, LATENTS_FLOAT16 };
enum device_kind { DEVICE_AUTO, DEVICE_CPU, DEVICE_CUDA };
enum precision_kind { PRECISION_FP32, PRECISION_TF32 };
enum metric {
    METRIC_FID,
    METRIC_SFID,
    METRIC_FID_INFINITY,
    METRIC_KID,
    METRIC_IS,
    METRIC_PRDC,
    METRIC_CMMD,
    METRIC_MIND,
    METRIC_VENDI,
    METRIC_FLD,
    METRIC_FDR,
    METRIC_CLIP_SCORE,
    METRIC_KINDS
};
enum { ROUNDS_LEAST = 200 }; /* samples below which no metric has a standard error, JACKKNIFE_LEAST */
enum {
    EVALUATED_MOST = 8, /* feature networks */
    NETWORK_NAME = 64,  /* bytes of a feature network's name, with its end */
};
enum evaluated_file {                       /* of a feature network */
                      EVALUATED_REFERENCE,  /* statistics, features or images */
                      EVALUATED_VALIDATION, /* the same of a second set, for fld and fdr */
                      EVALUATED_TEXT,       /* features of texts, for clip-score */
                      EVALUATED_FILES,
};
struct named_path {
    char *name, *path; /* path resolved; either NULL: not given */
};
struct named_paths {
    struct named_path list[EVALUATED_MOST];
    size_t count;
};
enum { JOB_AUTO = -1, WORKERS_MOST = 4096 };
enum noise_kind { NOISE_PHILOX, NOISE_TORCH_CPU, NOISE_TORCH_CUDA };

/* Indexed by the enums above; each list ends with NULL. */
extern const char *const label_rule_names[];
extern const char *const rows_rule_names[];
extern const char *const rounding_names[];
extern const char *const latents_names[];
extern const char *const metric_names[];
extern const char *const device_names[];
extern const char *const precision_names[];
extern const char *const noise_names[];
extern const char *const evaluated_file_names[]; /* the keys of evaluate */

/* Is it a feature network's name, of letters, digits, _ and -, which stands before a metric's: NETWORK.fid? */
bool network_name_fits(const char *name);
/* The metric that another tool calls `name`, or that a slip of the pen made it of; NULL: none. */
const char *metric_guess(const char *name);

enum { OTHER_DECODERS_MOST = 15 };

struct job {
    char *name; /* default: the job file's without its extension */
    struct {
        char *path;         /* resolved against the job file's folder; NULL only when `card` is given */
        json_t *card;       /* keys that go over those of the card in the file, or NULL: none */
        bool row_dependent; /* a sample may depend on the others of its batch */
    } model;
    struct seeds seeds;
    struct {
        enum label_rule rule;
        int64_t constant; /* LABELS_CONSTANT */
        char *path;       /* LABELS_FILE, resolved */
    } labels;
    int batch; /* 0: not given, JOB_AUTO: to be measured, until automatic_settle (sample/automatic.h) */
    struct sampler sampler;
    struct {
        struct condition_file {       /* of one input of the model; resolved, perhaps "FILE.safetensors#KEY" */
            char *name, *path, *null; /* null NULL: what the card says */
        } files[INPUTS_MOST];
        size_t count;
        enum rows_rule rule;
        char *rows;     /* ROWS_FILE, resolved */
        char *captions; /* a text with one line a row, or NULL; resolved */
    } conditions;
    struct {
        char *path;            /* of the decoder, resolved; NULL: the samples are what the model makes */
        int batch;             /* latents that it is given at once; 0: unset (decoder_batch) */
        struct other_decoder { /* of a list all but the first: each decodes the same latents, into decoded/NAME */
            char *name, *path;
            int batch;
        } others[OTHER_DECODERS_MOST];
        size_t others_count;
    } decode;
    struct {
        char *dir;                  /* against the working directory; default runs/NAME */
        uint64_t samples_per_shard; /* 0: unset (layout_init chooses) */
        int level;                  /* zstd */
        enum rounding rounding;
        enum sample_dtype dtype;
        enum latents_kind latents; /* kept beside the pictures, and as which type */
    } output;
    struct {
        bool enabled;                /* the job has an `evaluate:` block */
        struct named_paths features; /* networks; name NULL: their own; path NULL: `none` (pixels are the features) */
        struct named_paths files[EVALUATED_FILES]; /* see run_evaluated_file for which is whose */
        unsigned metrics;                          /* bits 1 << METRIC_... */
        uint64_t count;                            /* only the first so many samples; 0: all */
        double fid_error; /* until the FID's standard error is at most this, no more samples are made; NAN: unset */
    } evaluate;
    enum device_kind device;
    bool share_device; /* allow several ranks on one GPU */
    bool cuda_graphs;  /* record the network's calls on a GPU, and replay them */
    int workers;       /* 0: from the cores or GPUs given; JOB_AUTO as in batch */
    bool unmeasured;   /* what was to be measured has its default instead */
    enum precision_kind precision;
    enum noise_kind noise;
    char *initial;    /* .npy float [N,C,H,W] used as register 0's start instead of noise, or NULL; resolved */
    json_t *resolved; /* the whole job with overrides and defaults and absolute paths; job_from_json reads it back */
};

extern const struct key_table job_keys;

/* A job file, read and parsed once, of which any number of jobs are made. */
struct job_file {
    const char *path; /* borrowed; as it was asked for */
    struct source source;
    json_t *root, *places; /* see yaml_parse */
    json_t *document;      /* the run.json whose job is root; NULL: it is no such file */
};
/* A run's run.json is the job that it was made by. */
int job_file_read(struct job_file *file, const char *path, struct error *err);
void job_file_release(struct job_file *file);
/* Of a job out of a run.json: are the files that it names here? CODE_DATA: not, and how to name another. */
int job_file_check_paths(const struct job_file *file, const struct job *job, struct error *err);
/* Of such a job that makes samples: its folder must be the one that the run.json is in, or another than the run's; and
 * the run in it must not have been stopped after those seeds. */
int job_file_check_folder(const struct job_file *file, const struct job *job, struct error *err);

/* The name of a job that says none: its file's without folder and extension, "digits" of "jobs/digits.yaml". New, or
 * NULL when out of memory. */
char *job_name_of_file(const char *path);
/* override_apply on a job's tree, where `model: PATH` is short for `model: {path: PATH}`, to which it may add. */
int job_override(json_t *root, json_t *places, const char *override, struct error *err);
/* A job of a copy of the file under overrides: see job_read. */
int job_from_file(struct job *job, const struct job_file *file, const char *const *overrides, size_t overrides_count,
                  struct error *err);
/* Of job->resolved, whose paths are as they are. */
int job_from_json(struct job *job, const json_t *resolved, const char *name, struct error *err);

/* Reads a job file. overrides: "key.path=value" each (values are YAML; null takes a key away; missing maps on the way
 * are made). Every mistake is one error with file, line, column, key, what was expected and what was found (CODE_DATA;
 * a malformed override CODE_USAGE); a mistake that an override made is named by it: "--set batch=0: batch: ...". */
int job_read(struct job *job, const char *path, const char *const *overrides, size_t overrides_count,
             struct error *err);
/* The same from text (YAML or JSON), with `name` for messages and paths relative to `folder`; NULL: of job->resolved,
 * whose paths are as they are. */
int job_parse(struct job *job, const char *text, const char *name, const char *folder, const char *const *overrides,
              size_t overrides_count, struct error *err);
/* The batch of a job that gives none: the one that the model's file, or its guide's, was made for (half of it where
 * guidance is batched), else 64. job->resolved is made again. */
int job_set_batch(struct job *job, const struct card *card, struct error *err);
void job_release(struct job *job);
const struct condition_file *job_condition(const struct job *job, const char *name); /* or NULL */

#endif
