"""Golden files for the crate `unet`: what diffusers' UNet2DModel computes.

For each case it builds a tiny UNet2DModel, draws every parameter at random (norms and biases too,
so that nothing hides behind a one or a zero), runs a batch with another timestep for each example
and writes, into OUT_DIR:

- NAME.safetensors: the weights under diffusers' names, and `input`, `timesteps`, `output` and, for
  a class-conditional network, `class_labels`;
- NAME.json: the configuration in this project's keys, and diffusers' number of parameters.

`parameter_counts.json` has the number of parameters of networks too large for a golden file.

    scripts/goldens check unet
"""

import json
import math
import sys
from pathlib import Path

import torch
from diffusers import UNet2DModel
from safetensors.torch import save_file

DEFAULTS = {
    "in_channels": 1,
    "out_channels": 1,
    "layers_per_block": 1,
    "mid_block_attention": True,
    "attention_head_dim": None,
    "norm_num_groups": 2,
    "attn_norm_num_groups": None,
    "norm_eps": 1e-5,
    "dropout": 0.0,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "resnet_time_scale_shift": "default",
    "num_class_embeds": None,
}

CASES = {
    # 28, 14, 7: an odd size at the lowest level.
    "grey_28": {
        "sample_size": 28,
        "block_out_channels": [4, 6, 8],
        "down_block_attention": [False, False, True],
    },
    # Ho et al.'s time embedding and epsilon.
    "rgb_32_attention_at_16": {
        "sample_size": 32,
        "in_channels": 3,
        "out_channels": 3,
        "block_out_channels": [4, 8],
        "layers_per_block": 2,
        "down_block_attention": [False, True],
        "norm_eps": 1e-6,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
    },
    "class_conditional": {
        "sample_size": 12,
        "block_out_channels": [4, 8],
        "down_block_attention": [False, False],
        "num_class_embeds": 11,
    },
    # Here diffusers gives the middle block's attention no normalisation.
    "scale_and_shift": {
        "sample_size": 12,
        "block_out_channels": [4, 8],
        "down_block_attention": [False, True],
        "resnet_time_scale_shift": "scale_shift",
    },
    # Several heads, the middle block's own groups, an epsilon that shows.
    "attention_heads": {
        "sample_size": 8,
        "block_out_channels": [8, 16],
        "down_block_attention": [True, True],
        "attention_head_dim": 4,
        "norm_num_groups": 2,
        "attn_norm_num_groups": 8,
        "norm_eps": 0.05,
        "resnet_time_scale_shift": "scale_shift",
        "freq_shift": 1,
    },
    # Odd groups, no attention at all, unlike channels in and out, no square.
    "odd_groups": {
        "sample_size": 12,
        "input_size": [8, 20],
        "in_channels": 2,
        "out_channels": 5,
        "block_out_channels": [6, 9, 3],
        "layers_per_block": 2,
        "down_block_attention": [False, False, False],
        "mid_block_attention": False,
        "norm_num_groups": 3,
        "flip_sin_to_cos": False,
    },
    # One level, and an odd width, for which the time embedding is padded.
    "one_odd_level": {
        "sample_size": 7,
        "block_out_channels": [5],
        "down_block_attention": [True],
        "norm_num_groups": 5,
        "norm_eps": 0.05,
    },
    # The settings of google/ddpm-cifar10-32, which pads its stride-2 convolutions as Ho et al. do.
    "downsample_padding_0": {
        "sample_size": 8,
        "in_channels": 3,
        "out_channels": 3,
        "block_out_channels": [4, 8, 8],
        "layers_per_block": 2,
        "down_block_attention": [False, True, False],
        "norm_eps": 1e-6,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
        "downsample_padding": 0,
    },
}

# The timesteps of the two examples.
TIMESTEPS = [3.0, 871.5]
CLASS_LABELS = [3, 10]

# Ho et al.'s network for CIFAR-10.
CIFAR10 = {
    "sample_size": 32,
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": [128, 256, 256, 256],
    "layers_per_block": 2,
    "down_block_attention": [False, True, False, False],
    "norm_num_groups": 32,
    "norm_eps": 1e-6,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
}


def build(config):
    """UNet2DModel for a configuration in this project's keys."""
    config = dict(config)
    attends = config.pop("down_block_attention")
    return UNet2DModel(
        add_attention=config.pop("mid_block_attention"),
        down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attends),
        up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)),
        **config,
    )


def randomise(model, generator):
    """Draws every parameter, at a scale that keeps the activations near 1."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                fan_in = parameter[0].numel()
                parameter.copy_(noise / math.sqrt(fan_in))
            elif "norm" in name and name.endswith("weight"):
                parameter.copy_(1 + 0.3 * noise)
            else:
                parameter.copy_(0.3 * noise)


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def write_case(name, case, seed, out_dir):
    config = {**DEFAULTS, **case}
    size = config.pop("input_size", [config["sample_size"]] * 2)
    generator = torch.Generator().manual_seed(seed)
    model = build(config).eval()
    randomise(model, generator)

    inputs = {
        "input": torch.randn(2, config["in_channels"], *size, generator=generator),
        "timesteps": torch.tensor(TIMESTEPS),
    }
    labels = None
    if config["num_class_embeds"] is not None:
        labels = inputs["class_labels"] = torch.tensor(CLASS_LABELS)
    with torch.no_grad():
        output = model(inputs["input"], inputs["timesteps"], labels).sample

    tensors = {**model.state_dict(), **inputs, "output": output}
    save_file({key: value.contiguous() for key, value in tensors.items()}, out_dir / f"{name}.safetensors")
    case = {"config": config, "parameters": count(model)}
    (out_dir / f"{name}.json").write_text(json.dumps(case, indent=2) + "\n")
    print(f"{name}: {count(model)} parameters, output deviation {output.std():.3f}")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    out_dir = Path(sys.argv[1])
    out_dir.mkdir(parents=True, exist_ok=True)
    for seed, (name, case) in enumerate(CASES.items()):
        write_case(name, case, seed, out_dir)
    with torch.device("meta"):
        config = {**DEFAULTS, **CIFAR10}
        counts = [{"config": config, "parameters": count(build(config))}]
    (out_dir / "parameter_counts.json").write_text(json.dumps(counts, indent=2) + "\n")


if __name__ == "__main__":
    main()
