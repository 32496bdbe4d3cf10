"""compare, reference and evaluate on images, several outputs and every form of file, against PyTorch and numpy."""
import io
import json
import socket
import subprocess
import zipfile

import numpy as np
import pytest
from PIL import Image

from conftest import FAKE, ROOT, TORCH, qtaylor

torch = pytest.importorskip("torch")


def frechet(a, b):
    """pytorch-fid's formula, by eigenvalues, in float64."""
    (mu1, s1), (mu2, s2) = [(rows.mean(0), np.cov(rows, rowvar=False)) for rows in (a.astype(float), b.astype(float))]
    root = np.sqrt(np.clip(np.linalg.eigvals(s1 @ s2).real, 0, None)).sum()
    return ((mu1 - mu2) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * root


def compare(*arguments, program=FAKE):
    return json.loads(qtaylor("compare", *arguments, "--json", program=program).stdout)["metrics"]


def save_pngs(folder, pictures, tree=False):
    """EDM's names; with tree also its folders of a thousand."""
    for seed, picture in enumerate(pictures):
        place = folder / f"{seed - seed % 1000:06d}" if tree else folder
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture).save(place / f"{seed:06d}.png")


def shards(run, pattern):
    parts = [subprocess.run(["zstd", "-dc", path], capture_output=True, check=True).stdout
             for path in sorted(run.glob(pattern))]
    return np.concatenate([np.load(io.BytesIO(part)) for part in parts])


def network(folder):
    """A linear network of the fake shim on [3,4,4] images, three outputs."""
    described = {"shape": [3, 4, 4], "range": [0, 255], "outputs": {"pool": 6, "spatial": 5, "logits": 4}}
    path = folder / "net.json"
    path.write_text(json.dumps({"features": described, "matrix": 3}))
    return path


def test_images_in_every_form_are_the_same(tmp_path):
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 256, (300 + k, 4, 4, 3), dtype=np.uint8) // (k + 1) for k in range(2))
    net = network(tmp_path)
    save_pngs(tmp_path / "flat", a)
    save_pngs(tmp_path / "tree", a, tree=True)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in sorted((tmp_path / "flat").iterdir()):
            archive.write(path, path.name)
    np.savez(tmp_path / "stored.npz", a)
    np.savez_compressed(tmp_path / "deflated.npz", arr_0=a, arr_1=np.arange(300))
    np.savez(tmp_path / "b.npz", b)
    np.save(tmp_path / "a.npy", a)
    metrics = ["--features", net, "--metrics", "fid,sfid,kid,is,prdc"]
    found = [compare(tmp_path / name, tmp_path / "b.npz", *metrics)
             for name in ("flat", "tree", "a.zip", "stored.npz", "deflated.npz", "a.npy")]
    assert all(one == found[0] for one in found)
    pixels = [rows.transpose(0, 3, 1, 2).reshape(len(rows), -1) / np.float32(255) for rows in (a, b)]
    none = compare(tmp_path / "flat", tmp_path / "b.npz", "--features", "none")
    assert none["fid"] == pytest.approx(frechet(*pixels), rel=1e-6)
    # Features as files say the same as images through the network.
    for name in ("stored", "b"):
        qtaylor("reference", tmp_path / f"{name}.npz", "--features", net, "-o", tmp_path / f"{name}.npy")
    features = [np.load(tmp_path / f"{name}.npy") for name in ("stored", "b")]
    assert features[0].shape == (300, 6) and features[0].dtype == np.float32
    again = compare(tmp_path / "stored.npy", tmp_path / "b.npy", "--metrics", "fid,kid,prdc")
    assert again == {key: found[0][key] for key in again}
    assert found[0]["fid"] == pytest.approx(frechet(*features), rel=1e-6)


def test_a_reference_holds_both_statistics(tmp_path):
    rng = np.random.default_rng(1)
    a, b = (rng.integers(0, 256, (400, 4, 4, 3), dtype=np.uint8) for _ in range(2))
    net = network(tmp_path)
    np.savez(tmp_path / "a.npz", a)
    np.savez(tmp_path / "b.npz", b)
    qtaylor("reference", tmp_path / "b.npz", "--features", net, "--output", tmp_path / "ref.npz")
    options = ["--features", net, "--metrics", "fid,sfid"]
    whole = compare(tmp_path / "a.npz", tmp_path / "b.npz", *options)
    assert compare(tmp_path / "a.npz", tmp_path / "ref.npz", *options) == whole
    assert whole["fid"] != whole["sfid"]
    # ADM's reference: the samples and both statistics in one file, the latter of more samples than the former.
    ours = np.load(tmp_path / "ref.npz")
    assert ours["mu"].shape == (6,) and ours["sigma_s"].shape == (5, 5)
    np.savez(tmp_path / "adm.npz", arr_0=b[:50], **{name: ours[name] for name in ("mu", "sigma", "mu_s", "sigma_s")})
    assert compare(tmp_path / "a.npz", tmp_path / "adm.npz", *options) == whole
    assert "kid" in compare(tmp_path / "a.npz", tmp_path / "adm.npz", "--features", net, "--metrics", "kid")


def test_refusals(tmp_path):
    rng = np.random.default_rng(2)
    np.savez(tmp_path / "a.npz", rng.integers(0, 256, (30, 4, 4, 3), dtype=np.uint8))
    np.savez(tmp_path / "f.npz", features=rng.normal(size=(30, 6)))
    np.savez(tmp_path / "other.npz", nothing=np.zeros(3))
    (tmp_path / "empty").mkdir()
    net = network(tmp_path)

    def refused(*arguments, code=65):
        return qtaylor(*arguments, code=code).stderr

    a, f = tmp_path / "a.npz", tmp_path / "f.npz"
    assert "say --features NET" in refused("compare", a, f)
    assert "expected .png, .jpg or .webp images" in refused("compare", tmp_path / "empty", f, "--features", net)
    assert "found `nothing`" in refused("compare", f, tmp_path / "other.npz")
    assert "sfid needs spatial features or their statistics (mu_s, sigma_s), and the reference has none" in refused(
        "compare", a, qtaylor_reference(tmp_path, f), "--features", net, "--metrics", "sfid")
    assert "--output is missing" in refused("reference", f, code=64)
    assert "--device: expected auto, cpu or cuda" in refused("compare", a, f, "--features", net, "--device", "x",
                                                             code=64)
    assert "sees no GPU" in refused("compare", a, f, "--features", net, "--device", "cuda")
    with np.load(f) as file:
        np.savez(tmp_path / "nan.npz", features=np.where(np.arange(6) == 3, np.nan, file["features"]))
    assert "row 0, column 3" in refused("compare", tmp_path / "nan.npz", f)


def qtaylor_reference(folder, path):
    qtaylor("reference", path, "-o", folder / "reference.npz")
    return folder / "reference.npz"


class Several(torch.nn.Module):
    def forward(self, images):
        flat = images.flatten(1).float() / 255
        return flat[:, ::8], flat[:, :30].reshape(-1, 5, 3, 2), flat[:, 40:44] * 9


class Named(torch.nn.Module):
    def forward(self, images):
        flat = images.flatten(1).float() / 255
        return {"logits": flat[:, 40:44] * 9, "pool": flat[:, ::8], "spatial": flat[:, :30]}


class LikeInception(torch.nn.Module):
    """The signature of inception-2015-12-05.pt."""

    def forward(self, img, return_features: bool = False, use_fp16: bool = False, no_output_bias: bool = False):
        flat = img.flatten(1).float() / 255
        if return_features:
            return flat[:, ::8]
        return torch.softmax(flat[:, 40:44] * 9 + (0.0 if no_output_bias else 1.0) * torch.arange(4.0), 1)


def entropy_score(logits):
    scores = []
    for part in np.split(logits.astype(float), 10):
        p = np.exp(part) / np.exp(part).sum(1, keepdims=True)
        scores.append(np.exp((p * (np.log(p) - np.log(p.mean(0)))).sum(1).mean()))
    return np.mean(scores), np.std(scores)


class Sure(LikeInception):
    """Its probabilities underflow to 0."""

    def forward(self, img, return_features: bool = False, use_fp16: bool = False, no_output_bias: bool = False):
        flat = img.flatten(1).float() / 255
        return flat[:, ::8] if return_features else torch.softmax(flat[:, 40:44] * 2000, 1)


def test_a_probability_that_underflows_has_no_part_in_is(tmp_path):
    images = np.random.default_rng(9).integers(0, 256, (100, 8, 8, 3), dtype=np.uint8)
    described = json.dumps({"shape": [3, 8, 8], "range": [0, 255], "outputs": {"pool": 24, "logits": 4}})
    torch.jit.save(torch.jit.script(Sure()), str(tmp_path / "net.pt"), _extra_files={"features.json": described})
    np.save(tmp_path / "a.npy", images)
    logits = 2000 * (images.transpose(0, 3, 1, 2).reshape(100, -1)[:, 40:44].astype(float) / 255)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    scores = []
    for part in np.split(p, 10):
        mean = part.mean(0)
        terms = np.where(part > 0, part * (np.log(np.where(part > 0, part, 1)) - np.log(np.where(mean > 0, mean, 1))),
                         0)
        scores.append(np.exp(terms.sum(1).mean()))
    found = compare(tmp_path / "a.npy", tmp_path / "a.npy", "--features", tmp_path / "net.pt", "--metrics", "is",
                    program=TORCH)
    assert (p.astype(np.float32) == 0).any()
    assert (found["is"], found["is_std"]) == pytest.approx((np.mean(scores), np.std(scores)), rel=1e-5)


@pytest.mark.parametrize("module", [Several, Named, LikeInception])
def test_several_outputs_of_a_torchscript_network(tmp_path, module):
    rng = np.random.default_rng(3)
    rows = rng.integers(0, 256, (2, 500, 8, 8, 1), dtype=np.uint8)
    outputs = {"pool": 24, "spatial": 30, "logits": 4}
    if module is LikeInception:
        outputs = {"pool": 24, "logits": 4}
    described = json.dumps({"shape": [3, 8, 8], "range": [0, 255], "outputs": outputs})
    net = tmp_path / "net.pt"
    torch.jit.save(torch.jit.script(module()), str(net), _extra_files={"features.json": described})
    for name, images in zip("ab", rows):
        np.savez(tmp_path / f"{name}.npz", images)
    found = compare(tmp_path / "a.npz", tmp_path / "b.npz", "--features", net, "--metrics",
                    "fid,is" if module is LikeInception else "fid,sfid,is", program=TORCH)
    grey = [torch.from_numpy(images).permute(0, 3, 1, 2).repeat(1, 3, 1, 1) for images in rows]
    pool, spatial, logits = zip(*(map(torch.Tensor.numpy, Several()(images)) for images in grey))
    assert found["fid"] == pytest.approx(frechet(*pool), rel=1e-6)
    assert (found["is"], found["is_std"]) == pytest.approx(entropy_score(logits[0]), rel=1e-5)
    if "spatial" in outputs:
        assert found["sfid"] == pytest.approx(frechet(*(one.reshape(500, 30) for one in spatial)), rel=1e-6)


def test_exported_digits_end_to_end(tmp_path):
    """Samples of a real run as PNGs, through the same network in Python: the run's own FID."""
    run = tmp_path / "run"
    qtaylor("run", ROOT / "jobs/digits/job.yaml", "--set", f"output.dir={run}", "--set", "seeds=0-499", program=TORCH)
    metrics = json.loads((run / "metrics.json").read_text())["metrics"]
    samples = shards(run, "samples/*.zst")
    save_pngs(tmp_path / "png", samples)
    back = np.stack([np.asarray(Image.open(path)) for path in sorted((tmp_path / "png").iterdir())])
    described = {"features.json": ""}
    model = torch.jit.load(str(ROOT / "jobs/digits/features.pt"), _extra_files=described)
    assert json.loads(described["features.json"])["range"] == [0, 255]
    with torch.no_grad():
        features = model(torch.from_numpy(back)[:, None]).numpy().astype(float)
    reference = np.load(ROOT / "jobs/digits/reference.npz")
    sigma = np.cov(features, rowvar=False)
    root = np.sqrt(np.clip(np.linalg.eigvals(sigma @ reference["sigma"]).real, 0, None)).sum()
    expected = (((features.mean(0) - reference["mu"]) ** 2).sum() + np.trace(sigma) + np.trace(reference["sigma"])
                - 2 * root)
    assert metrics["fid"] == pytest.approx(expected, rel=1e-6)
    from_pngs = compare(tmp_path / "png", ROOT / "jobs/digits/reference.npz", "--features",
                        ROOT / "jobs/digits/features.pt", program=TORCH)
    assert from_pngs["fid"] == pytest.approx(metrics["fid"], rel=1e-9)
    assert compare(run, ROOT / "jobs/digits/reference.npz", program=TORCH)["fid"] == metrics["fid"]


def test_a_run_keeps_every_output_that_its_metrics_need(job):
    job.add_evaluation()
    described = {"shape": [1, 4, 4], "range": [0, 255], "outputs": {"pool": 8, "spatial": 5, "logits": 4}}
    (job.folder / "features.json").write_text(json.dumps({"features": described, "matrix": 7}))
    rows = np.random.default_rng(4).normal(size=(300, 8)) * 40 + 100
    np.save(job.folder / "reference.npy", rows.astype(np.float32))
    job.keys["seeds"] = "0-399"
    job.keys["evaluate"] |= {"reference": "reference.npy", "metrics": ["fid", "is"]}
    qtaylor("run", job.write())
    assert {path.name for path in job.run.glob("features/*/*")} == {"pool", "logits"}
    first = json.loads((job.run / "metrics.json").read_text())
    logits = shards(job.run, "features/*/logits/*.zst")
    assert (first["metrics"]["is"], first["metrics"]["is_std"]) == pytest.approx(entropy_score(logits), rel=1e-6)
    assert first["metrics"]["fid"] == pytest.approx(frechet(shards(job.run, "features/*/pool/*.zst"), rows), rel=1e-5)
    job.keys["evaluate"]["metrics"] = ["fid", "is", "kid", "prdc"]  # a rerun adds metrics, samples stay
    qtaylor("run", job.write())
    second = json.loads((job.run / "metrics.json").read_text())
    assert second["metrics"]["fid"] == first["metrics"]["fid"] and "coverage" in second["metrics"]
    next(job.run.glob("features/*/logits/000000*")).unlink()
    assert "logits" in qtaylor("verify", job.run, code=75).stdout
    left = [folder / f".000000.npy.zst.tmp-{socket.gethostname()}-999999999-0"  # by a killed process
            for folder in [job.run / "samples", *job.run.glob("features/*/*")]]
    for path in left:
        path.touch()
    qtaylor("run", job.write())
    assert len(left) == 3 and not any(path.exists() for path in left)
    assert json.loads((job.run / "metrics.json").read_text())["metrics"] == second["metrics"]


def test_paired_difference(job, tmp_path):
    job.add_evaluation()
    job.keys["seeds"] = "0-399"
    qtaylor("run", job.write())
    dir_a = job.run
    job.keys["output"]["dir"] = str(tmp_path / "other")
    job.keys["sampler"]["nfe"] = 3
    qtaylor("run", job.write())
    values = compare(dir_a, tmp_path / "reference.npz", "--versus", job.run)
    other = compare(job.run, tmp_path / "reference.npz")
    assert values["fid_delta"] == pytest.approx(values["fid_corrected"] - other["fid_corrected"], rel=1e-9)
    apart = np.hypot(values["fid_error"], other["fid_error"])
    assert 0 < values["fid_delta_error"] < apart  # shared seeds tell the two apart better than their own errors would


def test_numbers_in_names_pair_the_same_pictures(tmp_path):
    rng = np.random.default_rng(5)
    a, b, reference = (rng.integers(0, 256, (400, 4, 4, 3), dtype=np.uint8) for _ in range(3))
    save_pngs(tmp_path / "padded", a, tree=True)
    save_pngs(tmp_path / "other", b)
    for name in ("plain", "renamed"):
        (tmp_path / name).mkdir()
    for seed, picture in enumerate(a):
        Image.fromarray(picture).save(tmp_path / f"plain/{seed}.png")
        Image.fromarray(picture).save(tmp_path / f"renamed/{seed + 1}.png")
    np.save(tmp_path / "a.npy", a)
    np.save(tmp_path / "reference.npy", reference)

    def versus(one, two):
        done = qtaylor("compare", tmp_path / one, tmp_path / "reference.npy", "--features", "none", "--versus",
                       tmp_path / two, "--json")
        found, positions = json.loads(done.stdout), "paired by position" in done.stderr
        assert found["pairing"] == ("position" if positions else "name")
        assert found["samples"] == {"A": 400, "B": 400, "A2": 400}
        return found["metrics"]["fid_delta"], positions

    assert versus("padded", "plain") == (0, False)
    said = qtaylor("compare", tmp_path / "padded", tmp_path / "reference.npy", "--features", "none", "--versus",
                   tmp_path / "renamed", code=65).stderr
    assert f"of the 400 names (or seeds) of {tmp_path / 'padded'} 399 are among the 400" in said
    for path in (tmp_path / "renamed").iterdir():
        path.rename(path.with_name(f"x{path.name}"))
    assert versus("padded", "renamed") == (0, True)
    assert versus("padded", "a.npy") == (0, True)
    assert versus("padded", "other")[1] is False


def test_images_that_are_not_read_are_refused_and_other_files_named(tmp_path):
    rng = np.random.default_rng(6)
    images = rng.integers(0, 256, (40, 4, 4, 3), dtype=np.uint8)
    save_pngs(tmp_path / "a", images[:30])
    for name in ("dataset.json", "metadata.jsonl"):  # as export writes them
        (tmp_path / "a" / name).write_text("{}")
    assert "left out" not in qtaylor("compare", tmp_path / "a", tmp_path / "a", "--features", "none").stderr
    (tmp_path / "a/notes.json").write_text("{}")
    (tmp_path / "a/.hidden.png").write_text("x")
    said = qtaylor("compare", tmp_path / "a", tmp_path / "a", "--features", "none").stderr
    assert "left out, as hidden or no images: 2 (" in said and "notes.json" in said and ".hidden.png" in said
    for i, image in enumerate(images[30:]):
        Image.fromarray(image).save(tmp_path / f"a/{i}.gif")
    said = qtaylor("compare", tmp_path / "a", tmp_path / "a", "--features", "none", code=65).stderr
    assert "found 30 PNG, 10 GIF files" in said
    assert "found 30 PNG, 10 GIF files" in qtaylor("reference", tmp_path / "a", "--features", "none", "-o",
                                                    tmp_path / "x.npz", code=65).stderr
    assert not (tmp_path / "x.npz").exists()


def test_a_run_through_a_network_it_was_not_evaluated_with(job, tmp_path):
    """A run without evaluate:, its export, and a run with another network are all the same pictures."""
    network = {"shape": [1, 4, 4], "range": [0, 255], "outputs": {"pool": 8}}
    (tmp_path / "net.json").write_text(json.dumps({"features": network, "matrix": 3}))
    np.save(tmp_path / "reference.npy", np.random.default_rng(7).normal(size=(300, 8)) * 40 + 100)
    job.keys["seeds"] = "0-299"
    qtaylor("run", job.write())
    assert "say --features NET" in qtaylor("compare", job.run, tmp_path / "reference.npy", code=65).stderr
    qtaylor("export", job.run, "--to", "npy", "-o", tmp_path / "samples.npy")
    how = ["--features", tmp_path / "net.json", "--metrics", "fid,prdc"]
    of_samples = compare(tmp_path / "samples.npy", tmp_path / "reference.npy", *how)
    assert compare(job.run, tmp_path / "reference.npy", *how) == of_samples
    plain = job.run
    job.add_evaluation()
    job.keys["output"]["dir"] = str(tmp_path / "evaluated")
    qtaylor("run", job.write())
    assert compare(job.run, tmp_path / "reference.npy", *how) == of_samples
    own = compare(job.run, tmp_path / "reference.npz")
    assert own != of_samples
    assert compare(job.run, tmp_path / "reference.npz", "--features", tmp_path / "features.json") == own
    pixels = compare(job.run, tmp_path / "samples.npy", "--features", "none")
    assert pixels["fid"] == pytest.approx(0, abs=1e-9)
    assert compare(plain, tmp_path / "reference.npy", *how, "--versus", job.run)["fid_delta"] == 0
    next(plain.glob("samples/000003*")).unlink()
    assert "shard" in qtaylor("compare", plain, tmp_path / "reference.npy", *how, code=75).stderr


def test_few_samples_are_said(job, tmp_path):
    rng = np.random.default_rng(8)
    for name, shape in {"a": (8, 8), "b": (9, 8), "c": (1000, 2), "d": (1001, 2), "e": (1500, 2)}.items():
        np.save(tmp_path / f"{name}.npy", rng.normal(size=shape))

    def said(one, two, metric):
        done = qtaylor("compare", tmp_path / f"{one}.npy", tmp_path / f"{two}.npy", "--metrics", metric, "--json")
        return done.stderr, json.loads(done.stdout)["metrics"]

    assert np.linalg.matrix_rank(np.cov(np.load(tmp_path / "a.npy"), rowvar=False)) == 7  # of 8: singular
    assert np.linalg.matrix_rank(np.cov(np.load(tmp_path / "b.npy"), rowvar=False)) == 8
    assert "the sample side has 8 samples of 8 features" in said("a", "b", "fid")[0]
    assert "the reference has 8 samples of 8 features" in said("b", "a", "fid")[0]
    assert said("b", "b", "fid")[0] == ""
    for one, two in (("c", "e"), ("e", "c")):  # the subsets of the thousand are all the same
        text, metrics = said(one, two, "kid")
        assert "kid_std is left out" in text and "kid_std" not in metrics and {"kid", "kid_full"} <= metrics.keys()
    text, metrics = said("d", "e", "kid")
    assert text == "" and metrics["kid_std"] > 0
    job.add_evaluation()
    job.keys["seeds"] = "0-7"
    path = job.write()
    for command in ("plan", "run"):
        assert qtaylor(command, path).stderr.count("the sample side has 8 samples of 8 features") == 1


def test_a_sweep_or_a_folder_of_runs_is_no_folder_of_images(job):
    """Their pictures are overviews."""
    job.keys["sweep"] = {"sampler.nfe": [4, 6]}
    qtaylor("run", job.write())
    for path, named in (job.run, "sweep.json"), (job.folder, "run.json"):
        if named == "run.json":
            (job.run / "sweep.json").unlink()
        said = qtaylor("compare", path, path, "--features", "none", code=65).stderr
        assert named in said and "what a run or a sweep of qtaylor holds" in said
