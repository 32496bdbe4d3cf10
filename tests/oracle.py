"""Independent oracles in numpy: the noise, the closed-form model, and twenty lines that run a plan."""
import numpy as np

MASK = np.uint64(0xFFFFFFFF)


def philox(key, counter):
    """Philox4x32-10 (Salmon et al. 2011) on arrays: key [2], counter [n, 4] -> words [n, 4]."""
    k0, k1 = np.uint64(key[0]), np.uint64(key[1])
    c = [counter[:, i].astype(np.uint64) for i in range(4)]
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [(p1 >> np.uint64(32)) ^ c[1] ^ k0, p1 & MASK, (p0 >> np.uint64(32)) ^ c[3] ^ k1, p0 & MASK]
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & MASK, (k1 + np.uint64(0xBB67AE85)) & MASK
    return np.stack(c, 1)


def normals(seed, stream, count):
    pairs = (count + 1) // 2
    counter = np.zeros((pairs, 4), dtype=np.uint64)
    counter[:, 0], counter[:, 1] = np.arange(pairs), stream
    w = philox((seed & 0xFFFFFFFF, seed >> 32), counter)
    high, low = (w[:, 0] << np.uint64(32)) | w[:, 1], (w[:, 2] << np.uint64(32)) | w[:, 3]
    u1 = ((high >> np.uint64(11)).astype(np.float64) + 1) * 2.0**-53
    u2 = (low >> np.uint64(11)).astype(np.float64) * 2.0**-53
    r = np.sqrt(-2 * np.log(u1))
    return np.stack([r * np.cos(2 * np.pi * u2), r * np.sin(2 * np.pi * u2)], 1).reshape(-1)[:count]


def linear_alpha_sigma(t, beta0=0.1, beta1=20.0):
    integral = beta0 * t + (beta1 - beta0) * t * t / 2
    return np.exp(-integral / 2), np.sqrt(-np.expm1(-integral))


def mixture_epsilon(x, alpha, sigma, means, std, weights):
    """E[z | x] for x = alpha x0 + sigma z, x0 from a mixture of isotropic Gaussians. x [n, d], means [k, d]."""
    variance = alpha**2 * std**2 + sigma**2
    difference = x[:, None, :] - alpha * np.asarray(means)[None]
    logits = np.log(weights) - 0.5 * (difference**2).sum(-1) / variance
    logits -= logits.max(1, keepdims=True)
    posterior = np.exp(logits)
    posterior /= posterior.sum(1, keepdims=True)
    return sigma * (posterior[:, :, None] * difference).sum(1) / variance


def run_plan(plan, seeds, elements, model, start=None, noise=None, guide=None, channels=1, *,
             scales=None):
    """Interprets `qtaylor plan --json`. model(x, time, labels) -> output, or output and variance channels; guide is
    model 1; labels is "given", "null" or "none"; scales [n] are GUIDE's. start [n, elements] and noise(stream) replace
    those of the seeds."""
    noise = noise or (lambda stream: np.stack([normals(seed, stream, elements) for seed in seeds]))
    register = {0: (noise(0) if start is None else start) * plan["initial_scale"]}
    for op in plan["ops"]:
        if op["op"] == "EVAL":
            output = (guide if op["model"] else model)(register[op["src"]], op["time"], op["labels"])
            register[op["dst"]], variance = output if isinstance(output, tuple) else (output, None)
            if "dst2" in op:
                register[op["dst2"]] = variance
        elif op["op"] == "LINCOMB":
            value = sum(coefficient * register[source] for coefficient, source in op["terms"])
            if "channels" in op:  # the others are those of the first source
                low, high = np.array(op["channels"]) * (elements // channels)
                value[:, :low], value[:, high:] = (register[op["terms"][0][1]][:, part]
                                                   for part in (slice(low), slice(high, None)))
            register[op["dst"]] = value
        elif op["op"] == "GUIDE":
            source, other, w = register[op["src"]], register[op["guide"]], np.asarray(scales)[:, None]
            value = w * source + (1 - w) * other
            low, high = np.array(op.get("channels", [0, channels])) * (elements // channels)
            value[:, :low], value[:, high:] = source[:, :low], source[:, high:]
            register[op["dst"]] = value
        elif op["op"] == "NOISE":
            register[op["dst"]] = noise(op["stream"])
        elif op["op"] == "CLAMP":
            register[op["dst"]] = register[op["dst"]].clip(op["lo"], op["hi"])
        elif op["op"] == "RESCALE":
            source, like = register[op["src"]], register[op["like"]]
            ratio = like.std(1, ddof=1, keepdims=True) / source.std(1, ddof=1, keepdims=True)
            register[op["dst"]] = source * (op["phi"] * ratio + 1 - op["phi"])
        elif op["op"] == "MULEXP":
            register[op["dst"]] = register[op["dst"]] * np.exp(op["a"] + op["b"] * register[op["src"]])
        elif op["op"] == "THRESHOLD":
            x = register[op["dst"]]
            s = np.quantile(np.abs(x), op["quantile"], axis=1,
                            keepdims=True).clip(op["lo"], np.inf if op["hi"] is None else op["hi"])
            register[op["dst"]] = x.clip(-s, s) * op["lo"] / s
        elif op["op"] == "PROJECT":
            x, y = register[op["src"]], register[op["onto"]]
            square = (y * y).sum(1, keepdims=True)
            register[op["dst"]] = (x * y).sum(1, keepdims=True) / np.where(square > 0, square, 1) * y
        elif op["op"] == "LIMIT":
            x = register[op["dst"]]
            register[op["dst"]] = x * np.minimum(1, op["norm"] / np.linalg.norm(x, axis=1, keepdims=True))
        else:
            raise ValueError(op)
    return register[0]
