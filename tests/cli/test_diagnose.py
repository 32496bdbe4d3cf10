"""diagnose against models whose paths are known: one Gaussian (in closed form) and a mixture (series and scipy)."""
import json

import mpmath
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from conftest import MEANS, ROOT, TORCH, qtaylor
from oracle import linear_alpha_sigma, mixture_epsilon, normals, run_plan

PATHS = 12
CLOCKS = ["t", "logsnr"]


def diagnose(job, *options, **keys):
    return json.loads(qtaylor("diagnose", job.write(), "--json", "--count", PATHS, *options, **keys).stdout)


def starts(paths=PATHS):
    return np.stack([normals(seed, 0, 16) for seed in range(paths)])


class Gaussian:
    """Data N(mean, std^2): x = alpha mean + sqrt(alpha^2 std^2 + sigma^2) w along a path, whatever the clock."""

    def __init__(self, job, std, schedule="linear"):
        self.mean, self.std, self.edm = np.array(MEANS[0]), std, schedule == "edm"
        self.clock, self.start = "t", 80.0 if self.edm else 1.0
        job.model["mixture"] = {"means": [MEANS[0]], "std": std, "weights": [1.0]}
        job.model["card"].pop("labels")
        job.keys["labels"] = "none"
        alpha, sigma = map(float, self.process("t", self.start))
        start = starts() * (80 if self.edm else 1)
        self.w = (start - alpha * self.mean) / np.hypot(alpha * std, sigma)

    def process(self, clock, u):  # alpha, sigma at t or lambda
        if self.edm:
            return mpmath.mpf(1), mpmath.mpf(u) if clock == "t" else mpmath.exp(-u)
        if clock == "logsnr":
            return 1 / mpmath.sqrt(1 + mpmath.exp(-2 * u)), 1 / mpmath.sqrt(1 + mpmath.exp(2 * u))
        integral = u * (0.1 + 19.9 * u / 2)
        return mpmath.exp(-integral / 2), mpmath.sqrt(-mpmath.expm1(-integral))

    def derivatives(self, function, at, clock, count):  # towards data
        series = mpmath.taylor(function, at, count)
        sign = -1 if clock == "t" else 1
        return [float(c * mpmath.factorial(k) * sign**k) for k, c in enumerate(series)]

    def spread(self, clock, u):
        alpha, sigma = self.process(clock, u)
        return mpmath.sqrt(alpha**2 * self.std**2 + sigma**2)

    def at(self, t):  # x, epsilon
        alpha, sigma = map(float, self.process("t", t))
        spread = float(self.spread("t", t))
        return alpha * self.mean + spread * self.w, sigma / spread * self.w

    def path(self, clock, u, t, order):
        """The true and the ideal derivative of x and of the score."""
        x, epsilon = self.at(t)
        alpha0, sigma0 = map(float, self.process("t", t))
        alpha, sigma, spread, on_score, ideal = (self.derivatives(f, u, clock, 4)[order] for f in (
            lambda v: self.process(clock, v)[0], lambda v: self.process(clock, v)[1], lambda v: self.spread(clock, v),
            lambda v: -1 / self.spread(clock, v), lambda v: -1 / self.process(clock, v)[1]))
        return ((alpha * self.mean + spread * self.w, alpha / alpha0 * (x - sigma0 * epsilon) + sigma * epsilon),
                (on_score * self.w, ideal * epsilon))

    def one_step(self, clock, order, t, s):
        """The quasi-Taylor step: the ideal flow's series, or the flow itself."""
        x, epsilon = self.at(t)
        alpha0, sigma0 = map(float, self.process("t", t))
        if order == ".inf":
            alpha, sigma = map(float, self.process("t", s))
        else:
            u, h = (t, t - s) if clock == "t" else (self.logsnr(t), self.logsnr(s) - self.logsnr(t))
            alpha, sigma = (sum(d * h**k / np.prod(range(1, k + 1))
                                for k, d in enumerate(self.derivatives(f, u, clock, order)))
                            for f in (lambda v: self.process(clock, v)[0], lambda v: self.process(clock, v)[1]))
        return alpha * (x - sigma0 * epsilon) / alpha0 + sigma * epsilon

    def logsnr(self, t):
        alpha, sigma = self.process("t", mpmath.mpf(t))
        return mpmath.log(alpha / sigma)


def rms(values):
    return np.sqrt((np.asarray(values) ** 2).mean())


def check_derivatives(found, gaussian, tolerance=1e-6):
    """Each derivative within what diagnose says of its own uncertainty; returns how many are known to 1 %."""
    sure = 0
    for probe in found["derivatives"]:
        for clock in CLOCKS:
            u = mpmath.mpf(probe["t"]) if clock == "t" else gaussian.logsnr(probe["t"])
            for kind, place in (("path", 0), ("score", 1)):
                for one in probe["clocks"][clock][kind]:
                    true, ideal = gaussian.path(clock, u, probe["t"], one["order"])[place]
                    doubt = 3 * one["uncertainty"] + tolerance
                    if doubt > 0.03:
                        continue
                    sure += one["uncertainty"] < 0.01
                    assert one["true"] == pytest.approx(rms(true), rel=doubt), (probe["t"], clock, kind, one)
                    miss = one["miss"]["value"]
                    assert miss == pytest.approx(rms(ideal - true) / rms(true), abs=doubt * (1 + miss))
                    if one["ratio"] > 1e-9:
                        assert one["ratio"] == pytest.approx(rms(ideal) / rms(true), rel=doubt)
                        assert one["cosine"] == pytest.approx((true * ideal).mean() / rms(true) / rms(ideal), abs=doubt)
    return sure


def check_local(found, gaussian, orders=(1, 2, 3, 4, ".inf")):
    for method in found["local"]:
        if method["order"] not in orders:
            continue
        for step in method["steps"]:
            alpha, sigma = map(float, gaussian.process("t", step["s"]))
            error = rms(gaussian.one_step(method["clock"], method["order"], step["t"], step["s"])
                        - gaussian.at(step["s"])[0])
            assert step["value"] == pytest.approx(error / np.hypot(alpha, sigma), rel=1e-3, abs=3e-6)


@pytest.mark.parametrize("kind", ["epsilon", "v", "edm"])
def test_gaussian_in_closed_form(job, kind):
    gaussian = Gaussian(job, 0.4, "edm" if kind == "edm" else "linear")
    job.model["card"]["prediction"] = kind
    if kind == "edm":
        job.model["card"] |= {"time": {"kind": "c_noise"}, "schedule": {"kind": "edm"}}
    found = diagnose(job, "--set", "sampler.final=none")
    assert len(found["derivatives"]) == len(found["constancy"]) == 6
    for step in found["constancy"]:
        (_, now), (_, then) = gaussian.at(step["t"]), gaussian.at(step["s"])
        ratio = lambda v: gaussian.process("logsnr", v)[1] / gaussian.spread("logsnr", v)
        rate = gaussian.derivatives(ratio, gaussian.logsnr(step["t"]), "logsnr", 1)[1] * rms(gaussian.w) / rms(now)
        assert step["epsilon"] == pytest.approx(rms(now), rel=1e-5)
        assert step["change"]["value"] == pytest.approx(rms(then - now) / rms(now), abs=1e-5)
        assert step["rate"]["value"] == pytest.approx(abs(rate), rel=1e-3, abs=1e-5)
    assert check_derivatives(found, gaussian) > 50
    check_local(found, gaussian)
    end = gaussian.at(found["constancy"][-1]["s"])[0]
    assert found["reference"]["difference"]["value"] < 1e-5 * max(1, rms(end))


def test_point_mass_premise_is_exact(job):
    gaussian = Gaussian(job, 0.0)
    found = diagnose(job, "--set", "sampler.nfe=8")
    for step in found["constancy"]:
        assert step["rate"]["value"] < 1e-5 and step["change"]["value"] < 1e-5
    for probe in found["derivatives"]:
        for clock in CLOCKS:
            for one in probe["clocks"][clock]["path"] + probe["clocks"][clock]["score"]:
                assert one["miss"]["value"] <= max(3 * one["uncertainty"], 1e-6)
    check_local(found, gaussian, orders=(1, 2, 3))
    first = {(m["nfe"], m["grid"], m["clock"], m["order"]): m["steps"][0]["value"] for m in found["local"]}
    for clock, grid in (("t", "uniform"), ("logsnr", "uniform-logsnr")):
        for order in (1, 2, 3):  # the first step of twice as many is half as long
            slope = np.log2(first[8, grid, clock, order] / first[16, grid, clock, order])
            assert abs(slope - (order + 1)) < 0.35, (clock, order, slope)
    assert all(m["sum"] < 1e-5 for m in found["local"] if m["order"] == ".inf")
    best = found["recommendation"]["taylor"]
    assert best["order"] == ".inf" and best["rmse"] < 1e-5


# ---- a mixture: truncated series [order + 1][...] in lambda, and scipy for the path ----

def series_mul(a, b):
    return np.stack([sum(a[j] * b[k - j] for j in range(k + 1)) for k in range(len(a))])


def series_exp(a):
    out = [np.exp(a[0])]
    for k in range(1, len(a)):
        out.append(sum(j * a[j] * out[k - j] for j in range(1, k + 1)) / k)
    return np.stack(out)


def series_power(a, p):
    out = [a[0] ** p]
    for k in range(1, len(a)):
        out.append(sum((p * j - (k - j)) * a[j] * out[k - j] for j in range(1, k + 1)) / (k * a[0]))
    return np.stack(out)


def mixture_series(x, logsnr, order, means, std, weights):
    """Series of x and epsilon along the path of dx/dlambda = sigma^2 x - sigma epsilon through x [d]."""
    logistic = lambda sign: series_power(np.array([1 + np.exp(sign * 2 * logsnr)] + [
        np.exp(sign * 2 * logsnr) * (sign * 2.0) ** k / np.prod(range(1, k + 1)) for k in range(1, order + 1)]), -0.5)
    sigma, alpha = logistic(1), logistic(-1)
    square = series_mul(sigma, sigma)
    variance = series_mul(alpha, alpha) * std**2 + square
    wide = lambda a: np.broadcast_to(a[:, None], (order + 1, x.size)).copy()
    path = np.zeros((order + 1, x.size))
    path[0] = x
    for _ in range(order + 1):  # Picard: each round one more coefficient is right
        misses = [path - wide(alpha) * mean for mean in means]
        logits = [-0.5 * series_mul(series_mul(m, m).sum(1), series_power(variance, -1)) for m in misses]
        shift = max(l[0] + np.log(w) for l, w in zip(logits, weights))
        parts = []
        for logit, w in zip(logits, weights):
            logit = logit.copy()
            logit[0] += np.log(w) - shift
            parts.append(series_exp(logit))
        total = series_power(sum(parts), -1)
        mean_miss = sum(series_mul(wide(series_mul(p, total)), m) for p, m in zip(parts, misses))
        epsilon = series_mul(wide(series_mul(sigma, series_power(variance, -1))), mean_miss)
        slope = series_mul(wide(square), path) - series_mul(wide(sigma), epsilon)
        path = np.concatenate([path[:1], slope[:-1] / np.arange(1, order + 1)[:, None]])
    return path, epsilon


def mixture_path(start, times, means, std, weights):
    def slope(t, flat):
        alpha, sigma = linear_alpha_sigma(t)
        x = flat.reshape(start.shape)
        return (-(0.1 + 19.9 * t) / 2 * (x - mixture_epsilon(x, alpha, sigma, means, std, weights) / sigma)).reshape(-1)

    found = solve_ivp(slope, (1, times[-1]), start.reshape(-1), method="DOP853", rtol=1e-10, atol=1e-11, t_eval=times)
    return [y.reshape(start.shape) for y in found.y.T]


def test_mixture_derivatives_of_epsilon(job):
    job.model["card"].pop("labels")
    job.keys["labels"] = "none"
    mixture = {key: np.array(value) for key, value in job.model["mixture"].items()}
    found = diagnose(job)
    times = [probe["t"] for probe in found["derivatives"]]
    paths, sure = mixture_path(starts(), times, **mixture), 0
    for probe, points in zip(found["derivatives"], paths):
        series = [mixture_series(x, probe["logsnr"], 4, **mixture) for x in points]
        for k in range(4):
            truth = rms([e[k] for _, e in series]) * np.prod(range(1, k + 1))
            one = probe["epsilon"][k]
            assert one["value"] == pytest.approx(truth, rel=1e-5, abs=3 * one["uncertainty"]), (probe["t"], k)
            sure += one["uncertainty"] < 0.02 * truth
        for k in range(1, 5):
            one = probe["clocks"]["logsnr"]["path"][k - 1]
            truth = rms([x[k] for x, _ in series]) * np.prod(range(1, k + 1))
            assert one["true"] == pytest.approx(truth, rel=3 * one["uncertainty"] + 1e-4)
    assert sure > 15


# ---- the recommendation, by running the plans in numpy ----

def sampler_options(entry, sampler):
    options = {key: entry[key] for key in ("solver", "order", "grid", "nfe")}
    if entry["clock"]:
        options["clock"] = entry["clock"]
    return [word for key, value in {**sampler, **options}.items()
            for word in ("--set", f"sampler.{key}={json.dumps(value)}".replace('"', ''))]


def test_recommended_is_best_when_the_plans_are_run(job):
    mixture = {key: np.array(value) for key, value in job.model["mixture"].items()}
    job.keys["sampler"] = {"solver": "taylor", "nfe": 8, "guidance": 1.5}
    found = diagnose(job)
    classes = np.arange(PATHS) % 2

    def model(x, time, labels):
        alpha, sigma = linear_alpha_sigma(time)
        if labels == "null":
            return mixture_epsilon(x, alpha, sigma, **mixture)
        return np.stack([mixture_epsilon(row[None], alpha, sigma, mixture["means"][k][None], mixture["std"], [1.0])[0]
                         for row, k in zip(x, classes)])

    def slope(t, flat):
        alpha, sigma = linear_alpha_sigma(t)
        x = flat.reshape(PATHS, 16)
        epsilon = 1.5 * model(x, t, "given") - 0.5 * model(x, t, "null")
        return (-(0.1 + 19.9 * t) / 2 * (x - epsilon / sigma)).reshape(-1)

    exact = solve_ivp(slope, (1, 1e-3), starts().reshape(-1), method="DOP853", rtol=1e-9,
                      atol=1e-10).y[:, -1].reshape(PATHS, 16)
    errors = {}
    path = job.write()
    for entry in found["samples"]:
        if entry["nfe"] != 8:
            continue
        plan = json.loads(qtaylor("plan", path, "--json", *sampler_options(entry, {})).stdout)
        squares = ((run_plan(plan, range(PATHS), 16, model) - exact) ** 2).mean(1)
        name = tuple(entry[key] for key in ("solver", "order", "clock", "grid"))
        errors[name] = np.sqrt(squares.mean()), squares
        assert entry["rmse"] == pytest.approx(errors[name][0], rel=1e-3, abs=1e-5), name
        assert entry["error"] == pytest.approx(squares.std(ddof=1) / np.sqrt(PATHS) / 2 / errors[name][0], rel=1e-2,
                                               abs=1e-6)
    assert len(errors) > 40
    name_of = lambda entry: tuple(entry[key] for key in ("solver", "order", "clock", "grid"))
    recommendation = found["recommendation"]
    for solver in ("taylor", "taylor-2m"):
        best = min((name for name in errors if name[0] == solver), key=lambda name: errors[name][0])
        assert name_of(recommendation[solver]) == best
    assert name_of(recommendation["own"]) == ("taylor", 2, "t", "quadratic")
    best = errors[name_of(recommendation["taylor"])][1]
    ties = {name_of(entry) for entry in recommendation["ties"]}
    for name, (_, squares) in errors.items():
        scatter = (squares / squares.mean() - best / best.mean()).std(ddof=1) / np.sqrt(PATHS)
        excess = np.log(squares.mean() / best.mean()) / 2
        if name[0] == "taylor" and squares is not best and abs(excess - scatter) > 1e-3:
            assert (name in ties) == (excess <= scatter), name


# ---- models that know whole steps only, and what can't be measured ----

def test_integer_times(job):
    gaussian = Gaussian(job, 0.4)
    job.model["card"] |= {"time": {"kind": "discrete", "steps": 1000},
                          "schedule": {"kind": "discrete-linear", "steps": 1000}}
    found = diagnose(job)
    reference = {"solver": "dpmpp-3m", "nfe": 999, "coarse_nfe": 501, "difference": 0}
    assert found["reference"] | {"difference": 0} == reference
    assert found["grid"] == "trailing" and any("clock t has no series" in note for note in found["notes"])
    cumprod = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    for probe in found["derivatives"]:
        n = probe["t"] * 1000 - 1
        assert n == pytest.approx(round(n), abs=1e-9)  # a trained step
        ratio = lambda v: gaussian.process("logsnr", v)[1] / gaussian.spread("logsnr", v)
        logsnr = np.log(cumprod[round(n)] / (1 - cumprod[round(n)])) / 2
        assert probe["logsnr"] == pytest.approx(logsnr, abs=1e-9)
        start = np.log(cumprod[-1] / (1 - cumprod[-1])) / 2
        alpha, sigma = gaussian.process("logsnr", start)
        w = (starts() - float(alpha) * gaussian.mean) / float(gaussian.spread("logsnr", start))
        truth = [abs(d) * rms(w) for d in gaussian.derivatives(ratio, logsnr, "logsnr", 3)]
        assert probe["clocks"]["t"]["path"] == []
        for k in range(3):
            one = probe["epsilon"][k]
            assert one["value"] == pytest.approx(truth[k], rel=1e-4, abs=3 * one["uncertainty"] + 1e-6), (n, k)
    assert {m["clock"] for m in found["local"] if m["order"] == 2} == {"logsnr"}


@pytest.mark.parametrize("options, message", [
    (["--set", "sampler.guidance={scale: 2, interval: [0.3, 3]}"],
     "diagnose without the interval (--set sampler.guidance.interval=[0,.inf])"),
    (["--set", "sampler.solver=rk45", "--set", "sampler.nfe=null"], "rk45 chooses its own steps"),
    (["--set", "initial=x.npy"], "--set initial=null"),
    (["--set", "sweep={sampler.nfe: [5, 6]}"], "--set sweep=null"),
    (["--count", "101"], "the job has 100 seeds"),
])
def test_refusals(job, options, message):
    np.save(job.folder / "x.npy", np.zeros((100, 1, 4, 4), np.float32))
    assert message in qtaylor("diagnose", job.write(), *options, code=65).stderr


def test_nan_is_named(job):
    job.model["nan_call"] = 40
    assert "is not finite" in qtaylor("diagnose", job.write(), "--count", 4, code=65).stderr


def test_text(job):
    job.keys["sampler"] = {"solver": "dpmpp-2m", "nfe": 6}
    out = qtaylor("diagnose", job.write(), "--count", 6).stdout
    for part in ("How near epsilon is to constant", "Ideal derivatives against true", "Error of one step",
                 "order .inf (DDIM)", "step of the job's grid",
                 "the job's own: dpmpp-2m, order 2, grid uniform-logsnr", "At NFE 6 the nearest"):
        assert part in out
    assert "nan" not in out


def test_digits(tmp_path):
    """The default job's network, in torch: the fine samples and the recommended plan's, run in numpy."""
    torch = pytest.importorskip("torch")
    path, paths, few = ROOT / "jobs/digits/job.yaml", 6, ["--set", "sampler.nfe=4"]
    found = json.loads(qtaylor("diagnose", path, "--json", "--count", paths, *few, program=TORCH).stdout)
    torch.set_num_threads(1)
    network = torch.jit.load(str(ROOT / "jobs/digits/model.pt")).eval()
    labels = torch.arange(paths) % 10

    def model(x, time, given):
        assert given == "given"
        with torch.no_grad():
            images = torch.tensor(x.reshape(paths, 1, 8, 8), dtype=torch.float32)
            return network(images, torch.full((paths,), time, dtype=torch.float32), labels).numpy().reshape(paths, 64)

    def sample(*options):
        plan = json.loads(qtaylor("plan", path, "--json", *options).stdout)
        return run_plan(plan, range(paths), 64, model)

    exact = sample("--set", "sampler.solver=rk4", "--set", "sampler.order=null", "--set", "sampler.nfe=160",
                   "--set", "sampler.clock=logsnr", "--set", "sampler.grid=uniform-logsnr")
    for key in ("taylor", "taylor-2m", "own"):
        entry = found["recommendation"][key]
        assert entry["rmse"] == pytest.approx(rms(sample(*sampler_options(entry, {})) - exact), rel=5e-3, abs=1e-4)
    assert [found["recommendation"]["own"][key]
            for key in ("solver", "order", "clock", "grid")] == ["taylor", 2, "t", "quadratic"]
    assert found["reference"]["difference"]["value"] < 1e-4
