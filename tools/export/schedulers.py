"""Every scheduler class of diffusers: the translation into a job's sampler, or why there is none."""
import importlib

from export.checkpoints import Refusal, first_line, read_json

# class: (module, function, what it is in a job)
TRANSLATED = {
    "DDIMScheduler": ("scheduler_trained", "ddim", "`ddim`; `epsilon: kept` where it clips; spacing whose steps do not meet is refused"),
    "DDIMParallelScheduler": ("scheduler_trained", "ddim", "as DDIMScheduler"),
    "DDPMScheduler": ("scheduler_trained", "ddpm", "`ddpm`; variance `small`, `large`, `learned`"),
    "DDPMParallelScheduler": ("scheduler_trained", "ddpm", "as DDPMScheduler"),
    "UnCLIPScheduler": ("scheduler_trained", "unclip", "`ddpm`"),
    "PNDMScheduler": ("scheduler_trained", "pndm", "`plms` where `skip_prk_steps`, else `pndm`"),
    "LCMScheduler": ("scheduler_trained", "lcm", "`lcm`"),
    "TCDScheduler": ("scheduler_trained", "tcd", "`tcd`, eta 0.3"),
}

REFUSED = {}


def translate(scheduler, steps):
    """Of a scheduler object; Refusal where no job makes the pictures."""
    name = type(scheduler).__name__
    if name in REFUSED:
        raise Refusal(f"{name}: {REFUSED[name]}")
    if name not in TRANSLATED:
        raise Refusal(f"{name}: which job does what it does is not known here")
    module, function, _ = TRANSLATED[name]
    return getattr(importlib.import_module(f"export.{module}"), function)(scheduler, steps)


USUAL_STEPS = {"DDPMScheduler": 1000, "DDPMParallelScheduler": 1000, "UnCLIPScheduler": 25, "LCMScheduler": 4, "TCDScheduler": 4}


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
    rows = [(name, what) for name, (_, _, what) in TRANSLATED.items()] + [(name, f"refused: {why}") for name, why in REFUSED.items()]
    return "\n".join(["| scheduler of diffusers | in a job |", "|---|---|", *(f"| {name} | {what} |" for name, what in sorted(rows))])


