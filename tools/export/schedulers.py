"""Every scheduler class of diffusers: the translation into a job's sampler, or why there is none."""
import importlib

from export.checkpoints import first_line, read_json
from export.frame import Refusal

TRAINED, SIGMA, OTHER = "scheduler_trained", "scheduler_sigma", "scheduler_other"
# class: (module, function, what it is in a job)
TRANSLATED = {
    "DDIMScheduler": (TRAINED, "ddim",
                      "`ddim`, with `epsilon: kept` where it clips; spacing whose steps do not meet is refused"),
    "DDIMParallelScheduler": (TRAINED, "ddim", "as DDIMScheduler"),
    "DDPMScheduler": (TRAINED, "ddpm", "`ddpm`, variance `small`, `large` or `learned`"),
    "DDPMParallelScheduler": (TRAINED, "ddpm", "as DDPMScheduler"),
    "UnCLIPScheduler": (TRAINED, "unclip", "`ddpm`"),
    "PNDMScheduler": (TRAINED, "pndm", "`plms` where `skip_prk_steps` is true, else `pndm`"),
    "LCMScheduler": (TRAINED, "lcm", "`lcm`, `timestep_scaling` 10"),
    "TCDScheduler": (TRAINED, "tcd", "`tcd`, eta 0.3"),
    "EulerDiscreteScheduler": (SIGMA, "euler", "`ddim`, which is Euler in sigma/alpha"),
    "EulerAncestralDiscreteScheduler": (SIGMA, "euler_ancestral", "`euler-ancestral`"),
    "HeunDiscreteScheduler": (SIGMA, "heun", "`edm`"),
    "LMSDiscreteScheduler": (SIGMA, "lms", "`lms`, order 4"),
    "KDPM2DiscreteScheduler": (SIGMA, "kdpm2", "`kdpm2`; sigmas that it rounds half of are refused"),
    "KDPM2AncestralDiscreteScheduler": (SIGMA, "kdpm2_ancestral",
                                        "`kdpm2-ancestral`; sigmas that it rounds half of are refused"),
    "DPMSolverMultistepScheduler": (SIGMA, "dpm_multistep",
                                    "`dpmpp-1`, `dpmpp-2m`, `dpmpp-3m-common`, `dpm-1`, `dpm-2m`, "
                                    "`sde-dpmpp` of order 1 and 2; `sde-dpmsolver` is refused"),
    "DPMSolverSinglestepScheduler": (SIGMA, "dpm_singlestep",
                                     "`dpmpp-2s`, `dpmpp-3s`, `dpm-2s`, `dpm-3s`, or of order 1 as "
                                     "DPMSolverMultistepScheduler; `solver_type: heun` is refused"),
    "UniPCMultistepScheduler": (SIGMA, "unipc",
                                "`unipc`, `unipc-bh1`; `predict_x0: false`, `disable_corrector`, `solver_p` are "
                                "refused"),
    "DEISMultistepScheduler": (SIGMA, "deis", "`deis`"),
    "FlowMatchEulerDiscreteScheduler": (OTHER, "flow_euler",
                                        "`euler`, or `consistency` where `stochastic_sampling` is true; "
                                        "`use_dynamic_shifting` and `invert_sigmas` are refused"),
    "FlowMatchHeunDiscreteScheduler": (OTHER, "flow_heun", "`heun`"),
    "FlowMatchLCMScheduler": (OTHER, "flow_lcm", "`consistency`; `scale_factors` are refused"),
    "EDMEulerScheduler": (OTHER, "edm_euler", "`euler` on an edm card"),
    "EDMDPMSolverMultistepScheduler": (OTHER, "edm_dpm", "as DPMSolverMultistepScheduler, on an edm card"),
    "CMStochasticIterativeScheduler": (OTHER, "consistency", "`consistency`; the boundary condition is in model.pt"),
}

REFUSED = {
    "AmusedScheduler": "it unmasks tokens, and samples here are real numbers",
    "VQDiffusionScheduler": "it samples classes of tokens, and samples here are real numbers",
    "ConsistencyDecoderScheduler": "it decodes latents, and makes no samples from noise",
    "CogVideoXDDIMScheduler": "of CogVideoX's videos: samples here are pictures",
    "CogVideoXDPMScheduler": "of CogVideoX's videos: samples here are pictures",
    "CosineDPMSolverMultistepScheduler": "of Stable Audio: samples here are pictures",
    "DDIMInverseScheduler": "it goes from pictures to noise",
    "DPMSolverMultistepInverseScheduler": "it goes from pictures to noise",
    "DDPMWuerstchenScheduler": "of Wuerstchen's prior, whose networks take text",
    "DPMSolverSDEScheduler": "the noise of a step and of its half are of one Brownian path, which no solver has",
    "IPNDMScheduler": "it takes x0 for 0 in its first step, at which alpha is 0, and no solver does",
    "KarrasVeScheduler": "it is deprecated; EDM's sampler is solver edm with churn",
    "RePaintScheduler": "it fills holes in pictures, and needs pictures and masks",
    "SASolverScheduler": "its tau is 1 between two times and 0 elsewhere, and solver sa-solver has one tau",
    "SCMScheduler": "of trigonometric flow, x = cos(t) x0 + sin(t) z with scaled data, for networks that take text "
                    "(Sana-Sprint)",
    "ScoreSdeVeScheduler": "its corrector takes steps of Langevin dynamics whose length depends on the batch",
    "ScoreSdeVpScheduler": "it is deprecated; solver euler-maruyama is the reverse SDE",
}


def translate(scheduler, steps):
    """Of a scheduler object; Refusal where no job makes the pictures."""
    name = type(scheduler).__name__
    if name in REFUSED:
        raise Refusal(f"{name}: {REFUSED[name]}")
    if name not in TRANSLATED:
        raise Refusal(f"{name}: which job does what it does is not known here")
    module, function, _ = TRANSLATED[name]
    return getattr(importlib.import_module(f"export.{module}"), function)(scheduler, steps)


USUAL_STEPS = {"DDPMScheduler": 1000, "DDPMParallelScheduler": 1000, "UnCLIPScheduler": 25, "LCMScheduler": 4,
               "TCDScheduler": 4, "CMStochasticIterativeScheduler": 1}


def usual_steps(scheduler):
    """num_inference_steps of the pipelines where the caller says none."""
    return min(USUAL_STEPS.get(type(scheduler).__name__, 50), scheduler.config.num_train_timesteps)


def read_scheduler(path, other=None):
    """The scheduler in a config file, or of the class `other` with that config, as from_config makes it."""
    import diffusers

    read = read_json(path)
    name = other or read.get("_class_name", "DDPMScheduler")
    if name in REFUSED:
        raise Refusal(f"{path}: {name}: {REFUSED[name]}")
    kind = getattr(diffusers, name, None)
    if not hasattr(kind, "from_config") or not hasattr(kind, "set_timesteps"):
        raise Refusal(f"{path}: expected a scheduler of diffusers {diffusers.__version__}, found {name}")
    try:
        return kind.from_config({key: value for key, value in read.items()})
    except (TypeError, ValueError, NotImplementedError, ImportError) as error:
        raise Refusal(f"{path}: diffusers makes no {name} of it: {first_line(error)}") from error


def table():
    """The table of jobs/README.md."""
    rows = {name: what for name, (_, _, what) in TRANSLATED.items()}
    rows |= {name: f"refused: {why}" for name, why in REFUSED.items()}
    lines = [f"| {name} | {what} |" for name, what in sorted(rows.items())]
    return "\n".join(["| scheduler of diffusers | in a job |", "|---|---|", *lines])


