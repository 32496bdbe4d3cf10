"""What a network is tried with: random x, t, labels and inputs as its card says that it gets them."""
import torch


WIDER = 10
KINDS = "continuous", "discrete", "sigma", "log-sigma", "c_noise"  # of times


def times(card, batch, generator):
    time, schedule = card["time"], card["schedule"]
    if time["kind"] == "discrete":
        table = schedule.get("alphas_cumprod") or schedule.get("alphas") or []
        steps = time.get("steps") or len(table) or schedule.get("steps") or 1000
        t = torch.randint(steps, [batch], generator=generator)
        return t.float() if time.get("dtype") == "float32" else t
    t = torch.rand(batch, generator=generator, dtype=torch.float32)
    if time["kind"] == "continuous":
        return t * time.get("scale", 1)
    return (t * 3 - 1).exp() if time["kind"] == "sigma" else t * 3 - 1


def example(entry, batch, generator):
    """Of an input of the card; a mask begins with a token that counts."""
    shape = [batch, *entry["shape"]]
    dtype = entry.get("dtype", "float32")
    if dtype == "float32":
        return torch.randn(shape, generator=generator, dtype=torch.float32)
    numbers = torch.randint(2, shape, generator=generator)
    if entry["shape"]:
        numbers[..., 0] = 1
    return numbers.to(getattr(torch, dtype))


def arguments_of(card, batch):
    """Those of forward(x, t, ...), the same whenever they are asked for."""
    generator = torch.Generator().manual_seed(batch)
    x = torch.randn([batch, *card["shape"]], generator=generator, dtype=torch.float32)
    t, labels = times(card, batch, generator), card["labels"]
    inputs = [example(one, batch, generator) for one in card.get("inputs", [])]
    if labels:
        classes = max(labels["classes"], (labels["null"] or -1) + 1, 1)
        labels = torch.randint(classes, [batch], generator=generator)
        labels[0] = classes - 1  # a network that has no such label shows at every call
        if batch > 1 and card["labels"]["null"] is not None:
            labels[1] = card["labels"]["null"]
        inputs.insert(0, labels)
    return x, t, *inputs


def wide(arguments):
    """The same with x beyond what is usual, where rounding may do WIDER as much."""
    return arguments[0] * WIDER, *arguments[1:]
