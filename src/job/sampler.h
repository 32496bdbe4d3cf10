/* The keys of `sampler:` as a value. job_read fills what the job says and leaves the rest at its "unset" value;
 * plan_resolve (solver/plan.h) fills the rest from the solver's and the schedule's defaults. */
#ifndef JOB_SAMPLER_H
#define JOB_SAMPLER_H

#include "config/keys.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum clock_kind { CLOCK_UNSET, CLOCK_T, CLOCK_LOGSNR };
enum grid_kind {
    GRID_UNSET,
    GRID_UNIFORM,   /* uniform in the clock */
    GRID_QUADRATIC, /* t_i = (sqrt(t_start) + i/N (sqrt(t_end) - sqrt(t_start)))^2 */
    GRID_UNIFORM_LOGSNR,
    GRID_KARRAS,      /* in sigma/alpha, by its power 1/rho */
    GRID_EXPONENTIAL, /* geometric in sigma/alpha */
    GRID_LU,          /* the same, under the name of its paper: uniform in lambda (DPM-Solver, Lu et al. 2022) */
    GRID_BETA,        /* sigma/alpha by the quantiles of a beta distribution */
    GRID_LEADING,     /* diffusers' integer timesteps */
    GRID_LINSPACE,
    GRID_TRAILING,
    GRID_LINSPACE_FRACTIONAL, /* the same places unrounded, for models that take any time */
    GRID_TIMES,               /* the user's own lists: of times t, ... */
    GRID_SIGMAS,              /* ... of sigma/alpha, ... */
    GRID_LOGSNR,              /* ... of log(alpha/sigma), ... */
    GRID_STEPS,               /* ... or of integer timesteps */
};
static inline bool grid_is_list(enum grid_kind grid) {
    return grid >= GRID_TIMES;
}
static inline bool grid_has_ends(enum grid_kind grid) { /* a first and a last time of its own */
    return grid >= GRID_LEADING;
}
enum final_kind { FINAL_UNSET, FINAL_NONE, FINAL_ZERO, FINAL_DENOISE, FINAL_ACP0, FINAL_MEAN, FINAL_TWEEDIE };
static inline bool
final_is_x0(enum final_kind final) { /* one more evaluation makes the sample of x at the last point */
    return final != FINAL_NONE && final != FINAL_ACP0;
}
enum solver_type { TYPE_UNSET, TYPE_MIDPOINT, TYPE_HEUN };
enum diffusion_form {
    DIFFUSION_UNSET,
    DIFFUSION_CONSTANT,
    DIFFUSION_SBDM,
    DIFFUSION_SIGMA,
    DIFFUSION_LINEAR,
    DIFFUSION_DECREASING,
    DIFFUSION_INCREASING_DECREASING
};
enum variance_kind { VARIANCE_UNSET, VARIANCE_SMALL, VARIANCE_LARGE, VARIANCE_LEARNED };
enum clip_epsilon { CLIP_FOLLOWS, CLIP_KEPT };
enum guidance_form { GUIDANCE_PLAIN, GUIDANCE_CFG_ZERO, GUIDANCE_APG };
enum toggle { TOGGLE_UNSET, TOGGLE_OFF, TOGGLE_ON };
enum batched { BATCHED_OFF, BATCHED_ON, BATCHED_AUTO }; /* AUTO until automatic_settle (sample/automatic.h) */
enum state_kind { STATE_FLOAT64, STATE_FLOAT32 };

enum { RESTARTS_MOST = 16 };

struct sampler {
    char solver[32];
    char *plan;     /* the file of a plan that stands for the solver, resolved; NULL: there is none. Owned */
    json_t *table;  /* of solver: table (multistep.h); NULL: there is none. Owned */
    double order;   /* NAN: unset; INFINITY: the limit */
    int nfe, steps; /* 0: unset; exactly one of them is given for fixed-step solvers, none for rk45 */
    enum clock_kind clock;
    enum grid_kind grid;
    double *times; /* of a grid that is a list, from noise to data as the user wrote them, owned; else NULL */
    size_t times_count;
    int points;            /* of a list of sigmas or logsnr: interpolated to so many; 0: as it is */
    int steps_offset;      /* GRID_LEADING: added to every integer; -1: unset (0) */
    double shift;          /* S: every time moves to lambda - ln S; NAN: unset (1) */
    double rho;            /* GRID_KARRAS; NAN: unset (7) */
    double beta[2];        /* GRID_BETA: alpha and beta of the distribution; NAN: unset (0.6) */
    double t_start, t_end; /* NAN: unset */
    enum final_kind final;
    double last_step; /* with final mean or tweedie: where the last step, to 0, starts, as t_end; NAN: unset (0.04) */
    double eta;       /* ddim, tcd; NAN: unset (0; tcd 0.3) */
    double tau;       /* sa-solver: noise, 1 the reverse SDE's, 0 none; NAN: unset (1) */
    struct churn {    /* edm; in sigma/alpha */
        double amount, low, high, noise; /* s_churn (NAN: unset, 0), s_min, s_max, s_noise */
    } churn;
    struct restart { /* restart; in sigma/alpha */
        int count;
        struct restart_interval {
            int steps, times;        /* points of its own grid, both ends counted; how often it is gone through */
            double low, high, noise; /* its ends; s_noise */
        } list[RESTARTS_MOST];
    } restart;
    struct diffusion {            /* euler-maruyama */
        enum diffusion_form form; /* unset: the schedule's own SDE, on a flow sbdm */
        double norm;
    } diffusion;
    enum solver_type solver_type;  /* of DPM-Solver's multistep second order; unset: midpoint */
    enum variance_kind variance;   /* ddpm; unset: learned where the card says so, else small */
    enum toggle lower_order_final; /* of the multistep and singlestep solvers */
    struct guidance {
        double scale;   /* 1: none; NAN: there is a list, or a file */
        double *scales; /* [scales_count][2]: t, falling, and the scale there; linear between, constant beyond; owned,
                           or NULL */
        size_t scales_count;
        char *scale_rows; /* a file of one for each row of the conditions (sample/scales.h), resolved; owned, or NULL */
        double rescale;   /* phi of Lin et al. 2023 (arXiv 2305.08891), section 3.4; 0: none */
        double interval[2]; /* of sigma/alpha, ends included, in which it acts; 0, INFINITY: always */
        bool interval_in_t; /* the same of t */
        enum guidance_form form;
        int zero_init_steps;                  /* cfg-zero*: steps at the start whose velocity is 0 */
        double eta, norm_threshold, momentum; /* apg; NAN: unset (0, none, 0) */
        int channels;                         /* it acts on the first so many of the output's channels; 0: all */
        enum batched batched;                 /* with labels and without in one call of twice the batch */
        char *model; /* the guiding model's file, resolved (autoguidance); NULL: the model without labels. Owned */
    } guidance;
    struct clip { /* of x0 */
        bool on;
        enum clip_epsilon epsilon; /* follows x0, or stays the network's */
        double range;              /* to [-range, range]; NAN: to the card's */
        double threshold;          /* dynamic thresholding by this quantile of |x0|; NAN: none */
        double threshold_max;      /* the quantile counts as at most this; NAN: no bound */
    } clip;
    double rtol, atol; /* rk45; NAN: unset (1e-5, score_sde's) */
    enum state_kind state;
};

extern const struct key_table sampler_keys;
extern const struct key_kind KEY_GRID; /* the member is the whole sampler */

/* Nothing said: every key at its "unset" value; guidance 1, state float64. */
void sampler_init(struct sampler *sampler);
/* *copy owns what it points at, but for the table, which both share. */
int sampler_copy(struct sampler *copy, const struct sampler *of, struct error *err);
void sampler_release(struct sampler *sampler);

/* Names as in a job file, indexed by the enums above (NULL for *_UNSET); each list ends with NULL. */
extern const char *const clock_names[];
extern const char *const grid_names[];
extern const char *const diffusion_names[];

/* New object with the job's keys, as a job file would have them; unset ones are left out. Infinity is written ".inf" as
 * a string. NULL when out of memory. For a resolved sampler this is its part of the fingerprint. */
json_t *sampler_to_json(const struct sampler *sampler);

#endif
