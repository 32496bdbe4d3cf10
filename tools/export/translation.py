"""What a diffusers scheduler is in a job and a card, and what the translations of the classes share."""
import dataclasses
import inspect
import math

import numpy as np

from export.frame import Refusal

KINDS = {"linear": "discrete-linear", "scaled_linear": "discrete-scaled-linear", "squaredcos_cap_v2": "discrete-cosine"}
# Keys that several classes have.
BETAS = {"num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type"}
SPACING = {"timestep_spacing", "steps_offset"}
THRESHOLDING = {"thresholding", "dynamic_thresholding_ratio", "sample_max_value"}
CLIPPING = THRESHOLDING | {"clip_sample", "clip_sample_range"}
PREDICTIONS = {"epsilon": "epsilon", "sample": "x0", "v_prediction": "v", "flow_prediction": "velocity"}


@dataclasses.dataclass
class Translation:
    """card: its keys schedule, time and prediction, and what comes with these. start: what the pipeline multiplies
    unit normals by, in the job's x. wrap: None, or a function of the network's call, call(network, x, t, labels),
    which makes another one."""

    sampler: dict
    card: dict
    start: float = 1.0
    wrap: object = None
    notes: list = dataclasses.field(default_factory=list)


def refuse(scheduler, key, why):
    name = type(scheduler).__name__
    raise Refusal(f"{name}: {key}: {scheduler.config.get(key)}: {why}")


def refuse_keys(scheduler, handled):
    """Keys that the class has and its translation does not know must have their defaults."""
    for key, parameter in inspect.signature(type(scheduler).__init__).parameters.items():
        if key == "self" or key in handled or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        usual = parameter.default
        if scheduler.config.get(key, usual) != usual:
            refuse(scheduler, key, f"no job says this; expected {usual}")


# ---- the card ----

def trained_table(scheduler):
    return scheduler.alphas_cumprod.double().numpy()


def described(scheduler, kind):
    """Is the scheduler's table the one that the card's kind means, but for float32's rounding?"""
    import diffusers

    config = scheduler.config
    ends = {} if kind == "discrete-cosine" else {"beta_start": config.beta_start, "beta_end": config.beta_end}
    plain = diffusers.DDPMScheduler(config.num_train_timesteps, beta_schedule=config.beta_schedule, **ends)
    with np.errstate(divide="ignore"):
        return np.allclose(np.log(trained_table(scheduler)), np.log(trained_table(plain)), rtol=1e-3, atol=1e-5)


def schedule_of(scheduler):
    """The card's schedule: by its kind where that says the scheduler's table, or the table itself."""
    config, steps = scheduler.config, scheduler.config.num_train_timesteps
    kind, table = KINDS.get(config.get("beta_schedule")), trained_table(scheduler)
    if config.get("trained_betas") is None and kind and described(scheduler, kind):
        ends = {} if kind == "discrete-cosine" else {"beta0": config.beta_start, "beta1": config.beta_end}
        return {"kind": kind, "steps": steps} | ends
    if len(table) != steps:
        refuse(scheduler, "trained_betas", f"expected {steps} numbers (num_train_timesteps), found {len(table)}")
    if not (np.diff(table) < 0).all() or not (table[:-1] > 0).all() or not table[0] < 1:
        raise Refusal(f"{type(scheduler).__name__}: expected alphas_cumprod between 0 and 1 that fall from step to "
                      "step")
    if table[-1] == 0 and prediction_of(scheduler) == "epsilon":
        key = "rescale_betas_zero_snr" if config.get("rescale_betas_zero_snr") else "trained_betas"
        refuse(scheduler, key,
               "alpha is 0 in the last step, where epsilon says nothing: expected another prediction_type")
    return {"kind": "table", "steps": steps, "alphas_cumprod": table.tolist()}


def prediction_of(scheduler):
    kind = scheduler.config.get("prediction_type", "epsilon")
    if kind not in PREDICTIONS:
        refuse(scheduler, "prediction_type", f"expected one of {', '.join(PREDICTIONS)}")
    return PREDICTIONS[kind]


def trained_card(scheduler, dtype="int64"):
    steps = scheduler.config.num_train_timesteps
    return {"prediction": prediction_of(scheduler), "time": {"kind": "discrete", "steps": steps, "dtype": dtype},
            "schedule": schedule_of(scheduler)}


# ---- the grid ----

def named_grids(trained, steps, offset=0, drops_last=False):
    """The job's grids of integer timesteps, as src/solver/grid.c makes them."""
    last = steps - 1 + drops_last
    keys = {"steps_offset": offset} if offset else {}
    yield {"grid": "leading", **keys}, [(last - i) * (trained // (last + 1)) + offset for i in range(steps)]
    yield {"grid": "trailing"}, [round(trained - i * (trained / steps)) - 1 for i in range(steps)]
    linear = [round((trained - 1) * (last - i) / last) if last else trained - 1 for i in range(steps)]
    yield {"grid": "linspace"}, linear


def integer_grid(asked, trained, final, offset=0, drops_last=False):
    """Of timesteps that the network is asked at, and how the last step ends: zero, none or acp0."""
    end = {"final": final}
    for grid, points in named_grids(trained, len(asked), offset, drops_last):
        # Without a step into sigma 0 the points are one more than the steps, or as many with acp0's.
        if points == asked and final != "none":
            return {**grid, "steps": len(asked)} | (end if final != "zero" else {})
    if any(later >= earlier for earlier, later in zip(asked, asked[1:])):
        raise Refusal(f"timesteps that do not fall, {asked}: ask for fewer steps")
    return {"grid": {"steps": asked}} | end


def digits(values):
    """float32's numbers without the digits that float64 adds to them."""
    return [float(f"{float(value):.9g}") for value in values]


# ---- x0 ----

def clipping(scheduler, follows=True):
    """sampler.clip: True, or a map; None where x0 is left alone. follows: does epsilon follow the clipped x0 in the
    formula?"""
    config = scheduler.config
    if not (config.get("thresholding") or config.get("clip_sample")):
        return None
    if config.get("thresholding"):  # with a sample_max_value of 1, its default, it is clipping to -1..1
        clip = {} if config.sample_max_value == 1 else {
            "threshold": config.dynamic_thresholding_ratio, "threshold_max": config.sample_max_value}
    else:
        clip = {} if config.get("clip_sample_range", 1) == 1 else {"range": config.clip_sample_range}
    return clip | ({} if follows else {"epsilon": "kept"}) or True


def with_clip(sampler, clip):
    return sampler | ({"clip": clip} if clip else {})


def set_steps(scheduler, steps, **options):
    """set_timesteps, whose complaints are refusals."""
    trained = scheduler.config.num_train_timesteps
    if not 1 <= steps <= trained:
        raise Refusal(f"{steps} steps: expected 1 to the model's {trained}")
    try:
        scheduler.set_timesteps(steps, **options)
    except (ValueError, ZeroDivisionError, IndexError, TypeError, RuntimeError) as error:
        raise Refusal(f"{type(scheduler).__name__}: {steps} steps: {error}") from error


def set_trained_steps(scheduler, steps):
    """The same where timesteps are the trained ones."""
    set_steps(scheduler, steps)
    first, trained = float(scheduler.timesteps[0]), scheduler.config.num_train_timesteps
    if first > trained - 1:
        refuse(scheduler, "steps_offset",
               f"the first of {steps} timesteps, {first:g}, is beyond the model's last, {trained - 1}")


def start_of(sigma, scale):
    """A pipeline whose x is x0 + sigma z starts at scale times unit normals; the job's x is that over sqrt(1 +
    sigma^2)."""
    return float(scale) / math.hypot(1, float(sigma))
