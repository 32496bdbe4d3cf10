"""Without memory somewhere a report ends with an error, or says all that it says otherwise: nothing is left out."""
import json
import random
import subprocess

from conftest import FAKE, FAULT, environment, qtaylor
from reports import make_sweep


def test_a_report_is_whole_or_none(tmp_path):
    job = make_sweep(tmp_path, {"sampler.solver": ["ddim", "heun"], "sampler.nfe": [4]})
    qtaylor("run", job.write())
    whole = json.loads(qtaylor("report", job.run, "--json").stdout)
    log, codes = tmp_path / "log", []
    for n in random.Random(3).sample(range(200, 2000), 120):
        done = subprocess.run([FAKE, "report", job.run, "--json"], capture_output=True, text=True, env=environment(
            LD_PRELOAD=FAULT, QTAYLOR_FAULTS=f"call=malloc n={n} do=ENOMEM", QTAYLOR_FAULT_LOG=log))
        assert done.returncode in (0, 65, 70), done.stderr  # 65: a parser without memory calls a file no JSON
        codes.append(done.returncode)
        if done.returncode == 0:
            found = json.loads(done.stdout)
            changed = found.pop("changed")  # a seal that could not be computed is not the same
            assert found | {"changed": []} == whole | {"changed": []} and set(changed) <= {
                cell["cell"] for cell in whole["cells"]}, n
    assert log.read_text().count("fired") == 120 and 70 in codes
