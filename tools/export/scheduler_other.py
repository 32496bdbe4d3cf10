"""Schedulers of diffusers with a path of their own: flow matching, EDM's, consistency models."""
import math

import torch

from export.scheduler_sigma import dpm_solver, lowered
from export.translation import THRESHOLDING, Translation, clipping, digits, refuse, refuse_keys, set_steps, with_clip

# ---- flow matching: asked at sigma times num_train_timesteps, F = z - x0 ----

FLOW_SIGMAS = {"num_train_timesteps", "shift", "base_shift", "max_shift", "base_image_seq_len", "max_image_seq_len",
               "shift_terminal",
               "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas",
               "time_shift_type"}  # the last is of dynamic shifting


def flow_card(scheduler):
    return {"prediction": "velocity", "time": {"kind": "continuous", "scale": scheduler.config.num_train_timesteps},
            "schedule": {"kind": "flow"}}


def in_flow(scheduler, solver, nodes):
    if not all(later < earlier for earlier, later in zip(nodes, nodes[1:])) or nodes[0] > 1:
        refuse(scheduler, "shift", f"expected sigmas that fall from 1 at most, found {digits(nodes)}")
    return Translation({"solver": solver, "grid": {"times": digits(nodes)}}, flow_card(scheduler))


def flow_euler(scheduler, steps):
    """Dynamic shifting depends on a number that the pipeline computes from the size of the picture."""
    refuse_keys(scheduler, FLOW_SIGMAS | {"stochastic_sampling"})
    set_steps(scheduler, steps)
    solver = "consistency" if scheduler.config.stochastic_sampling else "euler"
    return in_flow(scheduler, solver, scheduler.sigmas.tolist()[:-1])


def flow_heun(scheduler, steps):
    refuse_keys(scheduler, {"num_train_timesteps", "shift"})
    set_steps(scheduler, steps)
    sigmas = scheduler.sigmas.tolist()
    return in_flow(scheduler, "heun", [sigmas[0], *sigmas[1:-1:2]])


def flow_lcm(scheduler, steps):
    refuse_keys(scheduler, FLOW_SIGMAS | {"upscale_mode"})  # the last is of scale_factors alone
    set_steps(scheduler, steps)
    return in_flow(scheduler, "consistency", scheduler.sigmas.tolist()[:-1])


# ---- EDM's preconditioning ----

EDM = {"sigma_min", "sigma_max", "sigma_data", "sigma_schedule", "num_train_timesteps", "prediction_type", "rho",
       "final_sigmas_type"}


def negative(call):
    return lambda net, x, t, *given: -call(net, x, t, *given)


def in_edm(scheduler, sampler):
    """v_prediction is epsilon, as these classes call the two, with the other sign."""
    config, steps = scheduler.config, len(scheduler.timesteps)
    last = float(scheduler.sigmas[-1])
    karras = "karras" if config.rho == 7 else {"karras": config.rho}
    grid = "exponential" if config.sigma_schedule == "exponential" else karras
    if last > 0 and steps < 2:
        refuse(scheduler, "final_sigmas_type", "one step of no length: ask for two or more")
    shape = {"grid": grid, "steps": steps} if last == 0 else {"grid": grid, "steps": steps - 1, "final": "none"}
    if steps == 1:
        shape = {"grid": {"sigmas": digits([config.sigma_max])}}
    card = {"prediction": "edm", "sigma_data": config.sigma_data, "time": {"kind": "c_noise"},
            "schedule": {"kind": "edm", "sigma_min": config.sigma_min, "sigma_max": config.sigma_max}}
    return Translation(sampler | shape, card, start=float(scheduler.init_noise_sigma) / config.sigma_max,
                       wrap=negative if config.prediction_type == "v_prediction" else None)


def edm_euler(scheduler, steps):
    refuse_keys(scheduler, EDM)
    set_steps(scheduler, steps)
    return in_edm(scheduler, {"solver": "euler"})


def edm_dpm(scheduler, steps):
    refuse_keys(scheduler, EDM | THRESHOLDING | {"solver_order", "algorithm_type", "solver_type", "lower_order_final",
                                                 "euler_at_final"})
    set_steps(scheduler, steps)
    sampler = dpm_solver(scheduler) | lowered(scheduler, scheduler.config.solver_order)
    return in_edm(scheduler, with_clip(sampler, clipping(scheduler)))


# ---- consistency models ----

def consistency_function(config):
    """The network's own preconditioning with the boundary condition; the job's time is sigma."""
    data, least = config.sigma_data, config.sigma_min

    def wrap(call):
        def consistent(net, x, t, labels):
            sigma = t.reshape(-1, 1, 1, 1)
            skip = data**2 / ((sigma - least) ** 2 + data**2)
            out = (sigma - least) * data / torch.sqrt(sigma**2 + data**2)
            return skip * x + out * call(net, x / torch.sqrt(sigma**2 + data**2), 250 * torch.log(t + 1e-44), labels)
        return consistent
    return wrap


def consistency(scheduler, steps):
    refuse_keys(scheduler, {"num_train_timesteps", "sigma_min", "sigma_max", "sigma_data", "rho", "clip_denoised"})
    set_steps(scheduler, steps)
    config, nodes = scheduler.config, scheduler.sigmas.tolist()
    if math.isclose(nodes[-2], nodes[-1], rel_tol=1e-6):
        nodes = nodes[:-1]
    sampler = {"solver": "consistency", "grid": {"sigmas": digits(nodes)}, "final": "none"}
    card = {"prediction": "x0", "time": {"kind": "sigma"},
            "schedule": {"kind": "edm", "sigma_min": config.sigma_min, "sigma_max": config.sigma_max}}
    return Translation(with_clip(sampler, config.clip_denoised), card, wrap=consistency_function(config))
