"""edm2: a pickle of EDM2's (edm2-*-*.pkl). --code: a clone of NVlabs/edm2, for its torch_utils and dnnlib; unpickling
runs the code in the file, so take only files that you trust. The raw network is exported under EDM's preconditioning.
The job is that of generate_images.py without a guiding network: 32 steps of Heun, its own latents and labels. With
--vae (diffusers' folder of sd-vae-ft-mse) networks of latents get their decoder: the mean and std of each channel that
EDM2 assumes, and pictures in [0, 1]."""
from export.frame import Refusal
from export.edm import read_pickle
from export.flows import add_vae
from export.model_file import Network
from export.pipelines import decoder_with
from export.writer import write

RAW_MEAN, RAW_STD, FINAL_STD = [5.81, 3.25, 0.12, -2.15], [4.17, 4.62, 3.71, 3.28], 0.5


def statistics_of(encoder):
    """mean and std by which a latent z becomes the decoder's, z std + mean; those of the pickle's own encoder where it
    has one: it keeps scale and bias of the way there."""
    if encoder is None or not hasattr(encoder, "scale"):
        return RAW_MEAN, [std / FINAL_STD for std in RAW_STD]
    return [float(-bias / scale) for bias, scale in zip(encoder.bias, encoder.scale, strict=True)], \
        [float(1 / scale) for scale in encoder.scale]


def add_options(parser):
    parser.add_argument("--code", required=True, help="a clone of NVlabs/edm2")
    parser.add_argument("--steps", type=int, default=32, help="as generate_images.py has it (32)")
    add_vae(parser)


def export(options):
    net, pickled = read_pickle(options)
    if type(net).__name__ != "Precond" or not hasattr(net, "unet"):
        raise Refusal(f"{options.source}: expected EDM2's Precond in the pickle, found {type(net).__name__}")
    latents, classes = net.img_channels != 3, net.label_dim
    card = {"shape": [net.img_channels, net.img_resolution, net.img_resolution], "range": [-1, 1], "prediction": "edm",
            "sigma_data": float(net.sigma_data), "time": {"kind": "c_noise"},
            "schedule": {"kind": "edm", "sigma_min": 0.002, "sigma_max": 80},
            "labels": {"classes": classes, "null": classes} if classes else None, "batch": None}
    decoder = None
    if options.vae and latents:
        mean, std = statistics_of(pickled.get("encoder"))
        decoder = decoder_with(options.vae, card["shape"], mean=mean, std=std)
        decoder[1]["range"] = [0, 1]
    elif options.vae:
        raise Refusal(f"--vae {options.vae}: expected a network of latents, found one of 3 channels")
    job = {"labels": "edm" if classes else "none", "noise": "torch-cpu", "rounding": "adm" if latents else "edm",
           "sampler": {"solver": "edm", "steps": options.steps}, "latents": latents}
    write(options, Network(net.unet.float(), lambda unet, x, t, labels: unet(x, t, labels), classes), card, job,
          ["What generate_images.py makes without a guiding network."], decoder)
