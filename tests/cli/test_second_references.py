"""fld, fdr and clip-score, which take a validation set or texts; differences of every metric that has blocks."""
import json

import numpy as np
import pytest
from scipy import stats

from conftest import qtaylor, stored
from test_conditions import arrays, give
from test_several_networks import metrics, network_new


def sets(folder, samples=300, training=400, test=200, dim=6, shift=0.3):
    rng = np.random.default_rng(3)
    rows = {"a": rng.normal(shift, 1.2, (samples, dim)), "b": rng.normal(0, 1, (training, dim)),
            "v": rng.normal(0, 1, (test, dim))}
    for name, values in rows.items():
        np.save(folder / f"{name}.npy", values.astype(np.float32))
    return {name: np.load(folder / f"{name}.npy").astype(float) for name in rows}


def compare(folder, wanted, *options, code=0):
    done = qtaylor("compare", folder / "a.npy", folder / "b.npy", "--metrics", wanted, "--json", *options, code=code)
    return done.stderr if code else json.loads(done.stdout)["metrics"]


# ---- FLD: the paper's mixture and its authors' constants, in numpy ----

def mixture_logs(x, centres, log_variances):
    square = ((x[:, None] - centres[None]) ** 2).sum(-1)
    dim = x.shape[1]
    return -square / 2 / np.exp(log_variances) - dim / 2 * (log_variances + np.log(2 * np.pi)) - np.log(len(centres))


def log_sum(terms):
    most = terms.max(1, keepdims=True)
    return (most + np.log(np.exp(terms - most).sum(1, keepdims=True)))[:, 0]


def fit(centres, x, epochs=50):
    square, dim, m = ((x[:, None] - centres[None]) ** 2).sum(-1), x.shape[1], len(centres)
    origin = 0.81 * ((x - x.mean(0)) ** 2).sum(1)
    theta = np.append(np.log((square.min(0) + 1e-3) / dim), 0.0)
    first, second, losses = np.zeros(m + 1), np.zeros(m + 1), []
    for number in range(1, epochs + 1):
        near = -origin / 2 / np.exp(theta[-1]) - dim / 2 * (theta[-1] + np.log(2 * np.pi))
        terms = np.column_stack([mixture_logs(x, centres, theta[:-1]), near])
        whole = log_sum(terms)
        weights = np.exp(terms - whole[:, None])
        pull = np.column_stack([square, origin]) / 2 / np.exp(theta) - dim / 2
        gradient = -(weights * pull).mean(0) / dim
        losses.append(-whole.mean() / dim)
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        theta = theta - 0.5 * first / (1 - 0.9**number) / (np.sqrt(second / (1 - 0.999**number)) + 1e-8)
        theta[:-1] = theta[:-1].clip(-40, 40)
        if number > 6 and max(abs(losses[-1] - value) for value in losses[-5:]) < 5e-4:
            break
    return theta[:-1]


def fld(a, b, v):
    a, b, v = ((x - v.mean(0)) / v.std(0, ddof=1) for x in (a, b, v))
    nll = lambda x, centres, theta: -log_sum(mixture_logs(x, centres, theta)).mean() / x.shape[1]
    theta = fit(a, b)
    size = min(len(a), len(b) // 2)
    half = [i * len(b) // size for i in range(size)]
    rest = np.setdiff1d(np.arange(len(b)), half)
    base = nll(v, b[half], fit(b[half], b[rest]))
    return 100 * (nll(v, a, theta) - base), 100 * (nll(b, a, theta) - nll(v, a, theta))


@pytest.mark.parametrize("samples, training", [(150, 400), (300, 301)])
def test_fld_is_the_papers(tmp_path, samples, training):
    rows = sets(tmp_path, samples, training)
    found = compare(tmp_path, "fld", "--validation", tmp_path / "v.npy")
    value, gap = fld(rows["a"], rows["b"], rows["v"])
    assert found["fld"] == pytest.approx(value, abs=1e-3) and found["fld_gap"] == pytest.approx(gap, abs=1e-3)


def test_fld_sees_copies_and_distance(tmp_path):
    rows = sets(tmp_path, shift=0.0)
    v = ["--validation", tmp_path / "v.npy"]
    good = compare(tmp_path, "fld", *v)
    np.save(tmp_path / "a.npy", (rows["a"] + 1).astype(np.float32))
    assert compare(tmp_path, "fld", *v)["fld"] > good["fld"] + 5
    np.save(tmp_path / "a.npy", rows["b"][:300].astype(np.float32))
    copied = compare(tmp_path, "fld", *v)
    assert copied["fld_gap"] < good["fld_gap"] - 50 and copied["fld"] > good["fld"]
    b, constant = rows["b"].copy(), rows["v"].copy()
    constant[:, 2] = 7
    np.save(tmp_path / "v.npy", constant.astype(np.float32))
    done = qtaylor("compare", tmp_path / "a.npy", tmp_path / "b.npy", "--metrics", "fld", *v)
    assert "1 of 6 features do not vary" in done.stderr
    assert len(b) == 400


def distance(a, mu, sigma):
    from scipy.linalg import sqrtm

    own, cov = a.mean(0), np.cov(a.T)
    return ((own - mu) ** 2).sum() + np.trace(cov + sigma - 2 * sqrtm(cov @ sigma).real)


def test_fdr_is_a_ratio_with_its_error(tmp_path):
    rows = sets(tmp_path)
    mu, sigma = rows["b"].mean(0), np.cov(rows["b"].T)
    np.savez(tmp_path / "v.npz", mu=rows["v"].mean(0), sigma=np.cov(rows["v"].T))
    for v in ("v.npy", "v.npz"):
        found = compare(tmp_path, "fdr,fid", "--validation", tmp_path / v)
        theirs = distance(rows["v"], mu, sigma)
        ratio = distance(rows["a"], mu, sigma) / theirs
        assert found["fdr"] == pytest.approx(ratio, rel=1e-6)
        # Here the distance of v can't be told from 0, or only its statistics are there: neither is corrected.
        assert not {"fdr_corrected", "fdr_error", "fdr_low"} & found.keys()
        assert np.array(found["fdr_without"]) == pytest.approx(np.array(found["fid_without"]) / theirs, rel=1e-6)
    assert compare(tmp_path, "fdr", "--validation", tmp_path / "v.npy")["fdr"] == pytest.approx(found["fdr"], rel=1e-9)
    assert "it is the same set" in compare(tmp_path, "fdr", "--validation", tmp_path / "b.npy", code=65)
    for metric in ("fld", "fdr"):
        assert f"{metric} needs a second set" in compare(tmp_path, metric, code=65)
    assert "fld needs every sample's features, and the validation set is statistics" in compare(
        tmp_path, "fld", "--validation", tmp_path / "v.npz", code=65)
    np.save(tmp_path / "w.npy", rows["v"][:, :5].astype(np.float32))
    assert "the validation set has 5 features" in compare(tmp_path, "fdr", "--validation", tmp_path / "w.npy", code=65)


def test_fdr_is_corrected_on_both_sides_or_on_neither(tmp_path):
    """Of Gaussians whose distances are known: the validation set's FID is too large by as much as the samples'."""
    rng = np.random.default_rng(17)
    for name, mean, count in (("a", 0.5, 1000), ("v", 0.4, 1000), ("b", 0, 60000)):
        np.save(tmp_path / f"{name}.npy", rng.normal(mean, 1, (count, 24)).astype("f4"))
    found = compare(tmp_path, "fid,fdr", "--validation", tmp_path / "v.npy")
    truth = (0.5 / 0.4) ** 2
    assert abs(found["fdr_corrected"] - truth) < 3 * found["fdr_error"] < 0.3 * truth
    done = qtaylor("compare", tmp_path / "v.npy", tmp_path / "b.npy", "--json")
    theirs = json.loads(done.stdout)["metrics"]
    assert found["fdr_corrected"] == pytest.approx(found["fid_corrected"] / theirs["fid_corrected"], rel=1e-9)
    assert found["fdr_error"] == pytest.approx(found["fid_error"] / theirs["fid_corrected"], rel=1e-9)
    assert found["fdr"] == pytest.approx(found["fid"] / theirs["fid"], rel=1e-9)


def test_clip_score_is_the_mean_cosine(tmp_path):
    rows = sets(tmp_path)
    rng = np.random.default_rng(5)
    texts = (rows["a"] + rng.normal(0, 2, rows["a"].shape)).astype(np.float32)
    np.save(tmp_path / "t.npy", texts)
    found = compare(tmp_path, "clip-score", "--text", tmp_path / "t.npy")
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)
    each = 100 * np.maximum((unit(rows["a"]) * unit(texts.astype(float))).sum(1), 0)
    assert (each == 0).any() and found["clip-score"] == pytest.approx(each.mean(), rel=1e-9)
    blocks = each.reshape(20, 15).mean(1)  # of equal size: the jackknife is the standard error of their mean
    assert found["clip-score_error"] == pytest.approx(blocks.std(ddof=1) / np.sqrt(20), rel=1e-9)
    np.save(tmp_path / "t.npy", texts[:7])
    assert "expected a text for each of the 300 samples, found 7" in compare(
        tmp_path, "clip-score", "--text", tmp_path / "t.npy", code=65)
    assert "clip-score needs the features of the texts" in compare(tmp_path, "clip-score", code=65)
    np.save(tmp_path / "t.npy", texts[:, :3])
    assert "the texts have 3 features each, the samples 6" in compare(
        tmp_path, "clip-score", "--text", tmp_path / "t.npy", code=65)


def test_a_job_has_them_all(job):
    """Conditions say which text a sample has; two networks, one of which has texts of its width."""
    conditions = arrays(5)
    conditions["size"][:], conditions["mask"][:] = 0, False  # no picture is black
    conditions["context"] *= np.float16(0.1)
    give(job, conditions)
    del job.keys["output"]["dtype"]
    rng = np.random.default_rng(2)
    for name, dim in (("one", 8), ("two", 5)):
        network_new(job.folder, name, dim, dim)
        for which in ("train", "held"):
            mean = 100 if which == "train" else 160  # a distance that is surely above 0
            np.save(job.folder / f"{which}-{name}.npy", rng.normal(mean, 60, (250, dim)).astype(np.float32))
    np.save(job.folder / "texts.npy", rng.normal(size=(5, 8)).astype(np.float32))
    job.keys["seeds"] = "0-255"
    evaluate = job.keys["evaluate"] = {
        "features": ["one.json", "two.json"], "reference": ["train-one.npy", "train-two.npy"],
        "validation": ["held-one.npy", "held-two.npy"], "metrics": ["fid", "fdr", "fld"]}
    qtaylor("run", job.write(), ranks=2)
    values = metrics(job.run)
    assert values["fdr"] == pytest.approx((values["one.fdr"] + values["two.fdr"]) / 2, rel=1e-12)
    without = np.array([values["one.fdr_without"], values["two.fdr_without"]]).mean(0)
    assert values["fdr_error"] == pytest.approx(np.sqrt(19 * without.var()), rel=1e-9)
    held = values["networks"]["two"]["validation"]
    assert held["path"] == str(job.folder / "held-two.npy") and held["count"] == 250
    card = qtaylor("report", job.run, "--card").stdout
    assert f"validation set of two held-two.npy, sha256 {held['sha256'][:12]}, of 250 images" in " ".join(card.split())
    alone = qtaylor("compare", job.run, job.folder / "train-one.npy", "--features", job.folder / "one.json",
                    "--validation", job.folder / "held-one.npy", "--metrics", "fdr,fld", "--json")
    alone = json.loads(alone.stdout)["metrics"]
    assert {key: values[f"one.{key}"] for key in ("fdr", "fld", "fld_gap")} == {
        key: alone[key] for key in ("fdr", "fld", "fld_gap")}

    def refused(command="run", **keys):
        job.keys["evaluate"] = {**evaluate, **keys}
        said = qtaylor(command, job.write(), code=65).stderr
        job.keys["evaluate"] = evaluate
        return said

    for command in ("plan", "run"):
        assert "clip-score needs the features of the texts" in refused(command, metrics=["clip-score"])
        assert "two: " in (said := refused(command, metrics=["clip-score"], text={"one": "texts.npy"}))
        assert "clip-score needs" in said
        (job.folder / "copy.npy").write_bytes((job.folder / "train-one.npy").read_bytes())
        for path in ("train-one.npy", "copy.npy"):
            said = refused(command, validation=[path, "held-two.npy"])
            assert "one: " in said and f"{path} is the same set as the reference" in said
    assert "needs a second set" in refused(validation={"one": "held-one.npy"})
    np.save(job.folder / "few.npy", rng.normal(size=(4, 8)).astype(np.float32))
    one = {"features": "one.json", "reference": "train-one.npy", "validation": "held-one.npy",
           "metrics": ["clip-score"]}
    assert "the conditions have 5 rows, and there are 4 texts" in refused(**one, text="few.npy")
    job.keys["evaluate"] = {**one, "text": "texts.npy"}
    qtaylor("run", job.write())
    score = metrics(job.run)["clip-score"]
    pools = [stored(job.run, path.relative_to(job.run)) for path in job.run.glob("features/*/pool")]
    (images,) = [rows.astype(float) for rows in pools if rows.shape[1] == 8]
    texts = np.load(job.folder / "texts.npy")
    texts = texts[np.arange(256) % 5].astype(float)
    cosines = (images * texts).sum(1) / np.linalg.norm(images, axis=1) / np.linalg.norm(texts, axis=1)
    assert score == pytest.approx(100 * np.maximum(cosines, 0).mean(), rel=1e-6)
    same = qtaylor("compare", job.run, job.folder / "train-one.npy", "--text", job.folder / "texts.npy", "--metrics",
                   "clip-score", "--json")
    assert json.loads(same.stdout)["metrics"]["clip-score"] == score


def test_differences_of_every_metric_with_blocks(tmp_path):
    rows = sets(tmp_path)
    other = rows["a"] + np.random.default_rng(9).normal(0, 0.1, rows["a"].shape)
    np.save(tmp_path / "c.npy", other.astype(np.float32))
    names = ["fid", "kid_full", "cmmd", "mind", "fdr"]
    with_v = ["--validation", tmp_path / "v.npy"]
    found = compare(tmp_path, "fid,kid,cmmd,mind,fdr", *with_v, "--versus", tmp_path / "c.npy")
    theirs = json.loads(qtaylor("compare", tmp_path / "c.npy", tmp_path / "b.npy", "--metrics", "fid,kid,cmmd,mind,fdr",
                                *with_v, "--json").stdout)["metrics"]
    p = []
    for name in names:
        without = np.subtract(found[f"{name}_without"], theirs[f"{name}_without"])
        delta = 20 * (found[name] - theirs[name]) - 19 * without.mean()
        error = np.sqrt(19 * without.var())
        assert found[f"{name}_delta"] == pytest.approx(delta, rel=1e-6, abs=1e-9)
        assert found[f"{name}_delta_error"] == pytest.approx(error, rel=1e-6)
        p.append(2 * stats.t.sf(abs(delta / error), 19))
        assert found[f"{name}_delta_p"] == pytest.approx(p[-1], rel=1e-6, abs=1e-14)
    holm = np.minimum(np.maximum.accumulate(np.sort(p) * np.arange(len(p), 0, -1)), 1)
    order = [names[i] for i in np.argsort(p)]
    assert [found[f"{name}_delta_p_holm"] for name in order] == pytest.approx(holm, rel=1e-6, abs=1e-14)
    assert "(Holm)" in qtaylor("compare", tmp_path / "a.npy", tmp_path / "b.npy", "--metrics", "fid,kid", "--versus",
                               tmp_path / "c.npy").stdout


def test_kid_has_blocks(tmp_path):
    """Without a block is the unbiased estimate of the other rows."""
    rows = sets(tmp_path)
    found = compare(tmp_path, "kid")

    def kid(a, b):
        k = lambda x, y: (x @ y.T / 6 + 1) ** 3
        m, n = len(a), len(b)
        own = lambda x: k(x, x).sum() - np.diag(k(x, x)).sum()
        return own(a) / m / (m - 1) + own(b) / n / (n - 1) - 2 * k(a, b).mean()

    assert found["kid_full"] == pytest.approx(kid(rows["a"], rows["b"]), rel=1e-9)
    for k in (0, 7, 19):
        left = np.delete(rows["a"], np.s_[15 * k:15 * k + 15], 0)
        assert found["kid_full_without"][k] == pytest.approx(kid(left, rows["b"]), rel=1e-9)


def test_a_set_against_itself_is_told(tmp_path):
    """Its distance is 0; taking the bias of independent samples out of it says less than nothing."""
    sets(tmp_path)
    np.save(tmp_path / "b.npy", np.load(tmp_path / "a.npy"))
    done = qtaylor("compare", tmp_path / "a.npy", tmp_path / "b.npy", "--metrics", "fid,mind,cmmd", "--json")
    found = json.loads(done.stdout)["metrics"]
    for name in ("fid", "mind", "cmmd"):
        assert found[f"{name}_high"] < 0 and f"{name}: the interval of its corrected value lies below 0" in done.stderr
        assert "or images made from the same starting noise?" in done.stderr


def test_an_honest_kid_below_0_accuses_nobody(tmp_path):
    """kid_full is unbiased on the reference's side too, whose chance its interval leaves out."""
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(200, 2)), rng.normal(size=(200, 2))
        if kid_high(x, y) < 0:
            break
    np.save(tmp_path / "a.npy", x.astype("f4"))
    np.save(tmp_path / "b.npy", y.astype("f4"))
    done = qtaylor("compare", tmp_path / "a.npy", tmp_path / "b.npy", "--metrics", "kid", "--json")
    assert json.loads(done.stdout)["metrics"]["kid_full_high"] < 0 and "lies below 0" not in done.stderr


def kid_high(x, y):
    """The end of kid_full's interval, by the formulas of docs/evaluation.md."""
    def kid(a, b):
        k = lambda u, v: (u @ v.T / 2 + 1) ** 3
        own = lambda u: (k(u, u).sum() - np.diag(k(u, u)).sum()) / len(u) / (len(u) - 1)
        return own(a) + own(b) - 2 * k(a, b).mean()

    without = np.array([kid(np.delete(x, np.s_[10 * k:10 * k + 10], 0), y) for k in range(20)])
    return 20 * kid(x, y) - 19 * without.mean() + stats.t.ppf(0.975, 19) * np.sqrt(19 * without.var())


def test_what_is_asked_is_what_is_compared(tmp_path):
    rows = sets(tmp_path)
    np.save(tmp_path / "c.npy", (rows["a"] + 0.3).astype("f4"))
    np.save(tmp_path / "few.npy", rows["a"][:40].astype("f4"))
    np.savez(tmp_path / "c.npz", mu=rows["a"].mean(0), sigma=np.cov(rows["a"].T))
    found = compare(tmp_path, "kid,prdc", "--versus", tmp_path / "c.npy")
    assert [key for key in found if key.endswith("_delta")] == ["kid_full_delta"]
    assert "fid" not in found and "kid_full_delta_p_holm" not in found
    said = compare(tmp_path, "kid", "--versus", tmp_path / "c.npz", code=65)
    assert "a paired difference (--versus): kid needs every sample's features, and the other side is statistics" in said
    said = compare(tmp_path, "cmmd", "--versus", tmp_path / "few.npy", code=65)
    assert "(--versus): cmmd needs at least 200 samples, and the other side has 40" in said
    said = compare(tmp_path, "is", "--versus", tmp_path / "few.npy", code=64)
    assert "--versus is of use for fid, sfid, kid, cmmd, mind, fdr or clip-score alone" in said


def test_a_difference_that_is_sure_is_not_impossible(tmp_path):
    """Beyond what 1 - p can say."""
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(240, 4)), rng.normal(size=(240, 4))
    for name, rows in {"a": a, "b": b, "c": a + 100}.items():
        np.save(tmp_path / f"{name}.npy", rows.astype("f4"))
    found = compare(tmp_path, "fid", "--versus", tmp_path / "c.npy")
    t = found["fid_delta"] / found["fid_delta_error"]
    assert 0 < found["fid_delta_p"] < 1e-15
    assert found["fid_delta_p"] == pytest.approx(2 * stats.t.sf(abs(t), 19), rel=1e-9)
    assert ", p < 1e-15\n" in qtaylor("compare", *(tmp_path / f"{name}.npy" for name in "ab"), "--versus",
                                      tmp_path / "c.npy").stdout


def test_the_mean_over_networks_has_a_difference(tmp_path):
    rng = np.random.default_rng(8)
    for name in "abcv":
        np.save(tmp_path / f"{name}.npy", rng.integers(0, 256, (240, 4, 4, 1), dtype=np.uint8))
    network_new(tmp_path, "one", 7, 8)
    network_new(tmp_path, "two", 5, 6)
    networks = [f"--features={name}={tmp_path / name}.json" for name in ("one", "two")]
    with_v = (*networks, "--validation", tmp_path / "v.npy")
    found = compare(tmp_path, "fdr", *with_v, "--versus", tmp_path / "c.npy")
    theirs = json.loads(qtaylor("compare", tmp_path / "c.npy", tmp_path / "b.npy", "--metrics", "fdr", "--json",
                                *with_v).stdout)["metrics"]
    without = np.subtract(found["fdr_without"], theirs["fdr_without"])
    assert found["fdr_delta"] == pytest.approx(20 * (found["fdr"] - theirs["fdr"]) - 19 * without.mean(), rel=1e-6)
    assert found["fdr_delta_error"] == pytest.approx(np.sqrt(19 * without.var()), rel=1e-6)
    assert {key for key in found if key.endswith("_p_holm")} == {
        f"{network}fdr_delta_p_holm" for network in ("", "one.", "two.")}
    said = qtaylor("compare", tmp_path / "a.npy", tmp_path / "b.npy", "--metrics", "fdr", *with_v, "--versus",
                   tmp_path / "c.npy").stdout
    assert "fdr_delta " in said.split("mean over the networks")[1]
    # One network under two names is one test twice; a name that is given is the one that is printed.
    again = [f"--features={name}={tmp_path}/one.json" for name in "xy"]
    assert "x and y are the same network: name each once" in compare(tmp_path, "fid", *again, code=64)
    named = compare(tmp_path, "fid", *networks)
    assert {key.split(".")[0] for key in named} == {"one", "two"}
