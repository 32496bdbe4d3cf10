"""A run's own files are no place for a command's output, whatever the way to them."""

from conftest import qtaylor

RECORDS = ["run.json", "manifest.jsonl", "metrics.json", "progress.json", "samples/000000.npy.zst", "samples/new/x.npy",
           "log/x.npy", "features/x", "results.csv", "metrics-250.json", "latents/x", "rounds/x", "race.json",
           "references/x.npz"]


def everything(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_outputs_never_replace_a_runs_records(job, tmp_path):
    job.add_evaluation()
    qtaylor("run", job.write())
    (tmp_path / "alias").symlink_to(job.run)
    (tmp_path / "inside").symlink_to(job.run / "samples")
    before = everything(job.run)
    places = [job.run / name for name in RECORDS] + [tmp_path / "alias/run.json", tmp_path / "inside/000000.npy.zst",
                                                     f"{job.run}/samples/../run.json", f"{job.run}//run.json"]
    for place in places:
        for command in (["export", job.run, "--to", "npy", "--force", "-o"], ["report", job.run, "-o"],
                        ["report", job.run, "--plot"], ["reference", job.run, "-o"]):
            assert "a run's own record" in qtaylor(*command, place, code=64).stderr
        if str(place).endswith(".npy"):
            assert "a run's own record" in qtaylor("sample", job.run, "0", "--force", "-o", place, code=64).stderr
    assert everything(job.run) == before
    qtaylor("export", job.run, "--to", "npy", "-o", job.run / "mine.npy")
    qtaylor("export", job.run, "--to", "png")
    (tmp_path / "samples").mkdir()
    qtaylor("export", job.run, "--to", "npy", "-o", tmp_path / "samples/run.json")
    qtaylor("report", job.run)
