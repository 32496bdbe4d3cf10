"""report --card: the block that says how a number was made, against run.json, metrics.json and its own three forms."""
import json
import re

from conftest import qtaylor
from test_conditions import arrays, give
from test_latents import give_decoder

AGAIN, USAGE, DATA = 75, 64, 65


def card(run, *more, **how):
    return qtaylor("report", run, "--card", *more, **how)


def lines(run):
    return dict(re.match(r"(.*?) {2,}(.*)|(.{17}) (.*)", line).group(1, 2) if "  " in line
                else (line[:17].strip(), line[18:]) for line in card(run).stdout.splitlines())


def out_of_latex(text):
    """What LaTeX prints, of the few commands that are used; anything else of its own is left and seen."""
    body = re.fullmatch(r"\\begin\{tabular\}\{lp\{0\.7\\linewidth\}\}\n\\hline\n(.*)\\hline\n\\end\{tabular\}\n", text,
                        re.S)[1]
    commands = {r"\textbackslash{}": "\\", r"\textasciicircum{}": "^", r"\textasciitilde{}": "~", r"\textless{}": "<",
                r"\textgreater{}": ">", r"\textbar{}": "|", r"\char34{}": '"', r"\char96{}": "`", r"$\pm$": "±",
                "-{}": "-", "'{}": "'", **{"\\" + c: c for c in "{}$&#%_"}}
    rows = []
    for line in body.splitlines():
        cells = re.fullmatch(r"  (.*?) & (.*) \\\\", line).groups()
        parts = [re.split("(" + "|".join(map(re.escape, commands)) + ")", cell) for cell in cells]
        assert not any(re.search(r"[\\{}$&#%_^~<>|\"`]|--|''", part) for cell in parts for part in cell[::2])
        rows.append(tuple("".join(commands.get(part, part) for part in cell) for cell in parts))
    return rows


def out_of_markdown(text):
    head, rule, *rest = text.splitlines()
    assert (head, rule) == ("| | |", "|---|---|")
    rows = []
    for line in rest:
        cells = re.fullmatch(r"\| (.*?[^\\]) \| (.*) \|", line).groups()
        assert not re.search(r"(?<!\\)(\\\\)*[`*_{}\[\]<>|#~]", cells[1])
        rows.append(tuple(re.sub(r"\\(.)", r"\1", cell) for cell in cells))
    return rows


def test_it_says_what_a_network_computes_in(job):
    job.model["card"]["dtype"] = "bfloat16"
    qtaylor("run", job.write())
    assert lines(job.run)["arithmetic"] == "fp32; network bfloat16 inside; state float64; batch 8"


def test_it_says_what_the_records_say(job):
    job.add_evaluation()
    job.keys["seeds"] = "0-399"
    job.keys["sampler"] = {"solver": "heun", "nfe": 8, "guidance": 1.5}
    qtaylor("run", job.write())
    document, result = (json.loads((job.run / name).read_text()) for name in ("run.json", "metrics.json"))
    said, metrics = lines(job.run), result["metrics"]
    assert said["network"] == f"model.json, sha256 {document['keys']['model']['sha256'][:12]}"
    assert said["arithmetic"] == "fp32; state float64; batch 8" and said["solver"].startswith("heun")
    assert said["NFE"] == f"{result['nfe']}, model calls {result['model_calls']}"
    assert said["guidance"] == "scale 1.5" and said["labels"] == "balanced" and "decoder" not in said
    sampler = document["keys"]["sampler"]
    for key in ("grid", "steps", "t_start", "t_end"):
        assert f"{key} {sampler[key] if isinstance(sampler[key], str) else f'{sampler[key]:g}'}" in said["grid"]
    assert said["seeds"] == "0-399, noise of philox" and said["stored as"] == "uint8, rounded by the rule edm"
    assert said["feature network"] == f"features.json, sha256 {metrics['network']['sha256'][:12]}, pool 8"
    assert said["reference"] == f"reference.npz, sha256 {metrics['reference']['sha256'][:12]}"
    form = r"(\S+); without the bias of finite samples (\S+) ± (\S+) \(standard error\)"
    value, corrected, error = re.fullmatch(form, said["fid"]).groups()
    for shown, whole, digits in ((value, metrics["fid"], 6), (corrected, metrics["fid_corrected"], 6),
                                 (error, metrics["fid_error"], 2)):
        assert shown == f"{whole:.{digits}g}"
    assert said["samples (N)"] == "400" and document["versions"]["commit"] in said["versions"]
    assert said["digest of the set"] == result["payload_sha256"][:12]
    assert not any("fid_" in name for name in said)


def test_all_forms_say_the_same(job):
    """Also of names with everything in them that a form has a use of its own for."""
    odd = "a\\b{c}$d&e#f%g_h^i~j<k>l|m\"n`o--p''q*r[s]-é.json"
    job.write()
    (job.folder / "model.json").rename(job.folder / odd)
    job.keys["model"] = {"path": odd.replace("$", "$$")}
    (job.folder / "job.yaml").write_text(json.dumps(job.keys))
    qtaylor("run", job.folder / "job.yaml")
    plain = list(lines(job.run).items())
    assert plain[0] == ("network", f"{odd}, sha256 {plain[0][1][-12:]}")
    assert out_of_latex(card(job.run, "latex").stdout) == plain == out_of_markdown(card(job.run, "markdown").stdout)
    assert card(job.run, "text").stdout == card(job.run).stdout == qtaylor("report", "--card", job.run).stdout
    assert qtaylor("report", "--card=latex", job.run).stdout == card(job.run, "latex").stdout
    assert "expected text, markdown or latex, found tex" in qtaylor("report", job.run, "--card=tex", code=USAGE).stderr


def test_guide_decoder_and_conditions(job):
    guide = json.loads(json.dumps(job.model))
    guide["mixture"]["std"] = 0.5
    (job.folder / "guide.json").write_text(json.dumps(guide))
    give_decoder(job)
    job.keys["sampler"] = {"solver": "rk45", "guidance": {"scale": 2, "model": "guide.json"}}
    qtaylor("run", job.write())
    keys, said = json.loads((job.run / "run.json").read_text())["keys"], lines(job.run)
    digest = keys["sampler"]["guidance"]["model"]["sha256"][:12]
    assert said["guidance"] == f"scale 2, rescale 0, by a second network, sha256 {digest}"
    assert said["decoder"] == f"decoder.json, sha256 {keys['decode']['sha256'][:12]}"
    assert said["NFE"].endswith(" a sample in the mean") and said["metrics"] == "none: not evaluated"


def test_rows_of_conditions(job):
    give(job, arrays())
    qtaylor("run", job.write())
    inputs, said = json.loads((job.run / "run.json").read_text())["keys"]["conditions"]["inputs"], lines(job.run)
    assert said["conditions"] == "; ".join(f"{name}, sha256 {inputs[name]['sha256'][:12]}"
                                           for name in inputs) + "; 7 rows, cycle"
    assert "labels" not in said and said["stored as"] == "float32"


def test_a_card_is_of_the_samples_that_were_evaluated(job):
    job.add_evaluation()
    job.keys |= {"seeds": "7,20-418"}
    job.keys["evaluate"]["count"] = 250
    qtaylor("run", job.write())
    said, result = lines(job.run), json.loads((job.run / "metrics.json").read_text())
    assert said["samples (N)"] == "250" and said["fid"].startswith(f"{result['metrics']['fid']:.6g};")
    assert said["seeds"] == "7,20-268 (the first 250 of 400 samples), noise of philox"
    assert said["digest of the set"] == result["payload_sha256"][:12] + ", of all 400 samples"
    card_before = card(job.run).stdout
    qtaylor("evaluate", job.run, "--count", "300")
    assert card(job.run).stdout == card_before
    del job.keys["evaluate"]["count"]
    qtaylor("run", job.write())
    said = lines(job.run)
    assert said["seeds"] == "7,20-418, noise of philox" and said["digest of the set"] == result["payload_sha256"][:12]


def test_a_run_that_grew_and_is_not_finished_has_no_card(job):
    job.add_evaluation()
    qtaylor("run", job.write())
    before = (job.run / "metrics.json").read_bytes()
    job.keys["seeds"] = "0-199"
    qtaylor("run", job.write())
    assert lines(job.run)["seeds"].startswith("0-199,")
    (job.run / "metrics.json").write_bytes(before)  # as after a kill between the two
    words = "metrics.json is of 100 samples, and the run of 200 by now: it is not finished"
    assert words in card(job.run, code=AGAIN).stderr
    assert words in qtaylor("report", job.run).stderr


def test_who_has_no_card(job):
    job.add_evaluation()
    path = job.write()
    assert "no run" in card(job.folder, code=DATA).stderr
    qtaylor("run", path)
    (job.run / "metrics.json").unlink()
    assert "not finished" in card(job.run, code=AGAIN).stderr
    job.keys["output"]["dir"] = str(job.folder / "sweep")
    job.keys["sweep"] = {"sampler.nfe": [2, 4]}
    qtaylor("run", job.write())
    assert f"name one, as {job.run}/nfe=2" in card(job.run, code=USAGE).stderr
    assert lines(job.run / "nfe=4")["NFE"] == "4"


def test_what_was_left_out_is_said(job):
    job.model["card"]["labels"] = {"classes": 4, "null": 4}
    (job.folder / "labels.txt").write_text("\n".join(str(2 if seed == 37 else seed % 2) for seed in range(100)))
    job.keys["labels"] = "labels.txt"
    qtaylor("run", job.write(), code=76, QTAYLOR_FAKE_POISON="2:nan")
    said = lines(job.run)
    assert said["left out"].startswith("seeds 32-47 failed: ") and said["samples (N)"] == "84"
    assert re.fullmatch("file, sha256 [0-9a-f]{12}", said["labels"]) and "digest of the set" not in said


