"""Every metric beside pytorch-fid's and torch-fidelity's own code, on the same features."""
import json
import sys
import types
from unittest import mock

import mpmath
import numpy as np
import pytest
import torch

from conftest import qtaylor


class Stub(types.ModuleType):
    """torchvision, which the peers import and their formulas do not use."""

    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return sys.modules.get(f"{self.__name__}.{name}") or type(name, (), {})


STUBS = ["torchvision", *(f"torchvision.{name}" for name in (
    "transforms", "transforms.functional", "datasets", "models", "models.inception"))]
with mock.patch.dict(sys.modules, {name: Stub(name) for name in STUBS}):
    from pytorch_fid import fid_score
    from torch_fidelity import metric_fid, metric_isc, metric_kid, metric_prc


def compare(*arguments):
    return json.loads(qtaylor("compare", *arguments, "--json").stdout)["metrics"]


def save(path, rows):
    np.save(path, rows) if path.suffix == ".npy" else np.savez(path, features=rows)
    return path


def single(rows):
    """Features are float32, as networks give them."""
    return rows.astype(np.float32).astype(float)


def inception_like(seed, count, dim=64, shift=0.0):
    """Correlated, positive, mostly small: as pooled rectified features are."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(dim, dim)) / np.sqrt(dim)
    return np.maximum(rng.normal(size=(count, dim)) @ mixing + shift, 0).astype(np.float32)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    a, b = inception_like(0, 1500), inception_like(1, 1300, shift=0.1)
    return a, b, save(folder / "a.npy", a), save(folder / "b.npy", b)


def test_fid_is_pytorch_fids_and_torch_fidelitys(pair):
    a, b, *paths = pair
    found = compare(*paths)["fid"]
    statistics = [(rows.mean(0), np.cov(rows, rowvar=False)) for rows in (a.astype(float), b.astype(float))]
    assert found == pytest.approx(fid_score.calculate_frechet_distance(*statistics[0], *statistics[1]), rel=1e-6)
    theirs = metric_fid.fid_statistics_to_metric(*(dict(zip(("mu", "sigma"), one)) for one in statistics), False)
    assert found == pytest.approx(theirs[metric_fid.KEY_METRIC_FID], rel=1e-6)


def unbiased_kid(a, b):
    a, b = a.astype(float), b.astype(float)
    aa, bb, ab = ((x @ y.T / x.shape[1] + 1) ** 3 for x, y in ((a, a), (b, b), (a, b)))
    n, m = len(a), len(b)
    return ((aa.sum() - np.trace(aa)) / n / (n - 1) + (bb.sum() - np.trace(bb)) / m / (m - 1) - 2 * ab.mean())


def test_kid_over_all_pairs_and_over_given_subsets(pair, tmp_path):
    a, b, *paths = pair
    indices = []

    class Recording(np.random.RandomState):
        def choice(self, *arguments, **options):
            indices.append(super().choice(*arguments, **options))
            return indices[-1]

    with mock.patch.object(metric_kid.np.random, "RandomState", Recording):
        theirs = metric_kid.kid_features_to_metric(
            torch.from_numpy(a).double(), torch.from_numpy(b).double(), kid_subsets=20, kid_subset_size=400, rng_seed=7,
            verbose=False)
    np.save(tmp_path / "indices.npy", np.array(indices).reshape(20, 2, 400))
    found = compare(*paths, "--metrics", "kid", "--kid-indices", tmp_path / "indices.npy")
    assert found["kid"] == pytest.approx(theirs[metric_kid.KEY_METRIC_KID_MEAN], rel=1e-6)
    assert found["kid_std"] == pytest.approx(theirs[metric_kid.KEY_METRIC_KID_STD], rel=1e-6)
    assert found["kid_full"] == pytest.approx(unbiased_kid(a, b), rel=1e-6)


def plain_cmmd(a, b):
    """Jayasumana et al. 2023: 1,000 times the biased estimate, rows of norm 1, Gaussian kernel of sigma 10."""
    a, b = ((x / np.linalg.norm(x, axis=1, keepdims=True)) for x in (a.astype(float), b.astype(float)))

    def mean(x, y):
        return np.exp(-((x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T) / 200).mean()
    return 1000 * (mean(a, a) + mean(b, b) - 2 * mean(a, b))


def test_cmmd_and_its_jackknife(pair, tmp_path):
    a, b, *paths = pair
    found = compare(*paths, "--metrics", "cmmd")
    assert found["cmmd"] == pytest.approx(plain_cmmd(a, b), rel=1e-6)
    edges = [len(a) * k // 20 for k in range(21)]
    without = [plain_cmmd(np.delete(a, slice(*edges[k:k + 2]), axis=0), b) for k in range(20)]
    assert found["cmmd_without"] == pytest.approx(without, rel=1e-6)
    assert found["cmmd_corrected"] == pytest.approx(20 * plain_cmmd(a, b) - 19 * np.mean(without), rel=1e-5)
    assert found["cmmd_error"] == pytest.approx(np.sqrt(19 / 20 * ((without - np.mean(without))**2).sum()), rel=1e-5)
    one, other = np.zeros((2, 4), np.float32), np.zeros((3, 4), np.float32)
    one[:, 0], other[:, 1] = 7, 0.5
    files = save(tmp_path / "one.npy", one), save(tmp_path / "other.npy", other)
    assert compare(*files, "--metrics", "cmmd")["cmmd"] == pytest.approx(19.9003325, abs=5e-8)  # orthogonal
    other[:, 0], other[:, 1] = -3, 0
    save(files[1], other)
    assert compare(*files, "--metrics", "cmmd")["cmmd"] == pytest.approx(39.6026534, abs=5e-8)  # opposite
    other[1] = 0
    save(files[1], other)
    assert "sample 1 are all 0" in qtaylor("compare", *files, "--metrics", "cmmd", code=65).stderr
    np.savez(tmp_path / "mu.npz", mu=np.zeros(4), sigma=np.eye(4))
    said = qtaylor("compare", files[0], tmp_path / "mu.npz", "--metrics", "cmmd", code=65).stderr
    assert "cmmd needs every sample's features" in said


@pytest.mark.parametrize("count", [1500, 1013])
def test_inception_score_in_order(tmp_path, count):
    logits = np.random.default_rng(3).normal(size=(count, 40)).astype(np.float32) * 3
    theirs = metric_isc.isc_features_to_metric(torch.from_numpy(logits), 10, shuffle=False)
    found = compare(save(tmp_path / "logits.npy", logits), save(tmp_path / "any.npy", logits), "--metrics", "is")
    assert found["is"] == pytest.approx(theirs[metric_isc.KEY_METRIC_ISC_MEAN], rel=1e-6)
    assert found["is_std"] == pytest.approx(theirs[metric_isc.KEY_METRIC_ISC_STD], rel=1e-5)


def ties(a, b):
    """Rows of a whose place in or out of a ball of b hangs on distances equal within 1e-5."""
    a, b = torch.from_numpy(a).double(), torch.from_numpy(b).double()
    radius = torch.cdist(b, b, compute_mode="donot_use_mm_for_euclid_dist").kthvalue(4).values
    ratio = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist") / radius
    return ((ratio < 1 + 1e-5).any(1) & ~(ratio < 1 - 1e-5).any(1)).sum().item()


def test_precision_and_recall(pair):
    a, b, *paths = pair
    a, b = a[:, :8].copy(), b[:, :8].copy()  # few dimensions: neither 0 nor 1
    paths = [save(path.with_name(f"low_{path.name}"), rows) for path, rows in zip(paths, (a, b))]
    found = compare(*paths, "--metrics", "prdc")
    precision, recall = metric_prc.calculate_precision_recall_full(torch.from_numpy(a).double(),
                                                                   torch.from_numpy(b).double())
    assert 0.2 < precision < 0.99 and 0.2 < recall < 0.99
    assert abs(found["precision"] - precision) * len(a) <= ties(a, b) + 0.01
    assert abs(found["recall"] - recall) * len(b) <= ties(b, a) + 0.01
    # Naeem et al. 2020: strictly within the ball of the k-th neighbour.
    real = np.sqrt(((b[:, None].astype(float) - b) ** 2).sum(2))
    radius = np.partition(real, 3, axis=1)[:, 3]
    inside = np.sqrt(((b[:, None].astype(float) - a) ** 2).sum(2)) < radius[:, None]
    assert found["density"] == pytest.approx(inside.sum() / 3 / len(a), abs=(ties(a, b) + 0.01) / len(a))
    assert found["coverage"] == pytest.approx(inside.any(1).mean(), abs=(ties(b, a) + 0.01) / len(b))


def line_distance(x, y):
    """W2 squared on a line: every point repeated until both sets are of one size, then sorted."""
    size = np.lcm(len(x), len(y))
    return ((np.sort(np.repeat(x, size // len(x))) - np.sort(np.repeat(y, size // len(y)))) ** 2).mean()


def test_mind_on_a_line_and_its_jackknife(tmp_path):
    """One feature has one direction: no choice of directions comes in. Sizes differ, and blocks do."""
    rng = np.random.default_rng(8)
    a, b = single(rng.normal(size=(210, 1))), single(rng.gamma(2, size=(77, 1)))
    found = compare(save(tmp_path / "a.npy", a), save(tmp_path / "b.npy", b), "--metrics", "mind")
    assert found["mind"] == pytest.approx(3 * line_distance(a[:, 0], b[:, 0]), rel=1e-9)
    edges = [len(a) * k // 20 for k in range(21)]
    without = [3 * line_distance(np.delete(a[:, 0], slice(*edges[k:k + 2])), b[:, 0]) for k in range(20)]
    assert found["mind_without"] == pytest.approx(without, rel=1e-9)
    assert found["mind_corrected"] == pytest.approx(20 * found["mind"] - 19 * np.mean(without), rel=1e-9)
    assert found["mind_error"] == pytest.approx(np.sqrt(19 / 20 * ((without - np.mean(without))**2).sum()), rel=1e-9)


@pytest.mark.parametrize("dim", [2, 7, 64, 700])
def test_mind_of_a_translation(tmp_path, dim):
    """3 |m|^2, which frames that are orthonormal and whole give without an error."""
    rng = np.random.default_rng(9)
    a, m = (np.round(rng.normal(size=shape) * 64) / 64 for shape in ((50, dim), dim))  # no rounding to float32
    files = save(tmp_path / "a.npy", (a + m).astype(np.float32)), save(tmp_path / "b.npy", a.astype(np.float32))
    assert compare(*files, "--metrics", "mind")["mind"] == pytest.approx(3 * (m @ m), rel=1e-9)
    assert compare(files[0], files[0], "--metrics", "mind")["mind"] == 0


@pytest.mark.parametrize("dim", [3, 64, 1200])
def test_mind_beside_independent_directions(tmp_path, dim):
    """Berthet et al. 2026: 3 D times the mean over random unit vectors of the mean squared difference of sorted
    projections. Within five standard errors of theirs and ours, which is no larger than that of 1000."""
    a, b = (inception_like(seed, 300, dim, shift) for seed, shift in ((2, 0.0), (3, 0.3)))
    found = compare(save(tmp_path / "a.npy", a), save(tmp_path / "b.npy", b), "--metrics", "mind")
    directions = np.random.default_rng(10).normal(size=(3000, dim))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    x, y = (np.sort(directions @ rows.T.astype(float), axis=1) for rows in (a, b))
    each = 3 * dim * ((x - y) ** 2).mean(1)
    error = each.std() * np.sqrt(1 / 3000 + 1 / 1000)
    assert error < 0.1 * each.mean() and abs(found["mind"] - each.mean()) < 5 * error


def test_vendi(pair, tmp_path):
    a, _, *paths = pair

    def vendi(rows):  # Friedman & Dieng 2023, by the matrix of all pairs
        unit = rows.astype(float) / np.linalg.norm(rows.astype(float), axis=1, keepdims=True)
        values = np.linalg.eigvalsh(unit @ unit.T / len(unit))
        return np.exp(-sum(value * np.log(value) for value in values if value > 1e-15))

    assert compare(*paths, "--metrics", "vendi")["vendi"] == pytest.approx(vendi(a), rel=1e-9)
    few = save(tmp_path / "few.npy", a[:20])  # fewer than features
    assert compare(few, paths[1], "--metrics", "vendi")["vendi"] == pytest.approx(vendi(a[:20]), rel=1e-9)
    frame = 5 * np.linalg.qr(np.random.default_rng(11).normal(size=(30, 12)))[0].T.copy()  # 12 orthogonal rows
    np.savez(tmp_path / "mu.npz", mu=np.zeros(30), sigma=np.eye(30))  # takes nothing of the reference
    files = save(tmp_path / "frame.npy", frame), tmp_path / "mu.npz"
    assert compare(*files, "--metrics", "vendi")["vendi"] == pytest.approx(12, rel=1e-6)
    assert "vendi          12\n" in qtaylor("compare", *files, "--metrics", "vendi").stdout
    save(files[0], np.repeat(frame[:1], 9, axis=0))
    assert compare(*files, "--metrics", "vendi")["vendi"] == pytest.approx(1, rel=1e-6)
    frame[3] = 0
    save(files[0], frame)
    assert "sample 3 are all 0" in qtaylor("compare", *files, "--metrics", "vendi", code=65).stderr


def test_every_kind_of_feature_file(pair, tmp_path):
    a, b, _, other = pair
    half = a.astype(np.float16)
    expected = compare(save(tmp_path / "half32.npy", half.astype(np.float32)), other)
    for kind in (np.float16, np.float32, np.float64):
        rows = half.astype(kind)
        np.savez_compressed(tmp_path / "deflated.npz", arr_0=rows)
        np.save(tmp_path / "fortran.npy", np.asfortranarray(rows))
        files = [save(tmp_path / "rows.npy", rows), save(tmp_path / "rows.npz", rows), tmp_path / "deflated.npz"]
        assert all(compare(path, other) == expected for path in files), kind
    assert "fortran_order" in qtaylor("compare", tmp_path / "fortran.npy", other, code=65).stderr


def test_references_go_both_ways(pair, tmp_path):
    a, b, path_a, path_b = pair
    ours = tmp_path / "ours.npz"
    qtaylor("reference", path_b, "-o", ours)
    with np.load(ours) as file:  # as pytorch-fid and EDM read it
        mu, sigma = file["mu"][:], file["sigma"][:]
    assert mu.dtype == sigma.dtype == np.float64
    np.testing.assert_allclose(mu, b.astype(float).mean(0), rtol=1e-12)
    np.testing.assert_allclose(sigma, np.cov(b.astype(float), rowvar=False), rtol=1e-9, atol=1e-14)
    theirs = tmp_path / "theirs.npz"  # as pytorch-fid's save_fid_stats writes it
    np.savez_compressed(theirs, mu=mu, sigma=sigma)
    assert compare(path_a, theirs) == compare(path_a, ours) == compare(path_a, path_b)


def exact_distance(a, b):
    """60 digits: the roots of the eigenvalues of L^T S L with S = L L^T."""
    with mpmath.workdps(60):
        moments = []
        for rows in (a, b):
            x = mpmath.matrix(rows.astype(float).tolist())
            count = x.rows
            mu = [mpmath.fsum(x[i, k] for i in range(count)) / count for k in range(x.cols)]
            for i in range(count):
                for k in range(x.cols):
                    x[i, k] -= mu[k]
            moments.append((mu, x.T * x / (count - 1), x / mpmath.sqrt(count - 1)))
        (mu1, s1, x1), (mu2, s2, x2) = moments
        total = mpmath.fsum((p - q) ** 2 for p, q in zip(mu1, mu2))
        total += mpmath.fsum(s1[k, k] + s2[k, k] for k in range(s1.rows))
        _, r1 = mpmath.qr(x1, mode="skinny") if x1.rows > x1.cols else (None, x1)
        _, r2 = mpmath.qr(x2, mode="skinny") if x2.rows > x2.cols else (None, x2)
        return float(total - 2 * mpmath.fsum(mpmath.svd_r(r1 * r2.T, compute_uv=False)))


def graded(rows):
    return rows * np.logspace(0, -8, rows.shape[1])


def offset(rows):
    return rows + 1e4


def constant(rows):
    return np.where(np.arange(rows.shape[1]) == 3, 0.7, rows)


@pytest.mark.parametrize("shape", [None, graded, offset, constant])
def test_against_sixty_digits(tmp_path, shape):
    rng = np.random.default_rng(5)
    mixing = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    a, b = rng.normal(size=(60, 12)), rng.normal(size=(70, 12)) * 1.3 + 0.2
    a, b = (single((shape(rows) if shape else rows) @ (np.eye(12) if shape is constant else mixing)) for rows in (a, b))
    found = compare(save(tmp_path / "a.npy", a), save(tmp_path / "b.npy", b))["fid"]
    assert found == pytest.approx(exact_distance(a, b), rel=1e-9)


def test_fewer_samples_than_dimensions(tmp_path):
    rng = np.random.default_rng(6)
    a, b = single(rng.normal(size=(10, 24))), single(rng.normal(size=(40, 24)) + 0.1)
    found = compare(save(tmp_path / "a.npy", a), save(tmp_path / "b.npy", b))["fid"]
    assert found == pytest.approx(exact_distance(a, b), rel=1e-6)


@pytest.mark.parametrize("kind", ["graded and rotated", "graded the other way", "few samples", "equal"])
def test_hard_sets_of_real_size(tmp_path, kind):
    """Beside the nuclear norm of the QR factors of the centred features, which never squares them."""
    rng = np.random.default_rng(7)
    count, dim = (200 if kind == "few samples" else 900), 300
    grades = np.logspace(0, -8, dim)
    a, b = rng.normal(size=(count, dim)), rng.normal(size=(900, dim))
    if kind.startswith("graded"):
        a, b = a * grades, b * (grades[::-1] if kind == "graded the other way" else 1)
        b = b @ np.linalg.qr(rng.normal(size=(dim, dim)))[0] * (grades if kind == "graded and rotated" else 1)
    a, b = single(a), single(a if kind == "equal" else b)
    found = compare(save(tmp_path / "a.npy", a), save(tmp_path / "b.npy", b))["fid"]
    factors = [np.linalg.qr(rows - rows.mean(0), mode="r") / np.sqrt(len(rows) - 1) for rows in (a, b)]
    spread = sum((one**2).sum() for one in factors)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + spread
    expected -= 2 * np.linalg.svd(factors[0] @ factors[1].T, compute_uv=False).sum()
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9 * spread if kind == "equal" else 0)


def test_refusals_say_what_is_wrong(pair, tmp_path):
    a, b, path_a, path_b = pair

    def refused(rows, *arguments):
        return qtaylor("compare", save(tmp_path / "bad.npy", rows), path_b, *arguments, code=65).stderr

    assert "the reference has 64 features a sample, the samples have 60" in refused(a[:, :60])
    holes = np.where(np.arange(1500)[:, None] == 5, np.nan, a)
    assert "row 5, column 0: expected a finite number, found nan" in refused(holes)
    assert "row 0, column 2" in refused(np.where(np.arange(64) == 2, np.inf, a))
    assert "found <i4" in refused(a.astype(np.int32))
    assert "at least 2 samples" in refused(a[:1])
    assert "shape [N, D]" in refused(a[0])
    (tmp_path / "cut.npy").write_bytes(path_a.read_bytes()[:-100])
    assert "cut.npy" in qtaylor("compare", tmp_path / "cut.npy", path_b, code=65).stderr
