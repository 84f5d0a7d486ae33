"""PyTorch's side of scripts/bench-pytorch: diffusers' UNet2DModel of one of our configurations."""

import argparse
import json
import statistics
import time
import tomllib

import torch
from diffusers import UNet2DModel

WARM_UP = 3
MIN_REPEATS = 5


def network(config):
    network = config["network"]
    channels = network["block_out_channels"]
    attention = network["down_block_attention"]
    classes = 11 if config.get("conditioning", {}).get("class_labels") else None
    return UNet2DModel(
        sample_size=network["sample_size"],
        in_channels=network["in_channels"],
        out_channels=network["out_channels"],
        block_out_channels=channels,
        layers_per_block=network["layers_per_block"],
        down_block_types=["AttnDownBlock2D" if a else "DownBlock2D" for a in attention],
        up_block_types=["AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attention)],
        # None is one head over all channels; diffusers' own default is heads of 8.
        attention_head_dim=network.get("attention_head_dim"),
        norm_num_groups=network["norm_num_groups"],
        norm_eps=network["norm_eps"],
        num_class_embeds=classes,
        flip_sin_to_cos=network.get("flip_sin_to_cos", True),
        freq_shift=network.get("freq_shift", 0),
        downsample_padding=1,
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", choices=["eager", "channels-last", "compiled", "bf16"], required=True)
    parser.add_argument("--device", choices=["cpu", "cuda", "mps"], default="cpu")
    parser.add_argument("--config", required=True)
    parser.add_argument("--batch-sizes", type=int, required=True)
    parser.add_argument("--only", choices=["train", "call"], required=True)
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    with open(arguments.config, "rb") as file:
        config = tomllib.load(file)

    torch.manual_seed(0)
    # Everything that is made below is made there.
    torch.set_default_device(arguments.device)
    batch = arguments.batch_sizes
    model = network(config).to(arguments.device)
    x_0 = torch.randn(
        batch, model.config.in_channels, model.config.sample_size, model.config.sample_size
    )
    # What a GPU does fastest: channels-last, compiled, and in bfloat16 where autocast finds it safe.
    if arguments.mode in ("channels-last", "bf16"):
        model = model.to(memory_format=torch.channels_last)
        x_0 = x_0.to(memory_format=torch.channels_last)
    labels = torch.arange(batch) % 10 if model.config.num_class_embeds else None
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.0, fused=True)
    average = [parameter.detach().clone() for parameter in parameters]
    alphas_cumprod = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)
    forward = torch.compile(model) if arguments.mode in ("compiled", "bf16") else model
    autocast = torch.autocast(arguments.device, torch.bfloat16, enabled=arguments.mode == "bf16")

    def train():
        noise = torch.randn_like(x_0)
        t = torch.randint(0, 1000, (batch,))
        alpha = alphas_cumprod[t].reshape(-1, 1, 1, 1)
        x_t = alpha.sqrt() * x_0 + (1 - alpha).sqrt() * noise
        with autocast:
            predicted = forward(x_t, t, class_labels=labels, return_dict=False)[0]
        loss = torch.nn.functional.mse_loss(predicted.float(), noise)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, parameters, 0.001)
        return loss.item()

    def call():
        with torch.inference_mode(), autocast:
            t = torch.full((batch,), 500)
            predicted = forward(x_0, t, class_labels=labels, return_dict=False)[0]
            # Waits for the device.
            return predicted.flatten()[0].item()

    work = train if arguments.only == "train" else call
    for _ in range(WARM_UP):
        work()
    start = time.perf_counter()
    times = []
    while len(times) < MIN_REPEATS or time.perf_counter() - start < arguments.seconds:
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    print(json.dumps({"seconds": statistics.median(times), "repeats": len(times)}))


if __name__ == "__main__":
    main()
