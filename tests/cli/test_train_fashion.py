"""tools/train_fashion.py: what it writes is a job's model, and a training that was stopped ends as one that was not."""
import gzip
import sys

import numpy as np
import pytest

from conftest import ROOT, TORCH, qtaylor

torch = pytest.importorskip("torch")
SMALL = "--steps 4 --every 2 --batch 8 --channels 16 --epochs 1 --check 10 --nfe 2".split()


@pytest.fixture(scope="module")
def script():
    """The module; it sets how torch computes, which is put back."""
    threads = torch.get_num_threads()
    sys.path.insert(0, str(ROOT / "tools"))
    import train_fashion

    yield train_fashion
    sys.path.remove(str(ROOT / "tools"))
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    """Sets the command line: data of random pictures, out in a folder of that name."""
    generator = np.random.default_rng(0)
    for part, count in ("train", 300), ("t10k", 200):
        images = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = generator.integers(0, 10, count, dtype=np.uint8)
        for name, array in (f"{part}-images-idx3", images), (f"{part}-labels-idx1", labels):
            with gzip.open(tmp_path / f"{name}-ubyte.gz", "wb", compresslevel=1) as file:
                file.write(bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes())

    def set_arguments(out, *more):
        line = ["train_fashion.py", "--data", str(tmp_path), "--out", str(tmp_path / out), *SMALL, *more]
        monkeypatch.setattr(sys, "argv", line)

    return set_arguments


def test_what_it_writes_runs(script, arguments, tmp_path, capsys):
    arguments("once")
    script.main()
    assert "step 4/4" in capsys.readouterr().out
    once = tmp_path / "once"
    assert sorted(path.name for path in once.iterdir()) == ["features.pt", "model.pt", "reference.npz"]
    done = qtaylor("run", ROOT / "jobs/fashion/job.yaml", "--set", f"output.dir={tmp_path}/run", "--set", "seeds=0-199",
                   "--set", "sampler.nfe=2", "--set", f"model.path={once}/model.pt", "--set",
                   f"evaluate={{features: {once}/features.pt, reference: {once}/reference.npz}}", program=TORCH)
    assert "FID" in done.stdout + done.stderr


def test_a_stopped_training_goes_on(script, arguments, tmp_path, monkeypatch):
    """The same weights as without the stop, and the features of before it."""
    arguments("once")
    script.main()
    arguments("stopped")
    advance = script.Training.advance

    def stop_at_3(training, data):
        if training.step == 3:
            raise KeyboardInterrupt
        return advance(training, data)

    monkeypatch.setattr(script.Training, "advance", stop_at_3)
    with pytest.raises(KeyboardInterrupt):
        script.main()
    monkeypatch.setattr(script.Training, "advance", advance)
    written = (tmp_path / "stopped/features.pt").stat().st_mtime_ns
    script.main()
    assert (tmp_path / "stopped/features.pt").stat().st_mtime_ns == written
    inputs = script.model_inputs(5)
    velocities = [torch.jit.load(str(tmp_path / out / "model.pt"))(*inputs) for out in ("once", "stopped")]
    assert velocities[0].abs().max() > 0 and torch.equal(*velocities)


@pytest.mark.parametrize("change, message", [(["--batch", "16"], "made with"), (["--steps", "40"], "learning rate")])
def test_another_trainings_checkpoint_is_refused(script, arguments, monkeypatch, change, message):
    arguments("stopped")
    monkeypatch.setattr(script, "held_out_loss", lambda *_: sys.exit("stopped"))
    with pytest.raises(SystemExit, match="stopped"):
        script.main()                                        # after the last step, before the files
    arguments("stopped", *change)
    with pytest.raises(SystemExit, match=message):
        script.main()


def test_missing_data_names_the_package(script, arguments, tmp_path):
    arguments("once", "--data", str(tmp_path / "nowhere"))
    with pytest.raises(SystemExit, match="dataset-fashion-mnist"):
        script.main()


def test_a_cut_file_is_refused(script, arguments, tmp_path):
    arguments("once")
    with gzip.open(tmp_path / "train-images-idx3-ubyte.gz", "wb") as file:
        file.write(bytes([0, 0, 8, 3]) + np.array([300, 28, 28], ">u4").tobytes() + bytes(100))
    with pytest.raises(SystemExit, match="300"):
        script.main()
