"""Both ways between this program and diffusers: the same weights, and the same images from the same
noise by DDIM with eta = 0. See scripts/check-diffusers."""

import argparse
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from unittest import mock

import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from diffusers.utils import logging
from safetensors.torch import load_file, save_file

REPOSITORY = Path(__file__).resolve().parents[2]

# Largest difference of a pixel in [-1, 1].
TOLERANCE = 1e-3
STEPS = 10
COUNT = 4

# Networks and schedulers of diffusers as the hub has them and as it might.
FOREIGN = {
    # The settings of google/ddpm-cifar10-32.
    "converted from Ho et al.": (
        {
            "sample_size": 16,
            "block_out_channels": (32, 64, 64),
            "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
            "attention_head_dim": None,
            "downsample_padding": 0,
            "flip_sin_to_cos": False,
            "freq_shift": 1,
            "norm_eps": 1e-6,
        },
        DDPMScheduler(variance_type="fixed_large"),
    ),
    "scale and shift, v, zero terminal SNR": (
        {
            "sample_size": 8,
            "in_channels": 1,
            "out_channels": 1,
            "block_out_channels": (16, 32),
            "layers_per_block": 1,
            "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
            "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
            "norm_num_groups": 4,
            "resnet_time_scale_shift": "scale_shift",
        },
        DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            prediction_type="v_prediction",
            timestep_spacing="trailing",
            rescale_betas_zero_snr=True,
        ),
    ),
    "cosine, x_0, thresholding, defaults of the network": (
        {
            "sample_size": (16, 16),
            "block_out_channels": (32, 32, 64, 64),
            "layers_per_block": 1,
        },
        DDPMScheduler(
            beta_schedule="squaredcos_cap_v2",
            prediction_type="sample",
            thresholding=True,
            sample_max_value=1.5,
        ),
    ),
    "betas of its own, no clipping, no attention": (
        {
            "sample_size": 8,
            "block_out_channels": (32,),
            "down_block_types": ("DownBlock2D",),
            "up_block_types": ("UpBlock2D",),
            "add_attention": False,
        },
        DDPMScheduler(
            num_train_timesteps=100,
            trained_betas=[0.001 + 0.0005 * t for t in range(100)],
            clip_sample=False,
        ),
    ),
    "classes": (
        {
            "sample_size": 8,
            "block_out_channels": (32, 64),
            "down_block_types": ("DownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "UpBlock2D"),
            "num_class_embeds": 5,
        },
        DDPMScheduler(beta_schedule="sigmoid"),
    ),
}


class Checks:
    """Comparisons, printed as they come."""

    def __init__(self, trainer):
        self.trainer = trainer
        self.failed = 0

    def run(self, *arguments):
        command = [self.trainer, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")

    def sample(self, run, *more, steps=STEPS, count=COUNT):
        """Images of ours, and the noise that they began with."""
        self.run(
            *("sample", run, "--sampler", "ddim", "--eta", 0, "--steps", steps, "--count", count),
            *("--out", "ours.png", "--tensors", "ours.safetensors", *more),
        )
        tensors = load_file("ours.safetensors")
        return tensors["images"], tensors["noise"]

    def same(self, what, ours, theirs):
        """Pixels alike."""
        assert ours.shape == theirs.shape, f"{ours.shape} and {theirs.shape}"
        # Pipelines clip what they give back.
        difference = (ours.clamp(-1, 1) - theirs.clamp(-1, 1)).abs().max().item()
        self.tell(what, difference <= TOLERANCE, f"{difference:.1e}, deviation {ours.std():.2f}")

    def tell(self, what, holds, figure):
        self.failed += not holds
        print(f"{'ok    ' if holds else 'FAILED'} {what}: {figure}", flush=True)


def draw(pipeline, noise, steps=STEPS):
    """Images of a DDIMPipeline in [-1, 1] from the given noise."""
    pipeline.set_progress_bar_config(disable=True)
    with mock.patch("diffusers.pipelines.ddim.pipeline_ddim.randn_tensor", return_value=noise):
        images = pipeline(
            batch_size=len(noise),
            num_inference_steps=steps,
            # Ours derives epsilon from the clipped x_0 too.
            use_clipped_model_output=True,
            output_type="pt",
        )
    return 2 * images.images - 1


def draw_class(folder, label, noise):
    """Images of one class by a network that is told it."""
    unet = UNet2DModel.from_pretrained(folder, subfolder="unet")
    scheduler = DDIMScheduler.from_pretrained(folder, subfolder="scheduler")
    scheduler.set_timesteps(STEPS)
    x, labels = noise, torch.full([len(noise)], label)
    for t in scheduler.timesteps:
        with torch.no_grad():
            predicted = unet(x, t, labels).sample
        x = scheduler.step(predicted, t, x, use_clipped_model_output=True).prev_sample
    return x


def check_export(checks, run, name):
    """A class-conditional run of ours, exported whole, of one class, and of none."""
    checks.run("export", run, "whole")
    checks.run("export", run, "seven", "--class", 7)
    checks.run("export", run, "nothing", "--unconditional")
    ema = load_file(sorted(Path(run).glob("checkpoints/*/ema.safetensors"))[-1])
    weights = UNet2DModel.from_pretrained("whole", subfolder="unet").state_dict()
    alike = ema.keys() == weights.keys() and all(ema[k].equal(weights[k]) for k in ema)
    checks.tell(f"{name}: weights in diffusers", alike, f"{len(ema)} tensors")
    for label, folder, number in [("7", "seven", 7), ("none", "nothing", 10)]:
        ours, noise = checks.sample(run, "--class", label, "--guidance", 1)
        theirs = draw(DDIMPipeline.from_pretrained(folder), noise)
        checks.same(f"{name}: class {label} folded, DDIMPipeline", ours, theirs)
        theirs = draw_class("whole", number, noise)
        checks.same(f"{name}: class {label} told", ours, theirs)
    ancestral = DDPMPipeline.from_pretrained("seven")
    ancestral.set_progress_bar_config(disable=True)
    images = ancestral(num_inference_steps=3, output_type="pt").images
    checks.tell(f"{name}: DDPMPipeline", bool(images.isfinite().all()), f"{tuple(images.shape)}")
    for folder in ["whole", "seven", "nothing"]:
        shutil.rmtree(folder)


def check_documentation(checks, run):
    """The Python of docs/formats.md, in a folder where the commands of the README were run, beside ours."""
    Path("runs").mkdir()
    checks.run("export", run, "runs/mine-diffusers")
    [lines] = re.findall(r"^```python\n(.*?)^```", (REPOSITORY / "docs/formats.md").read_text(), re.M | re.S)
    count, steps, guidance = 16, 50, 2
    ours, noise = checks.sample(
        run, "--class", 7, "--guidance", guidance, steps=steps, count=count
    )
    names = {}
    with mock.patch("torch.randn", return_value=noise):
        exec(compile(lines, "docs/formats.md", "exec"), names)
    checks.same("the lines of docs/formats.md", ours, names["x"])


def as_in_early_folders(folder):
    """The files without subfolders, and attention under its early names."""
    for subfolder in ["unet", "scheduler"]:
        for path in (folder / subfolder).iterdir():
            path.rename(folder / path.name)
        (folder / subfolder).rmdir()
    path = folder / "diffusion_pytorch_model.safetensors"
    early = [(".to_q.", ".query."), (".to_k.", ".key."), (".to_v.", ".value."), (".to_out.0.", ".proj_attn.")]
    tensors = {}
    for name, tensor in load_file(path).items():
        for now, then in early:
            name = name.replace(now, then)
        tensors[name] = tensor
    save_file(tensors, path, {"format": "pt"})


def check_import(checks, name, config, scheduler):
    """A network of diffusers, as a run of ours."""
    torch.manual_seed(0)
    unet = UNet2DModel(**config).eval()
    folder, run = Path("theirs"), Path("imported")
    DDPMPipeline(unet, scheduler).save_pretrained(folder)
    labels = config.get("num_class_embeds")
    if "down_block_types" in config and not labels:
        as_in_early_folders(folder)
    checks.run("import", folder, run)
    if labels:
        ours, noise = checks.sample(run, "--class", 2, "--guidance", 1)
        # DDIM's scheduler does not know that schedule of betas by name.
        betas = scheduler.betas.tolist()
        DDIMScheduler(trained_betas=betas).save_pretrained(folder / "scheduler")
        theirs = draw_class(folder, 2, noise)
    else:
        ours, noise = checks.sample(run)
        theirs = draw(DDIMPipeline.from_pretrained(folder), noise)
    checks.same(f"imported: {name}", ours, theirs)

    checks.run("export", run, "again")
    weights = UNet2DModel.from_pretrained("again", subfolder="unet").state_dict()
    alike = all(value.equal(weights[key]) for key, value in unet.state_dict().items())
    checks.tell(f"imported and exported: {name}", alike, f"{len(weights)} tensors")
    for path in [folder, run, "again"]:
        shutil.rmtree(path)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--trainer", required=True)
    checks = Checks(parser.parse_args().trainer)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(os.cpu_count())
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        train = [
            *("train", "--config", REPOSITORY / "configs/smoke.toml"),
            *("--data-dir", REPOSITORY / "data"),
            # Far enough from its beginning to be more than a network of zeros.
            *("--set", "training.learning_rate=1e-2", "--steps", 60),
        ]
        checks.run(*train, "--out", "run")
        check_export(checks, "run", "exported")
        check_documentation(checks, "run")
        variants = [
            "noise.schedule={kind='sigmoid'}",
            "noise.rescale_zero_terminal_snr=true",
            "objective.prediction_type=v-prediction",
            "sampling.timestep_spacing=leading",
            "sampling.clipping={kind='dynamic-threshold', ratio=0.9, max=2.0}",
        ]
        checks.run(*train, "--out", "other", *(word for v in variants for word in ("--set", v)))
        check_export(checks, "other", "exported with a schedule of ours")
        for name, (config, scheduler) in FOREIGN.items():
            check_import(checks, name, config, scheduler)
        os.chdir("/")
    if checks.failed:
        raise SystemExit(f"{checks.failed} checks failed")


if __name__ == "__main__":
    main()
