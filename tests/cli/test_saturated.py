"""How many stored values are 0 or 255, and how many were clipped from beyond the range: counted, kept and summed."""
import json

import numpy as np
import pytest

from conftest import qtaylor, stored
from test_decode import give_decoder


def pixels(job):
    return json.loads((job.run / "metrics.json").read_text())["pixels"]


@pytest.mark.parametrize("span, rounding", [((-1, 1), "edm"), ((-0.5, 1.5), "adm"), ((-1, 1), "diffusers")], ids=str)
def test_counted_as_numpy_counts(job, span, rounding):
    """Of the same samples unrounded."""
    job.model["mixture"]["std"] = 0.7
    job.model["card"]["range"] = list(span)
    job.keys["output"] |= {"dtype": "float32", "dir": str(job.folder / "floats")}
    qtaylor("run", job.write())
    floats = stored(job.run).astype(np.float64)
    assert pixels(job) is None
    job.keys["output"] |= {"dtype": "uint8", "dir": str(job.folder / "bytes"), "rounding": rounding}
    text = qtaylor("run", job.write(), ranks=2).stdout
    values, found = stored(job.run), pixels(job)
    beyond = np.abs((floats - np.mean(span)) / (span[1] - span[0]) * 2) - (1 + 1 / 255)
    assert np.abs(beyond).min() > 1e-6  # float32 has not moved any over the edge
    assert found == {"values": 1600, "saturated": pytest.approx(((values == 0) | (values == 255)).mean(), abs=1e-12),
                     "clipped": pytest.approx((beyond > 0).mean(), abs=1e-12)}
    assert 0.05 < found["clipped"] < found["saturated"] < 0.5
    assert (f"saturated   {100 * found['saturated']:.2f} % of the pixel values are 0 or 255; "
            f"{100 * found['clipped']:.2f} % were clipped") in text
    for path in sorted((job.run / "samples").iterdir())[2:4]:  # made again by another job: the others' counts stay
        path.unlink()
    (job.run / "metrics.json").unlink()
    qtaylor("run", job.write())
    assert pixels(job) == found
    qtaylor("report", job.run)
    page = (job.run / "report.html").read_text()
    assert "pixel values clipped" in page and f"{100 * found['clipped']:.2f} %" in page


def test_most_of_the_values_clipped_is_told(job):
    job.model["mixture"]["means"] = [[3] * 16, [-3] * 16]
    done = qtaylor("run", job.write())
    assert pixels(job)["clipped"] == pixels(job)["saturated"] == 1
    assert "100 % of the pixel values lay beyond the model's range" in done.stderr


def test_of_decoded_pictures(job):
    """Shares of their values, of which there are more than the latents have."""
    give_decoder(job, {"range": [-0.2, 0.2]})
    job.keys["output"] |= {"dtype": "float32", "dir": str(job.folder / "floats")}
    qtaylor("run", job.write())
    floats = stored(job.run)
    job.keys["output"] |= {"dtype": "uint8", "dir": str(job.folder / "bytes")}
    qtaylor("run", job.write())
    values = stored(job.run)
    assert pixels(job) == {"values": values.size, "saturated": ((values == 0) | (values == 255)).mean(),
                           "clipped": (np.abs(floats / 0.2) > 1 + 1 / 255).mean()}
    assert pixels(job)["clipped"] > 0.4


def test_a_sweep_shows_its_range(job):
    job.keys |= {"seeds": "0-15", "sweep": {"sampler.nfe": [1, 6]}}
    job.keys["sampler"].pop("nfe")
    qtaylor("run", job.write())
    shares = [json.loads((job.run / f"nfe={nfe}/metrics.json").read_text())["pixels"]["saturated"] for nfe in (1, 6)]
    qtaylor("report", job.run)
    ends = f"{100 * min(shares):.2f} to {100 * max(shares):.2f} %"
    shown = ends if shares[0] != shares[1] else f"{100 * shares[0]:.2f} %"
    assert shown in (job.run / "report.html").read_text()
