"""Feature networks: what reaches them, and what comes back, against PyTorch."""
import io
import json
import subprocess

import numpy as np
import pytest

from conftest import ROOT, TORCH, qtaylor

torch = pytest.importorskip("torch")


class Plain(torch.nn.Module):
    def forward(self, images):
        return images.flatten(1)[:, ::7].float() * 2 - 1


class LikeInception(torch.nn.Module):
    """The signature of inception-2015-12-05.pt."""

    def forward(self, img, return_features: bool = False, use_fp16: bool = False, no_output_bias: bool = False):
        features = img.flatten(1)[:, ::7].float() * 2 - 1
        return features if return_features else torch.softmax(features, 1)[:, :3]


@pytest.mark.parametrize("module, span",
                         [(Plain, [0, 255]), (Plain, [0, 1]), (Plain, [-1, 1]), (LikeInception, [0, 255])])
def test_features_are_pytorchs(tmp_path, module, span):
    network = torch.jit.script(module())
    described = json.dumps({"shape": [3, 8, 8], "range": span, "outputs": {"pool": 28}})
    torch.jit.save(network, str(tmp_path / "net.pt"), _extra_files={"features.json": described})
    np.savez(tmp_path / "ref.npz", mu=np.zeros(28), sigma=np.eye(28))
    run = tmp_path / "run"
    qtaylor("run", ROOT / "jobs/digits/job.yaml", "--set", f"output.dir={run}", "--set", "seeds=0-299", "--set",
            f"evaluate={{features: {tmp_path}/net.pt, reference: {tmp_path}/ref.npz}}", program=TORCH)

    def arrays(pattern):
        parts = [subprocess.run(["zstd", "-dc", path], capture_output=True, check=True).stdout
                 for path in sorted(run.glob(pattern))]
        return np.concatenate([np.load(io.BytesIO(part)) for part in parts])

    pictures = torch.from_numpy(arrays("samples/*.zst")).permute(0, 3, 1, 2).repeat(1, 3, 1, 1)
    if span[1] == 1:
        pictures = pictures.float() / 255 * (span[1] - span[0]) + span[0]
    arguments = {"return_features": True} if module is LikeInception else {}
    expected = network(pictures.contiguous(), **arguments).numpy()
    found = arrays("features/*/pool/*.zst")
    assert found.shape == (300, 28)
    assert np.abs(found - expected).max() < 1e-6
