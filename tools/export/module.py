"""module: any network of PyTorch. SOURCE is PATH:FUNCTION, a Python file and a function in it that takes nothing and
returns a torch.nn.Module with forward(x [B,C,H,W], t [B]) or forward(x, t, labels [B]), and after these the card's
inputs in its order; --card is a file with its card (keys: jobs/README.md). A model of latents has its decoder beside
it by --decoder and --decoder-card. Only run files that you trust."""
import importlib.util
import json
import keyword
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import warnings

import torch

from export.arguments import KINDS, arguments_of
from export.checkpoints import few, first_line, last_line, read_json
from export.frame import Refusal, Usage
from export.model_file import Network
from export.writer import job_text, write


def add_options(parser):
    parser.add_argument("--card", required=True, help="a JSON file with the card")
    parser.add_argument("--decoder", metavar="PATH:FUNCTION",
                        help="of a model of latents: as SOURCE, the network that makes pictures [B,C,H,W] of them")
    parser.add_argument("--decoder-card", metavar="FILE", help="a JSON file with the decoder's card")


def make_network(source, what="SOURCE"):
    path, colon, name = source.rpartition(":")
    if not colon or not name.isidentifier():
        raise Usage(f"{what}: expected PATH:FUNCTION, such as net.py:make, found {source}")
    if not os.path.isfile(path):
        raise FileNotFoundError(2, os.strerror(2), path)
    spec = importlib.util.spec_from_file_location(f"exported_{what.strip('-')}", path)
    if not spec:
        raise Refusal(f"{path}: expected a Python file")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # dataclasses look there
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))  # for good: forward may import, too
    try:
        spec.loader.exec_module(module)
        network = getattr(module, name)()
    except (Exception, SystemExit) as error:  # whatever the file does
        raise Refusal(f"{source}: {type(error).__name__}: {first_line(error)}") from error
    if not isinstance(network, torch.nn.Module):
        raise Refusal(f"{source}: expected a torch.nn.Module from {name}(), found {type(network).__name__}")
    return network


def say_eval(network):
    """PyTorch makes modules in training mode, in which these two are something else."""
    kinds = torch.nn.modules.batchnorm._BatchNorm, torch.nn.modules.dropout._DropoutNd
    changed = [name for name, module in network.named_modules() if module.training and isinstance(module, kinds)]
    if changed:
        print(f"put into eval mode, where dropout does nothing and batch norm takes its running statistics: "
              f"{few(changed)}", file=sys.stderr)


def refuse_names(path, card):
    names = ["self", "x", "t", "labels"]
    for one in card.get("inputs", []):
        name = one.get("name")
        if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name) or name in names:
            raise Refusal(f"{path}: inputs: expected a name of Python's for each, its own and none of "
                          f"{', '.join(names)}, found {name}")
        names.append(name)


def read_card(path):
    card = read_json(path)
    wanted = ("shape", "prediction", "time", "schedule")
    missing = [key for key in wanted if not isinstance(card, dict) or key not in card]
    if missing:
        raise Refusal(f"{path}: expected a card with shape, prediction, time and schedule, found none of "
                      f"{', '.join(missing)}")
    try:
        labels = {"null": None} | card["labels"] if card.get("labels") else None
        card = {"range": [-1, 1], "batch": None} | card | {"labels": labels}
        card["schedule"].get("kind")  # a map
        arguments_of(card, 3)
        if card["time"]["kind"] not in KINDS:
            raise ValueError(f"time.kind: expected one of {', '.join(KINDS)}, found {card['time']['kind']}")
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise Refusal(f"{path}: expected a card whose x, t, labels and inputs can be made (jobs/README.md), found "
                      f"{type(error).__name__}: {first_line(error)}") from error
    refuse_names(path, card)
    if card["batch"]:
        raise Refusal(f"{path}: batch: expected none, found {card['batch']}: TorchScript is made for any, and of a "
                      "package --batch says it")
    return card


def program():
    """Of the clone or the installation that this is in, or of the path; None: there is none over libtorch."""
    here = pathlib.Path(__file__).resolve()
    for path in (here.parents[2] / "build/torch/qtaylor", here.parents[4] / "bin/qtaylor", shutil.which("qtaylor")):
        if path and os.access(path, os.X_OK):
            said = subprocess.run([path, "--version"], capture_output=True, text=True)
            if "libtorch" in said.stdout:
                return path
    return None


class Nothing(torch.nn.Module):
    def forward(self, x, t):
        return x


def ask_program(path, card, job):
    """Refuses a card that the program would refuse, before anything is compiled."""
    ours = program()
    if not ours:
        return
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stub = torch.jit.trace(Nothing(), (torch.zeros(1), torch.zeros(1)))
        torch.jit.save(stub, f"{folder}/model.pt", _extra_files={"diffusion.json": json.dumps(card)})
        pathlib.Path(folder, "job.yaml").write_text(job_text("job", card, job, []))
        said = subprocess.run([ours, "plan", f"{folder}/job.yaml"], capture_output=True, text=True)
    if said.returncode == 65 and f"{folder}/model.pt" in said.stderr:  # else it is about the job, which is to be filled
        message = last_line(said.stderr).removeprefix(f"qtaylor: error: {folder}/job.yaml: ")
        raise Refusal(message.replace(f"{folder}/model.pt", path))


def make_decoder(options, card):
    """None, or the network and its card, whose latents are the model's."""
    if bool(options.decoder) != bool(options.decoder_card):
        raise Usage("--decoder and --decoder-card: expected both or none")
    if not options.decoder:
        return None
    own = read_json(options.decoder_card)
    if not isinstance(own, dict) or own.setdefault("latent", card["shape"]) != card["shape"]:
        raise Refusal(f"{options.decoder_card}: expected a map whose latent is the model's shape {card['shape']}")
    network = make_network(options.decoder, "--decoder")
    say_eval(network)
    return network, {"range": [-1, 1]} | own


def sampler_of(card):
    if card["schedule"].get("kind") in ("flow", "gvp"):
        return {"solver": "heun", "nfe": 50}
    if card["schedule"].get("kind") == "edm":
        return {"solver": "edm", "steps": 18}
    return {"solver": "dpmpp-2m", "nfe": 20}


def fill_in(card):
    names = [one["name"] for one in card.get("inputs", [])]
    if names:
        yield "To be filled in before it runs: conditions: {" + ", ".join(f"{name}: FILE.npy" for name in names) + "}"


def export(options):
    card = read_card(options.card)
    if card.get("dtype") not in (None, options.dtype):
        raise Refusal(f"{options.card}: dtype: expected none, found {card['dtype']}: --dtype makes a file of it")
    call = lambda net, *arguments: net(*(one for one in arguments if one is not None))
    job = {"sampler": sampler_of(card), "labels": "balanced" if card["labels"] else "none",
           "latents": card["range"] is None}
    ask_program(options.card, card, job)
    network, decoder = make_network(options.source), make_decoder(options, card)
    say_eval(network)
    write(options, Network(network, call), card, job,
          ["A sampler to begin with: the card says none.", *fill_in(card)], decoder)
