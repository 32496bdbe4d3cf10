"""Pipelines of diffusers at a small random size, with tokenizers and text encoders of a few words."""
import torch

from exporter import shake

WORDS = ["a", "cat", "dog", "red", "blue", "of", "photo", "blurry", "ugly"]


def clip_tokenizer():
    from transformers import CLIPTokenizer

    letters = sorted({letter for word in WORDS for letter in word})
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer({token: i for i, token in enumerate(tokens)}, [], model_max_length=8)


def clip_encoder(tokenizer, projection=None, hidden=16):
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(vocab_size=len(tokenizer), hidden_size=hidden, intermediate_size=32, num_hidden_layers=3,
                            num_attention_heads=2, max_position_embeddings=8, projection_dim=projection or hidden,
                            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
                            pad_token_id=tokenizer.pad_token_id)
    return shake((CLIPTextModelWithProjection if projection else CLIPTextModel)(config), 0.3)


def t5(hidden=16):
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    pieces = ["<pad>", "</s>", "<unk>", *(f"\u2581{word}" for word in WORDS)]
    tokenizer = T5Tokenizer(vocab=[(piece, 0.0 if i < 3 else -1.0) for i, piece in enumerate(pieces)], extra_ids=0)
    config = T5Config(vocab_size=len(tokenizer), d_model=hidden, d_ff=32, d_kv=8, num_layers=1, num_heads=2)
    return tokenizer, shake(T5EncoderModel(config), 0.1)


def scaled(autoencoder):
    """Without large biases the norms behind its first layer would hide what the latents are scaled by."""
    shake(autoencoder)
    with torch.no_grad():
        autoencoder.decoder.conv_in.bias.copy_(torch.tensor([40.0, -30, 20, -10, 10, -20, 30, -40]))
    return autoencoder


def autoencoder(**config):
    from diffusers import AutoencoderKL

    return scaled(AutoencoderKL(**{
        "in_channels": 3, "out_channels": 3, "latent_channels": 4, "block_out_channels": (8, 8), "norm_num_groups": 4,
        "down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2,
        "sample_size": 16, "scaling_factor": 0.18215} | config))


def stable_diffusion():
    from diffusers import PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    torch.manual_seed(0)
    unet = shake(UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(8, 16),
        norm_num_groups=4, cross_attention_dim=16, attention_head_dim=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D")))
    scheduler = PNDMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, skip_prk_steps=True,
                              set_alpha_to_one=False, steps_offset=1)
    tokenizer = clip_tokenizer()
    return StableDiffusionPipeline(autoencoder(), clip_encoder(tokenizer), tokenizer, unet, scheduler, None, None,
                                   requires_safety_checker=False)


def stable_diffusion_3():
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    torch.manual_seed(0)
    transformer = shake(SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, out_channels=4, num_layers=2, attention_head_dim=8,
        num_attention_heads=2, joint_attention_dim=32, caption_projection_dim=16, pooled_projection_dim=32,
        pos_embed_max_size=8))
    tokenizer, (pieces, third) = clip_tokenizer(), t5(32)
    return StableDiffusion3Pipeline(
        transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder(scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=clip_encoder(tokenizer, 16), tokenizer=tokenizer, text_encoder_2=clip_encoder(tokenizer, 16),
        tokenizer_2=clip_tokenizer(), text_encoder_3=third, tokenizer_3=pieces)


def pixart(name):
    import diffusers
    from diffusers import DPMSolverMultistepScheduler, PixArtTransformer2DModel

    torch.manual_seed(0)
    transformer = shake(PixArtTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=2, norm_num_groups=4,
        cross_attention_dim=16, sample_size=8, patch_size=2, caption_channels=16,
        use_additional_conditions=False))
    tokenizer, encoder = t5()
    return getattr(diffusers, name)(tokenizer, encoder, autoencoder(scaling_factor=0.13025), transformer,
                                    DPMSolverMultistepScheduler())


def dit():
    from diffusers import DiTPipeline, DiTTransformer2DModel, DDIMScheduler

    torch.manual_seed(0)
    transformer = shake(DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=2, norm_num_groups=4,
        sample_size=8, patch_size=2, num_embeds_ada_norm=1000))
    return DiTPipeline(transformer, autoencoder(), DDIMScheduler(clip_sample=False))


def latent_diffusion():
    from diffusers import DDIMScheduler, LDMPipeline, VQModel

    from exporter import unet

    torch.manual_seed(0)
    vqvae = scaled(VQModel(block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2,
                          up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=3, num_vq_embeddings=32,
                          norm_num_groups=4, scaling_factor=0.9))
    return LDMPipeline(vqvae, unet(sample_size=8), DDIMScheduler(clip_sample=False, beta_schedule="scaled_linear"))
