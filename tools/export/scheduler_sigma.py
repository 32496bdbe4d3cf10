"""Schedulers of diffusers that step from one sigma/alpha to another: Euler, Heun, LMS, KDPM2, DPM-Solver, UniPC, DEIS.

The network is asked at the time that its table has for a sigma, exactly, rounded or cut to an integer, as the class
does it: a file that rounds has the rounding inside."""
import math

import numpy as np
import torch

from export.frame import Refusal
from export.translation import (
    BETAS,
    SPACING,
    THRESHOLDING,
    Translation,
    clipping,
    digits,
    integer_grid,
    prediction_of,
    refuse,
    refuse_keys,
    set_steps,
    set_trained_steps,
    start_of,
    trained_card,
    trained_table,
    with_clip,
)

SIGMAS = {"use_karras_sigmas": "karras", "use_lu_lambdas": "lu", "use_exponential_sigmas": "exponential",
          "use_beta_sigmas": "beta"}
FLOW = {"use_flow_sigmas", "flow_shift", "time_shift_type"}  # the last is of dynamic shifting alone


# ---- the times that the network is asked at ----

def cut(call, shift):
    """At whole timesteps, cut off; shift: for times that are whole but for rounding."""
    return lambda net, x, t, *given: call(net, x, torch.clamp(torch.floor(t + shift), min=0), *given)


def rounding_of(scheduler, asked, exact):
    """wrap of a Translation by which the network is asked at `asked` where the job says the times `exact`."""
    asked, exact = np.asarray(asked, float), np.asarray(exact, float)
    if np.allclose(asked, exact, rtol=0, atol=2e-3):
        return None
    if np.array_equal(asked, np.round(exact)):
        return lambda call: lambda net, x, t, *given: call(net, x, torch.round(t), *given)
    for shift in (1e-3, -1e-3):
        if np.array_equal(asked, np.clip(np.floor(exact + shift), 0, None)):
            return lambda call: cut(call, shift)
    raise Refusal(f"{type(scheduler).__name__}: it asks the network at {asked.tolist()}, expected {digits(exact)} of "
                  "its sigmas, or "
                  "these rounded")


def exact_times(scheduler, nodes):
    """The fractional timesteps of sigmas, as _sigma_to_t has them."""
    logs = 0.5 * (np.log1p(-trained_table(scheduler)) - np.log(trained_table(scheduler)))
    return np.interp(np.log(nodes), logs, np.arange(len(logs)))


# ---- the grid ----

def ending(scheduler, nodes, last):
    """final, and is the last step one of no length, at whose beginning the network is asked for nothing?"""
    if last == 0:
        return "zero", False
    if last < nodes[-1] * (1 - 1e-6):
        least = math.sqrt(1 / trained_table(scheduler)[0] - 1)
        if abs(last / least - 1) > 1e-4:
            refuse(scheduler, "final_sigmas_type", f"its last sigma is {last:g}, expected 0 or the table's {least:g}")
        return "acp0", False
    if len(nodes) < 2:
        refuse(scheduler, "final_sigmas_type", "one step of no length: ask for two or more")
    return "none", True


def sigma_grid(scheduler, nodes, final, dropped):
    """Of points that are not all trained timesteps: by name where the ends are the table's."""
    table = trained_table(scheduler)
    ends = np.sqrt(1 / table[[-1, 0]] - 1)
    named = next((name for key, name in SIGMAS.items() if scheduler.config.get(key)), None)
    shape = {"final": final} if final != "zero" else {}
    if named and np.allclose(np.log([nodes[0], nodes[-1]]), np.log(ends), rtol=0, atol=1e-3):
        return {"grid": named, "steps": len(nodes) - dropped} | shape
    if nodes[0] > ends[0] * 1.001 or nodes[-1] < ends[1] * 0.999:
        raise Refusal(f"{type(scheduler).__name__}: its sigmas go from {nodes[0]:g} to {nodes[-1]:g}, expected within "
                      "those that the "
                      f"network learnt, {ends[0]:g} to {ends[1]:g}")
    return {"grid": {"sigmas": digits(nodes)}} | shape


def place(scheduler, sampler, asked, nodes, last, drops_last=False):
    """The Translation of a sampler on these points."""
    config, trained = scheduler.config, scheduler.config.num_train_timesteps
    asked, nodes = [float(n) for n in asked], [float(sigma) for sigma in nodes]
    final, dropped = ending(scheduler, nodes, float(last))
    whole = [round(n) for n in asked]
    own = np.sqrt(1 / trained_table(scheduler)[np.clip(whole, 0, trained - 1)] - 1)
    if np.allclose(asked, whole, rtol=0, atol=1e-6) and np.allclose(nodes, own, rtol=1e-4):
        if dropped:
            grid = integer_grid(whole, trained, "none", config.get("steps_offset", 0), drops_last)
        else:
            grid = integer_grid(whole, trained, final, config.get("steps_offset", 0), drops_last)
        return Translation(sampler | grid, trained_card(scheduler))
    linear = np.linspace(trained - 1, 0, len(asked))
    if len(asked) > 1 and np.allclose(asked, linear, rtol=0, atol=1e-3) and not any(config.get(key) for key in SIGMAS):
        grid = {"grid": "linspace-fractional", "steps": len(asked)} | ({"final": final} if final != "zero" else {})
        return Translation(sampler | grid, trained_card(scheduler, "float32"))
    wrap = rounding_of(scheduler, asked, exact_times(scheduler, nodes))
    notes = ["Its scheduler asks the network at whole timesteps beside its own sigmas: model.pt rounds the times that "
             "it gets."]
    return Translation(sampler | sigma_grid(scheduler, nodes, final, dropped), trained_card(scheduler, "float32"),
                       wrap=wrap,
                       notes=notes if wrap else [])


def place_flow(scheduler, sampler, asked, nodes, last):
    """use_flow_sigmas: sigmas are the flow's times; the network is asked at them times num_train_timesteps, cut."""
    if prediction_of(scheduler) == "v":
        refuse(scheduler, "prediction_type",
               "v_prediction is of variance-preserving paths, and use_flow_sigmas is none")
    trained, nodes = scheduler.config.num_train_timesteps, [float(sigma) for sigma in nodes]
    if not all(later < earlier for earlier, later in zip(nodes, nodes[1:])):
        raise Refusal(f"{type(scheduler).__name__}: expected sigmas that fall, found {digits(nodes)}")
    if 0 < float(last) < nodes[-1] * (1 - 1e-6):
        refuse(scheduler, "final_sigmas_type",
               f"with use_flow_sigmas its last step ends at sigma {float(last):g} of the betas")
    card = {"prediction": prediction_of(scheduler), "time": {"kind": "continuous", "scale": trained},
            "schedule": {"kind": "flow"}}
    wrap = rounding_of(scheduler, asked, np.asarray(nodes) * trained)
    notes = ["Its scheduler asks the network at whole timesteps: model.pt cuts the times that it gets."] if wrap else []
    final = {"final": "none"} if float(last) > 0 else {}
    return Translation(sampler | {"grid": {"times": digits(nodes)}} | final, card, wrap=wrap,
                       notes=notes)


# ---- Euler, Heun, LMS, KDPM2: x is x0 + sigma z ----

EULERS = BETAS | SPACING | {"use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"}


def check_second_order(scheduler, first):
    """From there the second half of a step is a difference of numbers so large that their rounding decides the
    pictures."""
    if first > 1000:
        refuse(scheduler, "beta_schedule",
               f"it starts at sigma/alpha {first:g}, from where a first step of order 2 is a difference "
               "of numbers so large that rounding decides the pictures")


def in_x(scheduler, sampler, nodes, asked, last=0.0):
    translation = place(scheduler, sampler, asked, nodes, last)
    translation.start = start_of(nodes[0], scheduler.init_noise_sigma)
    return translation


def continuous_euler(scheduler, steps):
    """timestep_type continuous with v_prediction (Stable Video Diffusion): asked at log(sigma)/4 on sigmas of its
    own."""
    config, nodes = scheduler.config, scheduler.sigmas.tolist()[:-1]
    if not config.use_karras_sigmas or not config.sigma_min or not config.sigma_max or steps < 2:
        refuse(scheduler, "timestep_type",
               "continuous is translated with use_karras_sigmas, sigma_min and sigma_max, of two steps "
               "or more")
    ends = [-math.log(config.sigma_max), -math.log(config.sigma_min)]
    card = {"prediction": "v", "time": {"kind": "c_noise"}, "schedule": {"kind": "log-linear", "logsnr": ends}}
    sampler = {"solver": "ddim", "grid": "karras", "steps": steps, "final": "zero"}
    if scheduler.sigmas[-1] > 0:
        refuse(scheduler, "final_sigmas_type", "with timestep_type continuous expected zero")
    return Translation(sampler, card, start=start_of(nodes[0], scheduler.init_noise_sigma))


def euler(scheduler, steps):
    refuse_keys(scheduler, EULERS | {"interpolation_type", "sigma_min", "sigma_max", "timestep_type",
                                     "rescale_betas_zero_snr",
                                     "final_sigmas_type"})
    config = scheduler.config
    if config.prediction_type == "v_prediction" and config.timestep_type == "continuous":
        set_steps(scheduler, steps)
        return continuous_euler(scheduler, steps)
    set_trained_steps(scheduler, steps)
    if config.interpolation_type != "linear" and not any(config[key] for key in EULERS & SIGMAS.keys()):
        refuse(scheduler, "interpolation_type",
               "it asks the network at other times than those of its sigmas; expected linear")
    if prediction_of(scheduler) not in ("epsilon", "v", "x0"):
        refuse(scheduler, "prediction_type", "the scheduler itself does not take it")
    sigmas = scheduler.sigmas.tolist()
    return in_x(scheduler, {"solver": "ddim"}, sigmas[:-1], scheduler.timesteps, sigmas[-1])


def euler_ancestral(scheduler, steps):
    refuse_keys(scheduler, BETAS | SPACING | {"rescale_betas_zero_snr"})
    set_trained_steps(scheduler, steps)
    return in_x(scheduler, {"solver": "euler-ancestral"}, scheduler.sigmas.tolist()[:-1], scheduler.timesteps)


def lms(scheduler, steps):
    refuse_keys(scheduler, EULERS)
    set_trained_steps(scheduler, steps)
    return in_x(scheduler, {"solver": "lms"}, scheduler.sigmas.tolist()[:-1], scheduler.timesteps)


def heun(scheduler, steps):
    refuse_keys(scheduler, EULERS | {"clip_sample", "clip_sample_range"})
    set_trained_steps(scheduler, steps)
    sigmas = scheduler.sigmas.tolist()
    check_second_order(scheduler, sigmas[0])
    sampler = with_clip({"solver": "edm"}, clipping(scheduler))
    return in_x(scheduler, sampler, [sigmas[0], *sigmas[1:-1:2]], scheduler.timesteps[::2])


def kdpm2(scheduler, steps, solver="kdpm2"):
    refuse_keys(scheduler, EULERS)
    if prediction_of(scheduler) == "x0":
        refuse(scheduler, "prediction_type", "the scheduler itself does not take it")
    set_trained_steps(scheduler, steps)
    nodes = list(dict.fromkeys(sigma for sigma in scheduler.sigmas.tolist() if sigma > 0))
    check_second_order(scheduler, nodes[0])
    translation = in_x(scheduler, {"solver": solver}, nodes, scheduler.timesteps[::2])
    if translation.wrap:
        refuse(scheduler, "use_karras_sigmas",
               "it asks the network at rounded times in one half of a step and at exact ones in the "
               "other, which no job does")
    translation.card["time"] = translation.card["time"] | {"dtype": "float32"}  # half a step is between timesteps
    return translation


def kdpm2_ancestral(scheduler, steps):
    return kdpm2(scheduler, steps, "kdpm2-ancestral")


# ---- multistep and singlestep, of the variance-preserving x ----

MULTISTEP = BETAS | SPACING | THRESHOLDING | FLOW | set(SIGMAS) | {"solver_order", "solver_type", "lower_order_final"}
FEW_STEPS = 15  # below which lower_order_final counts


def of_vp(scheduler, sampler):
    sigmas = scheduler.sigmas.tolist()
    if scheduler.config.get("use_flow_sigmas"):
        return place_flow(scheduler, sampler, scheduler.timesteps, sigmas[:-1], sigmas[-1])
    if prediction_of(scheduler) == "velocity":
        refuse(scheduler, "prediction_type", "flow_prediction goes with use_flow_sigmas")
    return place(scheduler, sampler, scheduler.timesteps, sigmas[:-1], sigmas[-1], drops_last=True)


def lowered(scheduler, order):
    """The sampler's lower_order_final; a last step of no length is left out, and with it the lowest order."""
    config, sigmas = scheduler.config, scheduler.sigmas.tolist()
    few = config.lower_order_final and len(scheduler.timesteps) < FEW_STEPS
    if sigmas[-1] > 0 and sigmas[-1] >= sigmas[-2] * (1 - 1e-6) and order > 1:
        if few and order > 2:
            refuse(scheduler, "lower_order_final",
                   "with a last step of no length it lowers the step before it, which no job does")
        if not few and config.algorithm_type != "deis" and (order > 2 or config.solver_type == "heun"):
            refuse(scheduler, "final_sigmas_type", "its last step, of no length, is not a number; expected zero")
        return {"lower_order_final": False}
    if config.get("euler_at_final") and sigmas[-1] > 0 and order > 1 and not few:
        refuse(scheduler, "euler_at_final", "no job lowers the last step alone; expected false")
    return {} if config.lower_order_final or order == 1 else {"lower_order_final": False}


def dpm_multistep(scheduler, steps):
    refuse_keys(scheduler, MULTISTEP | {"algorithm_type", "euler_at_final", "final_sigmas_type", "lambda_min_clipped",
                                        "variance_type", "rescale_betas_zero_snr"})
    set_trained_steps(scheduler, steps)
    sampler = dpm_solver(scheduler) | lowered(scheduler, scheduler.config.solver_order)
    return of_vp(scheduler, with_clip(sampler, clipping(scheduler)))


def dpm_solver(scheduler):
    """The solver of DPMSolverMultistep's algorithm_type, solver_order and solver_type."""
    config = scheduler.config
    order, kind, algorithm = config.solver_order, config.solver_type, config.algorithm_type
    if order not in (1, 2, 3):
        refuse(scheduler, "solver_order", "expected 1, 2 or 3")
    if algorithm == "sde-dpmsolver":
        refuse(scheduler, "algorithm_type", "no solver has its noise; expected sde-dpmsolver++")
    if algorithm == "sde-dpmsolver++":
        if order == 3:
            refuse(scheduler, "solver_order", "its third order with noise has a wrong constant; expected 1 or 2")
        sampler = {"solver": "sde-dpmpp", "order": order}
    else:
        if order == 3 and algorithm == "dpmsolver":
            refuse(scheduler, "solver_order",
                   "its third order is of second order, and solver dpm-3m of third; expected 1 or 2")
        names = {"dpmsolver++": ("dpmpp-1", "dpmpp-2m", "dpmpp-3m-common"), "dpmsolver": ("dpm-1", "dpm-2m")}[algorithm]
        sampler = {"solver": names[order - 1]}
    if kind == "heun" and order > 1:
        if order == 3:
            refuse(scheduler, "solver_type", "heun is of order 2; with order 3 expected midpoint")
        sampler["solver_type"] = "heun"
    return sampler


def dpm_singlestep(scheduler, steps):
    refuse_keys(scheduler, (MULTISTEP - SPACING) | {"algorithm_type", "final_sigmas_type", "lambda_min_clipped",
                                                    "variance_type"})
    set_trained_steps(scheduler, steps)
    config = scheduler.config
    order, data = config.solver_order, config.algorithm_type == "dpmsolver++"
    if config.algorithm_type == "sde-dpmsolver++" and order > 1:
        refuse(scheduler, "algorithm_type", "no solver has its single steps with noise; expected dpmsolver++")
    if config.solver_type == "heun" and order > 1:
        refuse(scheduler, "solver_type", "no solver has heun in single steps; expected midpoint")
    if order == 1:
        return of_vp(scheduler, with_clip(dpm_solver(scheduler), clipping(scheduler)))
    sigmas = scheduler.sigmas.tolist()
    if sigmas[-1] > 0 and sigmas[-1] >= sigmas[-2] * (1 - 1e-6):
        refuse(scheduler, "final_sigmas_type",
               "its last step has no length, which no job with single steps has; expected zero")
    sampler = {"solver": f"{'dpmpp' if data else 'dpm'}-{order}s", "lower_order_final": bool(config.lower_order_final)}
    return of_vp(scheduler, with_clip(sampler, clipping(scheduler)))


def unipc(scheduler, steps):
    refuse_keys(scheduler, MULTISTEP | {"final_sigmas_type", "rescale_betas_zero_snr"})
    set_trained_steps(scheduler, steps)
    config, zero = scheduler.config, float(scheduler.sigmas[-1]) == 0
    if config.solver_type == "bh1" and zero:
        refuse(scheduler, "solver_type", "its last step, into sigma 0, is not a number; expected bh2")
    if zero and not config.lower_order_final and config.solver_order > 1:
        refuse(scheduler, "lower_order_final", "its last step, into sigma 0, is not a number; expected true")
    sigmas = scheduler.sigmas.tolist()
    if sigmas[-1] > 0 and sigmas[-1] >= sigmas[-2] * (1 - 1e-6):
        refuse(scheduler, "final_sigmas_type", "its last step has no length, but a corrector before it; expected zero")
    sampler = {"solver": "unipc" if config.solver_type == "bh2" else "unipc-bh1", "order": config.solver_order}
    sampler |= {} if config.lower_order_final else {"lower_order_final": False}
    return of_vp(scheduler, with_clip(sampler, clipping(scheduler)))


def deis(scheduler, steps):
    """algorithm_type and solver_type: the class has one of each, and renames those of other classes."""
    refuse_keys(scheduler, MULTISTEP | {"algorithm_type"})
    set_trained_steps(scheduler, steps)
    order = scheduler.config.solver_order
    if order not in (1, 2, 3):
        refuse(scheduler, "solver_order", "expected 1, 2 or 3")
    sampler = {"solver": "deis", "order": order} | lowered(scheduler, order)
    return of_vp(scheduler, with_clip(sampler, clipping(scheduler)))
