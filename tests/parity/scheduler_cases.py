"""The schedulers of diffusers and their options that tools/export.py translates, and those that it refuses, for
test_export_schedulers.py."""
import itertools

import numpy as np

V = {"prediction_type": "v_prediction"}
SCALED = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def product(classes, common=None, **values):
    """(class, options) of classes, in a word of their short names, with every combination of the values."""
    return [(f"{name}Scheduler", (common or {}) | dict(zip(values, each)))
            for name in classes.split() for each in itertools.product(*values.values())]


def every(classes, common=None, **values):
    """The same over V on SCALED."""
    return product(classes, V | SCALED | (common or {}), **values)


ON_SIGMA = "EulerDiscrete HeunDiscrete LMSDiscrete KDPM2Discrete KDPM2AncestralDiscrete"
MULTISTEP = "DPMSolverMultistep UniPCMultistep DEISMultistep"
SOLVERS = f"{MULTISTEP} DPMSolverSinglestep"
PLAIN = f"{ON_SIGMA} EulerAncestralDiscrete {SOLVERS} DDIM DDPM LCM TCD"
FIRST_ORDER = f"EulerDiscrete LMSDiscrete EulerAncestralDiscrete {SOLVERS} DDIM DDPM LCM TCD"
EPSILON, SAMPLE = {"prediction_type": "epsilon"}, {"prediction_type": "sample"}
ORDERS, EITHER = [1, 2, 3], [True, False]
FLOWS = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
LEAST = {"final_sigmas_type": "sigma_min"}
SPACINGS = ["leading", "trailing", "linspace"]
BETAS = (np.linspace(1e-3, 2e-2, 1000) ** 1.1).tolist()

CASES = {
    "schedules": [
        *product(FIRST_ORDER, V, beta_schedule=["linear", "squaredcos_cap_v2"]),
        *product("HeunDiscrete KDPM2Discrete KDPM2AncestralDiscrete", V, beta_schedule=["linear"])],
    "epsilon": every(PLAIN, EPSILON),
    "sample": every(f"EulerDiscrete HeunDiscrete LMSDiscrete {MULTISTEP} DDIM DDPM LCM TCD", SAMPLE),
    "spacing": every(f"{ON_SIGMA} EulerAncestralDiscrete {MULTISTEP} DDPM", timestep_spacing=SPACINGS,
                     steps_offset=[0, 1]),
    "sigmas": [
        *every(f"EulerDiscrete HeunDiscrete LMSDiscrete {SOLVERS}", use_karras_sigmas=[True]),
        *every(f"{ON_SIGMA} {SOLVERS}", use_exponential_sigmas=[True]),
        *every(f"{ON_SIGMA} {SOLVERS}", use_beta_sigmas=[True]),
        *every("DPMSolverMultistep", use_lu_lambdas=[True]),
        *every("EulerDiscrete HeunDiscrete LMSDiscrete", {"timestep_spacing": "leading"}, use_karras_sigmas=[True])],
    "multistep": [
        *every("DPMSolverMultistep", solver_order=ORDERS, lower_order_final=EITHER, euler_at_final=EITHER),
        *every("DPMSolverMultistep", algorithm_type=["dpmsolver++", "sde-dpmsolver++"], solver_order=[1, 2],
               solver_type=["midpoint", "heun"]),
        *every("DPMSolverMultistep", LEAST, algorithm_type=["dpmsolver", "dpmsolver++"], solver_order=[1, 2],
               solver_type=["midpoint", "heun"], lower_order_final=EITHER),
        *every("DPMSolverMultistep", LEAST | {"use_karras_sigmas": True}, solver_order=[1, 2])],
    "singlestep": [
        *every("DPMSolverSinglestep", solver_order=ORDERS, lower_order_final=EITHER),
        *every("DPMSolverSinglestep", LEAST, algorithm_type=["dpmsolver", "dpmsolver++"], solver_order=ORDERS,
               lower_order_final=EITHER),
        *every("DPMSolverSinglestep", {"algorithm_type": "sde-dpmsolver++"}, solver_order=[1])],
    "unipc": [
        *every("UniPCMultistep", solver_type=["bh2"], solver_order=[1, 2, 3, 4]),
        *every("UniPCMultistep", LEAST, solver_type=["bh1", "bh2"], solver_order=ORDERS, lower_order_final=EITHER)],
    "deis": [
        *every("DEISMultistep", solver_order=ORDERS, lower_order_final=EITHER),
        *every("DEISMultistep", {"use_karras_sigmas": True}, solver_order=[1, 2])],
    "flow sigmas": [*product(SOLVERS, FLOWS, flow_shift=[1.0, 3.0]), *product(MULTISTEP, FLOWS | SAMPLE)],
    "flow": [
        *product("FlowMatchEulerDiscrete FlowMatchHeunDiscrete FlowMatchLCM", shift=[1.0, 3.0]),
        *product("FlowMatchEulerDiscrete FlowMatchLCM", {"shift": 3.0}, use_karras_sigmas=[True]),
        *product("FlowMatchEulerDiscrete", {"shift": 3.0, "shift_terminal": 0.1}, stochastic_sampling=EITHER),
        *product("FlowMatchEulerDiscrete", use_exponential_sigmas=[True]),
        *product("FlowMatchEulerDiscrete", use_beta_sigmas=[True])],
    "edm": [
        *product("EDMEuler EDMDPMSolverMultistep", prediction_type=["epsilon", "v_prediction"],
                 sigma_schedule=["karras", "exponential"], final_sigmas_type=["zero", "sigma_min"]),
        *product("EDMEuler EDMDPMSolverMultistep", {"sigma_max": 20.0, "sigma_data": 1.0}, rho=[5.0]),
        *product("EDMDPMSolverMultistep", algorithm_type=["dpmsolver++", "sde-dpmsolver++"], solver_order=[1, 2]),
        *product("EDMDPMSolverMultistep", solver_order=[3])],
    "consistency": product("CMStochasticIterative", clip_denoised=EITHER),
    "distilled": every("LCM TCD", clip_sample=EITHER),
    "ddpm": every("DDPM DDPMParallel", variance_type=["fixed_small", "fixed_small_log", "fixed_large"],
                  clip_sample=EITHER),
    "ddim": every("DDIM DDIMParallel", clip_sample=EITHER, set_alpha_to_one=EITHER, steps_offset=[0, 1]),
    "unclip": product("UnCLIP", SAMPLE, clip_sample=EITHER),
    "pndm": [
        *every("PNDM", EPSILON, skip_prk_steps=EITHER, set_alpha_to_one=EITHER, steps_offset=[0, 1]),
        *every("PNDM", EPSILON | {"skip_prk_steps": True}, timestep_spacing=["trailing"])],
    "zero terminal snr": every(
        "DDIM DDPM EulerDiscrete EulerAncestralDiscrete DPMSolverMultistep UniPCMultistep LCM TCD",
        {"rescale_betas_zero_snr": True}, timestep_spacing=["trailing", "leading"]),
    "thresholds": [
        *every(f"{SOLVERS} DDIM DDPM", {"thresholding": True, "dynamic_thresholding_ratio": 0.9},
               sample_max_value=[1.0, 1.5]),
        *every("HeunDiscrete", {"clip_sample": True}, clip_sample_range=[1.0, 0.5])],
    "tables": [
        *product("DDIM EulerDiscrete DPMSolverMultistep DDPM", V, trained_betas=[BETAS]),
        *product("DDPM", V, beta_schedule=["sigmoid"]), *product("HeunDiscrete", V, beta_schedule=["exp"])],
    "clipped lambda": product("DPMSolverMultistep DPMSolverSinglestep", V | {"beta_schedule": "squaredcos_cap_v2"},
                              lambda_min_clipped=[-5.1]),
    "euler's own": [
        *every("EulerDiscrete", LEAST, use_karras_sigmas=EITHER, timestep_spacing=SPACINGS),
        *every("EulerDiscrete", {"use_karras_sigmas": True, "sigma_min": 0.1}, sigma_max=[10.0]),
        *every("EulerDiscrete", {"use_karras_sigmas": True, "sigma_min": 0.002, "sigma_max": 700.0},
               timestep_type=["continuous"])],
}
# In make test: every fourth of these.
SHORT = {("epsilon", "DDIM"), ("epsilon", "LCM"), ("epsilon", "DPMSolverMultistep"), ("spacing", "EulerDiscrete"),
         ("sigmas", "DPMSolverMultistep"), ("flow", "FlowMatchEulerDiscrete"), ("consistency", "CMStochasticIterative"),
         ("pndm", "PNDM"), ("edm", "EDMEuler"), ("zero terminal snr", "DDPM"), ("thresholds", "DDIM")}

# What is refused, and what of it the message names; the classes that are refused altogether come besides.
REFUSALS = [
    ("DDIM", {"timestep_spacing": "linspace"}, "timestep_spacing: linspace"),
    ("DDIM", {"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr"),
    ("DDPM", {"variance_type": "learned"}, "variance_type: learned"),
    ("DDPM", {"variance_type": "fixed_large", "timestep_spacing": "trailing"},
     "noise is added to the finished picture"),
    ("PNDM", V, "prediction_type: v_prediction"),
    ("LCM", {"timestep_scaling": 5.0}, "timestep_scaling"),
    ("EulerDiscrete", {"interpolation_type": "log_linear"}, "interpolation_type"),
    ("EulerDiscrete", {"use_karras_sigmas": True, "sigma_min": 0.001, "sigma_max": 700.0}, "within those"),
    ("HeunDiscrete", {"beta_schedule": "squaredcos_cap_v2"}, "beta_schedule"),
    ("KDPM2Discrete", {"use_karras_sigmas": True}, "use_karras_sigmas"),
    ("KDPM2AncestralDiscrete", {"use_karras_sigmas": True}, "use_karras_sigmas"),
    ("DPMSolverMultistep", {"algorithm_type": "sde-dpmsolver", **LEAST}, "algorithm_type: sde-dpmsolver"),
    ("DPMSolverMultistep", {"algorithm_type": "sde-dpmsolver++", "solver_order": 3}, "solver_order: 3"),
    ("DPMSolverMultistep", {"algorithm_type": "dpmsolver", "solver_order": 3, **LEAST}, "solver_order: 3"),
    ("DPMSolverMultistep", {"solver_type": "heun", "use_karras_sigmas": True, "lower_order_final": False, **LEAST},
     "no length"),
    ("DPMSolverMultistep", FLOWS | {"use_dynamic_shifting": True}, "use_dynamic_shifting: True"),
    ("DPMSolverSinglestep", {"solver_type": "heun"}, "solver_type: heun"),
    ("DPMSolverSinglestep", {"algorithm_type": "sde-dpmsolver++"}, "algorithm_type"),
    ("UniPCMultistep", {"solver_type": "bh1"}, "solver_type: bh1"),
    ("UniPCMultistep", {"predict_x0": False}, "predict_x0: False"),
    ("UniPCMultistep", {"disable_corrector": [0]}, "disable_corrector"),
    ("FlowMatchEulerDiscrete", {"use_dynamic_shifting": True}, "use_dynamic_shifting"),
    ("FlowMatchEulerDiscrete", {"invert_sigmas": True}, "invert_sigmas"),
    ("FlowMatchLCM", {"scale_factors": [0.5]}, "scale_factors"),
]
