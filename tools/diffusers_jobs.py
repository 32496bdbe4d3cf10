"""A diffusers scheduler as the `sampler` of a job. sampler_of(scheduler, steps) -> (sampler, differences): the job nearest to
what its pipeline makes, or None, and in what the two differ, a sentence each; none means the same numbers but for rounding
(and, where noise is added, the same distribution: the streams of noise are others).

DDIMScheduler and DDPMScheduler are read to the letter; of the others nothing is said."""

VARIANCES = {"fixed_small": "small", "fixed_small_log": "small", "fixed_large": "large", "learned_range": "learned"}


def visited(scheduler, ancestral):
    """The timesteps at which the network is asked, and where each step ends; -1 is clean data."""
    asked = [int(n) for n in scheduler.timesteps]
    if ancestral:
        return asked, [*asked[1:], -1]
    config, length = scheduler.config, scheduler.config.num_train_timesteps // len(asked)
    last = -1 if config.set_alpha_to_one else 0
    return asked, [n - length if n >= length else last for n in asked]


def named_grids(trained, steps):
    """The job's grids of integer timesteps, as src/solver/grid.c makes them."""
    yield "leading", [(steps - 1 - i) * (trained // steps) for i in range(steps)]
    yield "trailing", [round(trained - i * (trained / steps)) - 1 for i in range(steps)]
    yield "linspace", [round((trained - 1) * (steps - 1 - i) / (steps - 1)) if steps > 1 else trained - 1 for i in range(steps)]


def grid_of(asked, end, trained):
    if end < 0:
        for name, points in named_grids(trained, len(asked)):
            if points == asked:
                return {"grid": name, "steps": len(asked)}
    points = asked if end < 0 or end == asked[-1] else [*asked, end]  # a step of no length changes nothing
    return {"grid": {"times": [(n + 1) / trained for n in points]}, "final": "zero" if end < 0 else "none"}


def clipping(config, ancestral):
    """sampler.clip: True, or a map; None where x0 is left alone. DDIM keeps epsilon; DDPM's step is a function of x0 and x alone."""
    if not (config.thresholding or config.clip_sample):
        return None
    if config.thresholding:  # with a sample_max_value of 1, its default, it is clipping to -1..1
        clip = {} if config.sample_max_value == 1 else {"threshold": config.dynamic_thresholding_ratio, "threshold_max": config.sample_max_value}
    else:
        clip = {} if config.clip_sample_range == 1 else {"range": config.clip_sample_range}
    return clip | ({} if ancestral else {"epsilon": "kept"}) or True


def sampler_of(scheduler, steps):
    kind, config = type(scheduler).__name__, scheduler.config
    if kind not in ("DDIMScheduler", "DDPMScheduler"):
        return None, [f"{kind}: which job does what it does is not known here; `qtaylor plan --list` names the solvers"]
    ancestral = kind == "DDPMScheduler"
    trained = config.num_train_timesteps
    if not 1 <= steps <= trained:
        return None, [f"{steps} steps: expected 1 to the model's {trained}"]
    scheduler.set_timesteps(steps)
    asked, ends = visited(scheduler, ancestral)
    spacing = f"timestep_spacing {config.timestep_spacing}, steps_offset {config.steps_offset}"
    if asked[0] >= trained:
        return None, [f"{spacing}: its first of {steps} timesteps, {asked[0]}, is beyond the model's {trained}"]
    if ends[:-1] != asked[1:]:
        return None, [f"{spacing}: its {steps} steps end beside the timesteps where the next ones begin (the first ends at "
                      f"{ends[0]}, the next begins at {asked[1]}), which no job does; with leading spacing they meet"]
    clip, differences = clipping(config, ancestral), []
    sampler = {"solver": "ddpm" if ancestral else "ddim"} | grid_of(asked, ends[-1], trained) | ({"clip": clip} if clip else {})
    if not ancestral:
        return sampler, differences
    variance = VARIANCES.get(config.variance_type)
    if not variance:
        return None, [f"variance_type {config.variance_type}: expected one of {', '.join(VARIANCES)}"]
    if variance != "small" and asked[-1] > 0:
        differences = [f"the scheduler adds noise to the finished picture (variance_type {config.variance_type}, last "
                       f"timestep {asked[-1]}), the job does not"]
    return sampler | {"variance": variance}, differences


def hint(scheduler, steps):
    sampler, differences = sampler_of(scheduler, steps)
    what = f"{type(scheduler).__name__} at {steps} steps"
    if sampler is None:
        return f"no job is known to make what its {what} makes: {'; '.join(differences)}"
    if differences:
        return f"no job makes what its {what} makes; the nearest is sampler: {say(sampler)}, which differs: {'; '.join(differences)}"
    return f"its {what} is sampler: {say(sampler)}"


def say(sampler):
    import json

    return json.dumps(sampler).replace('"', "")
