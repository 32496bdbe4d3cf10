/* The model card: what a model file says about itself (extra file `diffusion.json` inside a TorchScript or .pt2
 * archive, or `model: {card: ...}` in the job). Keys and meanings: jobs/README.md. */
#ifndef JOB_CARD_H
#define JOB_CARD_H

#include "base/error.h"
#include "config/keys.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* F is the network's output, x its input; "edm*" are raw networks under the named preconditioning. */
enum prediction {
    PREDICTION_EPSILON,
    PREDICTION_X0,
    PREDICTION_V,
    PREDICTION_SCORE,
    PREDICTION_VELOCITY,  /* F = dx/dtau in the model's own unscaled time tau */
    PREDICTION_EDM,       /* x0 = c_skip x + c_out F(c_in x, c_noise) with sigma_data */
    PREDICTION_EDM_VP,    /* c_skip 1, c_out -sigma, c_in 1/sqrt(sigma^2+1): F is epsilon */
    PREDICTION_EDM_VE,    /* c_skip 1, c_out sigma, c_in 1 */
    PREDICTION_EDM_IDDPM, /* as edm-vp; time is the nearest trained index */
};

extern const char *const prediction_names[]; /* as in a card, by the enum; ends with NULL */

enum time_kind {                  /* what the model receives as t */
                 TIME_CONTINUOUS, /* scale * tau */
                 TIME_DISCRETE,   /* step n of time.steps: int64, or float32 fractional index N t - 1 */
                 TIME_SIGMA,      /* sigma/alpha */
                 TIME_LOG_SIGMA,  /* ln(sigma/alpha) */
                 TIME_C_NOISE,    /* by the preconditioning: see schedule_model_time (solver/schedule.h) */
};

enum schedule_kind {
    SCHEDULE_LINEAR,
    SCHEDULE_COSINE,
    SCHEDULE_LOG_LINEAR,
    SCHEDULE_DISCRETE_LINEAR,
    SCHEDULE_DISCRETE_SCALED_LINEAR,
    SCHEDULE_DISCRETE_COSINE, /* squaredcos_cap_v2 */
    SCHEDULE_TABLE,
    SCHEDULE_EDM,
    SCHEDULE_FLOW, /* alpha = 1 - t, sigma = noise_scale t */
    SCHEDULE_GVP,  /* alpha = cos(pi t/2), sigma = sin(pi t/2) */
};

struct decoder; /* job/decoder.h */

enum input_dtype { INPUT_FLOAT32, INPUT_INT64, INPUT_BOOL };
extern const char *const input_dtype_names[]; /* ends with NULL */
enum { INPUTS_MOST = 8, INPUT_AXES = 3 };
#define INPUT_ZEROS "zeros"

struct card_input { /* what a network gets besides x, time and labels, by the name of forward's argument */
    char name[64];
    int rank;
    size_t shape[INPUT_AXES]; /* of one row */
    enum input_dtype dtype;   /* float32 by default */
    char *null;               /* what stands for none: "zeros", or a file's path; NULL: nothing does. Owned */
};

/* What is stored of a sample. */
struct sample_form {
    int channels, height, width;
    double low, high; /* its range; infinite: it has none, and is no picture (sample_bounded) */
};

struct card {
    int channels, height, width;
    double low, high; /* range of x0; [-1, 1] unless the card says otherwise; infinite: none ("range": null) */
    enum prediction prediction;
    double sigma_data; /* edm; 0.5 by default */
    struct {
        enum time_kind kind;
        double scale;  /* continuous; 1 by default */
        bool reversed; /* continuous, noise_at 0: the model's time tau is 1 - t (noise at 0, data at 1), else t */
        int steps;     /* discrete */
        bool integer;  /* discrete: int64 (default) or float32 */
    } time;
    struct {
        enum schedule_kind kind;
        double beta0, beta1;             /* linear 0.1, 20; discrete 1e-4, 0.02 (scaled_linear 0.00085, 0.012) */
        double s;                        /* cosine; 0.008 */
        double logsnr_end, logsnr_start; /* log-linear: lambda at t = 1 and at t = 0 (-5, 5) */
        double sigma_min, sigma_max;     /* edm; 0.002, 80 */
        int steps;                       /* discrete and table; 1000 */
        double noise_scale;              /* flow; 1 */
        double *alphas_cumprod;          /* table: [steps], the last may be 0; or NULL, and: */
        double *alphas, *sigmas; /* table: [steps] each, alpha/sigma falling, the last alpha may be 0. All owned */
    } schedule;
    int64_t classes;    /* 0: the model takes no labels */
    int64_t null_label; /* -1: none */
    int inside;         /* dtype: of weights and arithmetic in the file, float32 at its border; for people to read */
    int batch;          /* the one batch size the file was exported for; 0: any */
    struct card_input inputs[INPUTS_MOST];
    size_t inputs_count;
    bool learned_variance;   /* C' = 2C: the output's channels C..2C are v of log variance = (1 + v)/2 log beta + (1 -
                                v)/2 log beta~ */
    struct card *guide;      /* of the model that guides this one (sampler.guidance.model), or NULL; owned */
    struct decoder *decoder; /* of what turns its samples into pictures (decode), or NULL; owned */
    json_t *json;            /* the card as read; owned */
    json_t *overridden;      /* {key: [the file's value or null, the job's]}, where model.card overrides; NULL: nothing.
                                Owned */
};

/* Parses a card. `where` names its place in messages ("model.pt: diffusion.json"). Unknown keys, wrong types and
 * impossible values are errors that name the key, what was expected and what was found. */
int card_parse(struct card *card, const json_t *json, const char *where, struct error *err);
/* The same with the reader's places; the card is the map at `path`. */
int card_from(struct card *card, const struct key_reader *reader, const char *path, const json_t *map);
/* Are names and types right of a map that goes over another card? It need not be whole. */
int card_check_part(const struct key_reader *reader, const char *path, const json_t *map);
/* Reads the card inside a model file: the entry ending in "/extra/diffusion.json" of a zip archive (TorchScript),
 * the text "diffusion.json" of an AOTInductor package's metadata (.pt2), or, when the file is itself JSON (the
 * closed-form models of the tests), its member "card". */
int card_read(struct card *card, const char *model_path, struct error *err);
/* The same under `over`, such as a job's model.card: its keys, also those within time, schedule and labels, take the
 * place of the file's; a time or schedule of another kind takes that of the whole map. A file that has no card, or is
 * not there, adds nothing. */
int card_read_under(struct card *card, const char *model_path, const json_t *over, struct error *err);
/* The same look-up for any extra file or metadata ("features.json": the member "features" of a JSON file).
 * *json is new. CODE_DATA when there is none. */
int card_read_extra(json_t **json, const char *model_path, const char *name, struct error *err);
/* The same; 0 with *json NULL: there is none. */
int card_find_extra(json_t **json, const char *model_path, const char *name, struct error *err);
/* *form new: {"form": "torchscript", "aoti" (AOTInductor package) or "closed form"} and, of a package, what its
 * metadata says it was compiled for (AOTI_DEVICE_KEY, AOTI_CPU_ISA, ...). By its content; nothing else of it is
 * checked. */
int model_form(json_t **form, const char *path, struct error *err);
/* card->guide from json, or where that is NULL from the file. Whether it fits the card is plan_resolve's to say. */
int card_add_guide(struct card *card, const json_t *json, const char *model_path, struct error *err);
void card_release(struct card *card);
bool card_takes_steps(const struct card *card); /* is the model told its time as a whole step, int64? */
size_t card_elements(const struct card *card);  /* channels * height * width */
/* The decoder's pictures where there is one, else the model's own x0. */
struct sample_form card_sample(const struct card *card);
size_t sample_elements(const struct sample_form *form); /* channels * height * width */
bool sample_bounded(const struct sample_form *form);    /* has it a range, which pixels can be made of? */
extern const struct key_kind CARD_SHAPE;                /* int, int, int: [channels, height, width] */
extern const struct key_kind CARD_RANGE;                /* KEY_PAIR; null: infinite */

#endif
