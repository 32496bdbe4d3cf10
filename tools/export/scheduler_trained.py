"""Schedulers of diffusers that step from one trained timestep to another: DDPM, DDIM, PNDM, UnCLIP, LCM, TCD."""
from export.frame import Refusal
from export.translation import (BETAS, CLIPPING, SPACING, Translation, clipping, integer_grid, refuse, refuse_keys,
                                set_trained_steps, trained_card, with_clip)

VARIANCES = {"fixed_small": "small", "fixed_small_log": "small", "fixed_large": "large", "learned_range": "learned"}


def check_meeting(scheduler, asked):
    """DDIM and PNDM step to n - N/steps, which has to be where the network is asked next."""
    length = scheduler.config.num_train_timesteps // len(asked)
    ends = [n - length for n in asked]
    if ends[:-1] != asked[1:]:
        at = next(i for i in range(len(asked) - 1) if ends[i] != asked[i + 1])
        refuse(scheduler, "timestep_spacing",
               f"at {len(asked)} steps step {at + 1} ends at timestep {ends[at]} while the next "
               f"begins at {asked[at + 1]}, which no job does; with leading spacing they meet")
    return ends[-1]


def ending(scheduler, asked):
    """final of those that have set_alpha_to_one."""
    last = check_meeting(scheduler, asked)
    if last >= 0:
        refuse(scheduler, "timestep_spacing", f"its last step ends at timestep {last} and not at the data")
    return "zero" if scheduler.config.set_alpha_to_one else "acp0"


def ddim(scheduler, steps):
    refuse_keys(scheduler, BETAS | SPACING | CLIPPING | {"set_alpha_to_one", "rescale_betas_zero_snr"})
    set_trained_steps(scheduler, steps)
    asked, config = scheduler.timesteps.tolist(), scheduler.config
    grid = integer_grid(asked, config.num_train_timesteps, ending(scheduler, asked), config.steps_offset)
    return Translation(with_clip({"solver": "ddim"} | grid, clipping(scheduler, follows=False)),
                       trained_card(scheduler))


def ancestral(scheduler, asked, variance, offset):
    """DDPM's step; variance: the job's."""
    if variance != "small" and asked[-1] > 0:
        refuse(scheduler, "variance_type",
               f"noise is added to the finished picture, as the last timestep is {asked[-1]} and not "
               "0; no job does that")
    grid = integer_grid(asked, scheduler.config.num_train_timesteps, "zero", offset)
    sampler = {"solver": "ddpm", "variance": variance} | grid
    return Translation(with_clip(sampler, clipping(scheduler)), trained_card(scheduler))


def ddpm(scheduler, steps):
    refuse_keys(scheduler, BETAS | SPACING | CLIPPING | {"variance_type", "rescale_betas_zero_snr"})
    set_trained_steps(scheduler, steps)
    variance = VARIANCES.get(scheduler.config.variance_type)
    if not variance:
        refuse(scheduler, "variance_type", f"expected one of {', '.join(VARIANCES)}")
    return ancestral(scheduler, scheduler.timesteps.tolist(), variance, scheduler.config.steps_offset)


def unclip(scheduler, steps):
    """UnCLIPPipeline passes each step the next timestep, as DDPM has it."""
    refuse_keys(scheduler, BETAS | CLIPPING | {"variance_type"})
    if steps < 2:
        raise Refusal(f"UnCLIPScheduler: expected 2 steps or more, found {steps}")
    set_trained_steps(scheduler, steps)
    return ancestral(scheduler, scheduler.timesteps.tolist(), VARIANCES[scheduler.config.variance_type], 0)


def pndm(scheduler, steps):
    refuse_keys(scheduler, BETAS | SPACING | {"skip_prk_steps", "set_alpha_to_one"})
    if scheduler.config.prediction_type != "epsilon":
        refuse(scheduler, "prediction_type",
               "it averages what the network says at several times, and the solvers average epsilon; "
               "expected epsilon")
    set_trained_steps(scheduler, steps)
    config, skip = scheduler.config, scheduler.config.skip_prk_steps
    asked = [int(n) for n in scheduler._timesteps[::-1]]
    final = ending(scheduler, asked)
    if not skip and config.timestep_spacing != "leading":
        refuse(scheduler, "timestep_spacing", "expected leading where skip_prk_steps is false")
    if not skip and steps < 4:
        raise Refusal(f"PNDMScheduler: expected 4 steps or more where skip_prk_steps is false, found {steps}")
    if final == "acp0" and asked[-1] == 0:  # its last step has no length
        final = "none"
    sampler = {"solver": "plms" if skip else "pndm"} | integer_grid(asked, config.num_train_timesteps, final,
                                                                    config.steps_offset)
    return Translation(sampler, trained_card(scheduler))


def distilled(scheduler, steps, sampler, end):
    refuse_keys(scheduler, BETAS | CLIPPING | {"original_inference_steps", "set_alpha_to_one", "timestep_scaling",
                                               "steps_offset",
                                               "timestep_spacing", "rescale_betas_zero_snr"})
    set_trained_steps(scheduler, steps)
    asked = scheduler.timesteps.tolist()
    return asked, sampler | integer_grid(asked + end, scheduler.config.num_train_timesteps, "none" if end else "zero")


def lcm(scheduler, steps):
    """set_alpha_to_one, steps_offset and timestep_spacing are keys that its step does not look at."""
    if scheduler.config.timestep_scaling != 10:
        refuse(scheduler, "timestep_scaling", "solver lcm has 10")
    _, sampler = distilled(scheduler, steps, {"solver": "lcm"}, [])
    return Translation(with_clip(sampler, clipping(scheduler)), trained_card(scheduler))


def tcd(scheduler, steps):
    """Its step reads neither the keys of clipping nor timestep_scaling."""
    _, sampler = distilled(scheduler, steps, {"solver": "tcd", "eta": 0.3}, [0])
    return Translation(sampler, trained_card(scheduler),
                       notes=["eta 0.3, as step() has it where the pipeline passes none"])


