"""What a plan says of a series that leaves noise behind, and the timesteps it shows."""
from conftest import Job, qtaylor


def plan(tmp_path, sampler, schedule, *arguments):
    job = Job(tmp_path)
    job.model["card"]["schedule"] = schedule
    if "discrete" in schedule["kind"]:
        job.model["card"]["time"] = {"kind": "discrete", "steps": 1000, "dtype": "int64"}
    job.keys["sampler"] = sampler
    return qtaylor("plan", job.write(), *arguments)


def test_constant_beta(tmp_path):
    schedule = {"kind": "linear", "beta0": 10, "beta1": 10}
    said = plan(tmp_path, {"solver": "taylor", "nfe": 10}, schedule).stderr
    makes = "the series in t, cut after order 2, makes alpha 0.995 and sigma 0.172 of 0.995 and 0.0998"
    assert f"{makes} in its last step, number 10: " in said
    assert "say clock: logsnr with grid: uniform-logsnr, which misses by" in said
    assert plan(tmp_path, {"solver": "taylor", "nfe": 10, "clock": "logsnr"}, schedule).stderr == ""
    uncut = plan(tmp_path, {"solver": "taylor", "nfe": 10}, schedule, "--set", "sampler.order=.inf")
    assert uncut.stderr == ""
    assert "makes alpha" not in plan(tmp_path, {"solver": "taylor", "nfe": 5},
                                     {"kind": "linear", "beta0": 0.1, "beta1": 20}).stderr


def test_timesteps_are_shown(tmp_path):
    shown = plan(tmp_path, {"solver": "ddim", "grid": {"steps": [981, 500, 20]}},
                 {"kind": "discrete-linear"}).stdout.splitlines()
    rows = [line.split() for line in shown if "->" in line]
    assert rows[0][-1] == "timestep" and [row[-1] for row in rows[1:]] == ["981", "500", "20"]
    assert "timestep" not in plan(tmp_path, {"solver": "ddim", "nfe": 3}, {"kind": "linear"}).stdout
