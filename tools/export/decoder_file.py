"""A decoder and its card as decoder.pt, TorchScript, proved against the network before it gets its name."""
import json
import sys
import warnings

import torch

from export.calls import first_call, prove_pure, still
from export.checkpoints import last_line
from export.frame import Refusal, replacing
from export.values import refuse_reading

ROUNDING = 1e-4  # of the largest number, as of a model


def latents_of(card, batch):
    return torch.randn([batch, *card["latent"]], generator=torch.Generator().manual_seed(batch))


def check_decoder(traced, network, card):
    for batch in (1, 3, 5):
        latents = latents_of(card, batch)
        ours, theirs = traced(latents), network(latents)
        if list(ours.shape) != [batch, *card["image"]]:
            raise Refusal(f"the decoder: expected pictures {[batch, *card['image']]}, found {list(ours.shape)}")
        difference, scale = (ours - theirs).abs().max().item(), theirs.abs().max().item()
        print(f"decoder, batch {batch}: the file differs from the network by {difference:.2g} of {scale:.3g}",
              file=sys.stderr)
        if not difference <= ROUNDING * scale:
            raise Refusal(f"the decoder: expected differences of rounding, found {difference:.3g} of {scale:.3g}")


def save_decoder(network, card, path):
    """network(latents) -> pictures; the card's `image` is found by running it."""
    if any(one.is_floating_point() and one.dtype != torch.float32 for one in network.parameters()):
        print("the decoder's weights are taken as float32", file=sys.stderr)
    network = still(network.float())
    first_call("the decoder", network, [latents_of(card, 1)], [latents_of(card, 2)], ["z"])
    refuse_reading("the decoder", network, [latents_of(card, 3)])
    try:
        with replacing(path) as draft, torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer's: what it warns of is what check_decoder looks for
            latents = latents_of(card, 2)
            card = {"image": list(network(latents).shape[1:])} | card | {"batch": None}
            traced = torch.jit.freeze(torch.jit.trace(network, latents, check_trace=False))
            torch.jit.save(traced, str(draft), _extra_files={"decoder.json": json.dumps(card)})
            prove_pure("the decoder", network, [latents], [latents_of(card, 3)])
            check_decoder(torch.jit.load(str(draft)), network, card)
    except (Refusal, OSError):
        raise
    except Exception as error:  # whatever the decoder does
        raise Refusal(f"the decoder runs, but its file does not, as its card says, {json.dumps(card)}: "
                      f"{type(error).__name__}: {last_line(error)}: take sizes as they are, and let no loop go over "
                      "the rows (diffusers: disable_slicing())") from error
    return card
