/* The keys of `sampler:` as a value. job_read fills what the job says and leaves the rest at its "unset" value;
 * plan_resolve (solver/plan.h) fills the rest from the solver's and the schedule's defaults. */
#ifndef JOB_SAMPLER_H
#define JOB_SAMPLER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum clock_kind { CLOCK_UNSET, CLOCK_T, CLOCK_LOGSNR };
enum grid_kind {
    GRID_UNSET,
    GRID_UNIFORM,        /* uniform in the clock */
    GRID_QUADRATIC,      /* t_i = (sqrt(t_start) + i/N (sqrt(t_end) - sqrt(t_start)))^2 */
    GRID_UNIFORM_LOGSNR,
    GRID_KARRAS,         /* in sigma/alpha, by its power 1/rho */
    GRID_EXPONENTIAL,    /* geometric in sigma/alpha */
    GRID_LEADING,        /* diffusers' integer timesteps */
    GRID_LINSPACE,
    GRID_TRAILING,
    GRID_TIMES,          /* the user's own list */
};
enum final_kind { FINAL_UNSET, FINAL_NONE, FINAL_ZERO, FINAL_DENOISE, FINAL_MEAN, FINAL_TWEEDIE };
enum solver_type { TYPE_UNSET, TYPE_MIDPOINT, TYPE_HEUN };
enum diffusion_form {
    DIFFUSION_UNSET, DIFFUSION_CONSTANT, DIFFUSION_SBDM, DIFFUSION_SIGMA, DIFFUSION_LINEAR, DIFFUSION_DECREASING,
    DIFFUSION_INCREASING_DECREASING
};
enum variance_kind { VARIANCE_UNSET, VARIANCE_SMALL, VARIANCE_LARGE, VARIANCE_LEARNED };
enum toggle { TOGGLE_UNSET, TOGGLE_OFF, TOGGLE_ON };
enum state_kind { STATE_FLOAT64, STATE_FLOAT32 };

struct sampler {
    char solver[32];
    double order;         /* NAN: unset; INFINITY: the limit */
    int nfe, steps;       /* 0: unset; exactly one of them is given for fixed-step solvers, none for rk45 */
    enum clock_kind clock;
    enum grid_kind grid;
    double *times;        /* GRID_TIMES: decreasing model times t, owned; else NULL */
    size_t times_count;
    double rho;           /* GRID_KARRAS; NAN: unset (7) */
    double t_start, t_end; /* NAN: unset */
    enum final_kind final;
    double last_step;     /* with final mean or tweedie: where the last step, to 0, starts, as t_end; NAN: unset (0.04) */
    double eta;           /* ddim, tcd; NAN: unset (0; tcd 0.3) */
    double tau;           /* sa-solver: noise, 1 the reverse SDE's, 0 none; NAN: unset (1) */
    struct churn {        /* edm; in sigma/alpha */
        double amount, low, high, noise; /* s_churn (NAN: unset, 0), s_min, s_max, s_noise */
    } churn;
    struct diffusion {    /* euler-maruyama */
        enum diffusion_form form; /* unset: the schedule's own SDE, on a flow sbdm */
        double norm;
    } diffusion;
    enum solver_type solver_type; /* of DPM-Solver's multistep second order; unset: midpoint */
    enum variance_kind variance; /* ddpm; unset: learned where the card says so, else small */
    enum toggle lower_order_final; /* of the multistep and singlestep solvers */
    struct guidance {
        double scale;       /* 1: none */
        double rescale;     /* phi of Lin et al. 2023 (arXiv 2305.08891), section 3.4; 0: none */
        double interval[2]; /* of sigma/alpha, ends included, in which it acts; 0, INFINITY: always */
        int channels;       /* it acts on the first so many of the output's channels; 0: all */
        char *model;        /* the guiding model's file, resolved (autoguidance); NULL: the model without labels. Owned */
    } guidance;
    bool clip;            /* clamp x0 to the card's range */
    double rtol, atol;    /* rk45; NAN: unset (1e-5, score_sde's) */
    enum state_kind state;
};

/* Nothing said: every key at its "unset" value; guidance 1, state float64. */
void sampler_init(struct sampler *sampler);

/* Names as in a job file, indexed by the enums above (NULL for *_UNSET); each list ends with NULL. */
extern const char *const clock_names[], *const grid_names[], *const final_names[], *const variance_names[],
    *const state_names[], *const diffusion_names[], *const solver_type_names[];

/* New object with the job's keys, as a job file would have them; unset ones are left out. Infinity is written ".inf" as
 * a string. NULL when out of memory. For a resolved sampler this is its part of the fingerprint. */
json_t *sampler_to_json(const struct sampler *sampler);

#endif
