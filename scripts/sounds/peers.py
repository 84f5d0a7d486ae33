"""What others train on the same recordings, in the same minutes, on the same cores.

    python peers.py unet1d --data DIR --out DIR    lucidrains' Unet1D with GaussianDiffusion1D on samples; no classes
    python peers.py unet2d --data DIR --out DIR    diffusers' UNet2DModel on our spectrograms, class-conditional

What UNet2DModel has by default is what did best of what was tried with it, beside what configs/speech.toml says: its
log-mel spectrogram, prediction, learning rate, moving average and sampler, on the linear chain and without patches.

Before the clock starts each runs a few steps eager, channels-last and compiled, in float32 and in bfloat16, and
goes on with the fastest. Weights and figures are kept in the folder: run again, it goes on where it was.
"""

import argparse
import copy
import json
import math
import resource
import time
from pathlib import Path

import numpy as np
import torch
from denoising_diffusion_pytorch import GaussianDiffusion1D, Unet1D
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, UNet2DModel

import judge
import mel
import spectrogram

TIMESTEPS = 1000
CLASSES = 10
NO_CLASS = CLASSES
LABEL_DROPOUT = 0.1
EMA_DECAY = 0.999
WARM_UP = 100
MAX_GRAD_NORM = 1.0
# The first multiple of Unet1D's downsampling that a window fits into.
SAMPLES_1D = 6144
SECONDS_BETWEEN_LINES = 30
# Steps before a way of running is timed, and the fewest that are.
STEPS_BEFORE, STEPS_TIMED = 3, 5
DECODERS = {"ours": mel.decode, "librosa": mel.decode_by_librosa}
# Spectrograms that become sounds at once.
BATCH_DECODED = 100

# A way of running PyTorch: layout and compiler, and what the network computes in.
LAYOUTS = ["eager", "channels-last", "compiled"]
PRECISIONS = ["float32", "bfloat16"]


class OnSamples:
    """Unet1D on samples: [0, 1] in and out, v, cosine schedule and loss weight, all as its authors have them."""

    layouts = ["eager", "compiled"]
    guidance = [None]
    decoders = ["ours"]

    def __init__(self, arguments):
        self.training, _ = spectrogram.recordings(arguments.data)
        self.arguments = arguments

    def network(self):
        multiples = tuple(self.arguments.dim_mults)
        return Unet1D(dim=self.arguments.dim, dim_mults=multiples, channels=1)

    def diffusion(self, forward, timesteps=None):
        return GaussianDiffusion1D(
            forward,
            seq_length=SAMPLES_1D,
            timesteps=TIMESTEPS,
            sampling_timesteps=timesteps,
            objective="pred_v",
            # Read from the network, where a compiled one hides them.
            channels=1,
            self_condition=False,
        )

    def examples(self, chosen, generator):
        split = [self.training[i] for i in chosen]
        signal = spectrogram.windows(split, SAMPLES_1D, generator)
        return [(signal.unsqueeze(1) + 1) / 2]

    def loss(self, forward):
        diffusion = self.diffusion(forward)
        return diffusion.__call__

    def draw(self, forward, count, batch, _):
        diffusion = self.diffusion(forward, self.arguments.inference_steps)
        signals = [diffusion.sample(batch) for _ in range(-(-count // batch))]
        return torch.cat(signals)[:count, 0] * 2 - 1, [None] * count

    def signals(self, x, _):
        edge = (SAMPLES_1D - spectrogram.LENGTH) // 2
        return x[:, edge:-edge]


class Complex:
    """The compressed complex spectrogram: two channels."""

    shape = [2, spectrogram.BINS, spectrogram.FRAMES]
    length = spectrogram.LENGTH

    def __init__(self, training):
        self.scale = spectrogram.factor(training)

    def encode(self, signal):
        return spectrogram.spectrogram(signal, self.scale)

    def decode(self, x, decoder):
        if decoder == "librosa":
            raise SystemExit("--decoder librosa: it is for --representation mel")
        return spectrogram.inverse(x, self.scale)


class Mel:
    """The log-mel spectrogram: one channel."""

    shape = [1, mel.BANDS, mel.FRAMES]
    length = mel.LENGTH

    def __init__(self, _):
        pass

    def encode(self, signal):
        return mel.encode(signal)

    def decode(self, x, decoder):
        return DECODERS[decoder](x)


REPRESENTATIONS = {"mel": Mel, "complex": Complex}


class OnSpectrograms:
    """UNet2DModel on spectrograms: linear betas, labels dropped for guidance."""

    layouts = LAYOUTS

    def __init__(self, arguments):
        self.training, _ = spectrogram.recordings(arguments.data)
        self.arguments = arguments
        self.guidance = arguments.guidance
        self.decoders = arguments.decoder
        self.form = REPRESENTATIONS[arguments.representation](self.training)
        self.alphas_cumprod = DDPMScheduler(**self.chain()).alphas_cumprod

    def network(self):
        channels = self.arguments.channels
        attention = [level in self.arguments.attention_levels for level in range(len(channels))]
        return UNet2DModel(
            sample_size=tuple(self.form.shape[1:]),
            in_channels=self.form.shape[0],
            out_channels=self.form.shape[0],
            block_out_channels=channels,
            layers_per_block=self.arguments.layers,
            down_block_types=["AttnDownBlock2D" if a else "DownBlock2D" for a in attention],
            up_block_types=["AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attention)],
            # None is one head over all channels; diffusers' own default is heads of 8.
            attention_head_dim=None,
            norm_num_groups=8,
            num_class_embeds=CLASSES + 1,
        )

    def examples(self, chosen, generator):
        split = [self.training[i] for i in chosen]
        x_0 = self.form.encode(spectrogram.windows(split, self.form.length, generator))
        labels = torch.tensor([recording.digit for recording in split])
        dropped = torch.from_numpy(generator.random(len(split)) < LABEL_DROPOUT)
        return [x_0, labels.masked_fill(dropped, NO_CLASS)]

    def loss(self, forward):
        def loss(x_0, labels):
            t = torch.randint(0, TIMESTEPS, (len(x_0),))
            alpha = self.alphas_cumprod[t].reshape(-1, 1, 1, 1)
            noise = torch.randn_like(x_0)
            x_t = alpha.sqrt() * x_0 + (1 - alpha).sqrt() * noise
            if self.arguments.prediction == "epsilon":
                target = noise
            else:
                target = alpha.sqrt() * noise - (1 - alpha).sqrt() * x_0
            predicted = forward(x_t, t, class_labels=labels, return_dict=False)[0]
            return torch.nn.functional.mse_loss(predicted.float(), target)

        return loss

    def chain(self):
        return {
            "num_train_timesteps": TIMESTEPS,
            "beta_start": 1e-4,
            "beta_end": 0.02,
            "beta_schedule": self.arguments.schedule,
            "prediction_type": self.arguments.prediction,
        }

    def scheduler(self):
        chain = self.chain()
        if self.arguments.sampler == "dpmpp-2m-sde":
            # The value that diffusers' documentation has for this chain, whose last timesteps hold next to nothing of x_0.
            is_cosine = self.arguments.schedule == "squaredcos_cap_v2"
            return DPMSolverMultistepScheduler(
                algorithm_type="sde-dpmsolver++",
                timestep_spacing="trailing",
                lambda_min_clipped=-5.1 if is_cosine else -math.inf,
                **chain,
            )
        kind = {"ddpm": DDPMScheduler, "ddim": DDIMScheduler}[self.arguments.sampler]
        return kind(clip_sample=False, **chain)

    def draw(self, forward, count, batch, guidance):
        scheduler = self.scheduler()
        digits = [i % CLASSES for i in range(count)]
        drawn = []
        for start in range(0, count, batch):
            labels = torch.arange(start, start + batch) % CLASSES
            scheduler.set_timesteps(self.arguments.inference_steps)
            x = torch.randn(batch, *self.form.shape)
            for t in scheduler.timesteps:

                def predict(labels):
                    times = t.expand(batch)
                    return forward(x, times, class_labels=labels, return_dict=False)[0].float()

                output = predict(labels)
                if guidance != 1:
                    free = predict(torch.full_like(labels, NO_CLASS))
                    output = free + guidance * (output - free)
                x = scheduler.step(output, t, x).prev_sample
            drawn.append(x)
        return torch.cat(drawn)[:count], digits

    def signals(self, x, decoder):
        return torch.cat([self.form.decode(part, decoder) for part in x.float().split(BATCH_DECODED)])


PEERS = {"unet1d": OnSamples, "unet2d": OnSpectrograms}


class Training:
    """A network, one way of running it, and its steps."""

    def __init__(self, peer, network, layout, precision, batch):
        self.layout, self.precision, self.batch = layout, precision, batch
        # diffusers' networks keep their layout from end to end; Unet1D has no such.
        if layout != "eager" and "channels-last" in peer.layouts:
            network = network.to(memory_format=torch.channels_last)
        self.peer, self.network = peer, network
        self.forward = torch.compile(network, dynamic=False) if layout == "compiled" else network
        self.loss = peer.loss(self.forward)

    def reset(self, weights, seed):
        """Begins anew from given weights; what was compiled stays."""
        self.network.load_state_dict(weights)
        self.parameters = list(self.network.parameters())
        self.optimizer = torch.optim.AdamW(self.parameters, weight_decay=0.0, fused=True)
        self.average = [parameter.detach().clone() for parameter in self.parameters]
        self.steps = 0
        self.generator = np.random.default_rng(seed)
        self.order = []
        torch.manual_seed(seed)

    def autocast(self):
        return torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bfloat16")

    def step(self, learning_rate):
        if len(self.order) < self.batch:
            self.order = self.generator.permutation(len(self.peer.training))
        chosen, self.order = self.order[: self.batch], self.order[self.batch :]
        examples = self.peer.examples(chosen, self.generator)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        with self.autocast():
            loss = self.loss(*examples)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, MAX_GRAD_NORM)
        self.optimizer.step()
        decay = min(EMA_DECAY, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.parameters, 1 - decay)
        self.steps += 1
        return loss.item()

    def seconds_a_step(self):
        """Of the quickest of a few: what else runs makes steps longer, never shorter."""
        for _ in range(STEPS_BEFORE):
            self.step(0.0)
        times = []
        for _ in range(STEPS_TIMED):
            begin = time.perf_counter()
            self.step(0.0)
            times.append(time.perf_counter() - begin)
        return min(times)


def fastest(peer, arguments):
    """Times all ways of running, and gives back the fastest, at its beginning."""
    torch.manual_seed(arguments.seed)
    network = peer.network()
    weights = copy.deepcopy(network.state_dict())
    count = sum(parameter.numel() for parameter in network.parameters())
    print(f"{arguments.peer}: {count:,} parameters, batches of {arguments.batch}", flush=True)
    best = None
    for layout in peer.layouts if arguments.layout is None else [arguments.layout]:
        for precision in PRECISIONS if arguments.precision is None else [arguments.precision]:
            training = Training(peer, copy.deepcopy(network), layout, precision, arguments.batch)
            training.reset(weights, arguments.seed)
            begin = time.perf_counter()
            try:
                seconds = training.seconds_a_step()
            except RuntimeError as error:
                # The compiler needs a C++ compiler, bfloat16 a processor that has it.
                reason = str(error).partition("\n")[0]
                print(f"  {layout}, {precision}: not here: {reason}", flush=True)
                continue
            print(
                f"  {layout}, {precision}: {arguments.batch / seconds:.1f} examples/s "
                f"(found in {time.perf_counter() - begin:.0f} s)",
                flush=True,
            )
            if best is None or seconds < best[0]:
                best = seconds, training
    if best is None:
        raise SystemExit("PyTorch runs the network in none of these ways here")
    training = best[1]
    training.reset(weights, arguments.seed)
    return training, count


def learning_rate(arguments, step, progress):
    """A linear rise over the first steps, times a cosine over the budget, down to 0."""
    return arguments.lr * min(1, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * min(progress, 1)))


def train(training, arguments):
    """Trains for the budget; its figures."""
    minutes = 1.0 if arguments.time else arguments.minutes
    losses, begin, shown = [], time.perf_counter(), 0.0
    while True:
        seconds = time.perf_counter() - begin
        by_steps = arguments.steps is not None and not arguments.time
        progress = training.steps / arguments.steps if by_steps else seconds / (60 * minutes)
        if seconds - shown >= SECONDS_BETWEEN_LINES or (progress >= 1 and losses):
            shown = seconds
            rate = training.steps * training.batch / seconds
            print(
                f"  step {training.steps}, {seconds:.0f} s, loss {np.mean(losses[-100:]):.4f}, {rate:.1f} examples/s",
                flush=True,
            )
        if progress >= 1:
            break
        losses.append(training.step(learning_rate(arguments, training.steps, progress)))
    return {
        "layout": training.layout,
        "precision": training.precision,
        "steps": training.steps,
        "seconds": seconds,
        "examples_per_second": training.steps * training.batch / seconds,
        "loss": float(np.mean(losses[-100:])),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "threads": torch.get_num_threads(),
    }


def sample(training, peer, arguments, out):
    """Draws what the folder does not have yet."""
    batch = min(arguments.batch, arguments.count)
    training.network.eval()
    for guidance in peer.guidance:
        name = "sounds" if guidance is None else f"guidance-{guidance:g}"
        folders = {d: out / (name if d == "ours" else f"{name}-{d}") for d in peer.decoders}
        folders = {d: folder for d, folder in folders.items() if not (folder / "labels.csv").exists()}
        if not folders:
            continue
        torch.manual_seed(arguments.seed)
        begin = time.perf_counter()
        with torch.no_grad(), training.autocast():
            x, digits = peer.draw(training.forward, arguments.count, batch, guidance)
        print(f"  {arguments.count} drawn in {time.perf_counter() - begin:.0f} s", flush=True)
        for decoder, folder in folders.items():
            begin = time.perf_counter()
            judge.write_folder(folder, peer.signals(x.float(), decoder).numpy(), digits)
            print(f"  {folder}: made sounds of in {time.perf_counter() - begin:.0f} s", flush=True)


def main():
    parser = argparse.ArgumentParser(description="Trains a peer on spoken digits, and draws sounds from it.")
    peers = parser.add_subparsers(dest="peer", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--data", required=True, help="folder of the Free Spoken Digit Dataset")
    shared.add_argument("--out", required=True, help="folder for weights, figures and sounds")
    shared.add_argument("--minutes", type=float, default=30.0, help="of training [default: 30]")
    shared.add_argument("--steps", type=int, help="of training, in place of minutes")
    shared.add_argument("--count", type=int, default=600, help="sounds drawn [default: 600]")
    shared.add_argument("--batch", type=int, default=32)
    shared.add_argument("--layout", choices=LAYOUTS, help="[default: the fastest]")
    shared.add_argument("--precision", choices=PRECISIONS, help="[default: the fastest]")
    shared.add_argument("--threads", type=int, help="[default: all cores]")
    shared.add_argument("--seed", type=int, default=0)
    shared.add_argument("--time", action="store_true", help="only measures examples a second, for a minute")

    def numbers(text):
        return [int(number) for number in text.split(",")]

    def decoders(text):
        named = text.split(",")
        if not set(named) <= set(DECODERS):
            raise argparse.ArgumentTypeError(f"{text!r}; expected {' or '.join(DECODERS)}, or both with a comma")
        return named

    peer = peers.add_parser("unet1d", parents=[shared])
    peer.add_argument("--dim", type=int, default=16)
    # 3.7 M parameters and 4.5 GFLOP a call.
    peer.add_argument("--dim-mults", type=numbers, default=[1, 2, 4, 8, 16])
    peer.add_argument("--lr", type=float, default=5e-4)
    peer.add_argument("--inference-steps", type=int, default=100)

    peer = peers.add_parser("unet2d", parents=[shared])
    peer.add_argument("--channels", type=numbers, default=[32, 64, 64])
    peer.add_argument("--attention-levels", type=numbers, default=[2], help="from 0, the full resolution")
    peer.add_argument("--layers", type=int, default=1)
    peer.add_argument("--lr", type=float, default=2e-3)
    peer.add_argument("--representation", choices=list(REPRESENTATIONS), default="mel")
    peer.add_argument("--schedule", choices=["linear", "squaredcos_cap_v2"], default="linear")
    peer.add_argument("--prediction", choices=["epsilon", "v_prediction"], default="epsilon")
    peer.add_argument("--sampler", choices=["ddpm", "ddim", "dpmpp-2m-sde"], default="dpmpp-2m-sde")
    peer.add_argument("--inference-steps", type=int, default=20)
    peer.add_argument(
        "--decoder",
        type=decoders,
        default=["ours"],
        help="what makes sounds of spectrograms: ours, or librosa, which diffusers' own pipeline of sounds takes; or both "
        "[default: ours]",
    )
    peer.add_argument(
        "--guidance",
        type=lambda text: [float(scale) for scale in text.split(",")],
        default=[2.0, 1.0],
        help="one folder of sounds each [default: 2,1]",
    )

    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    peer = PEERS[arguments.peer](arguments)
    out = Path(arguments.out) / arguments.peer
    figures, weights = out / "training.json", out / "weights.pt"
    if arguments.time:
        training, _ = fastest(peer, arguments)
        train(training, arguments)
        return
    if figures.exists():
        found = json.loads(figures.read_text())
        network = peer.network()
        network.load_state_dict(torch.load(weights, weights_only=True))
        training = Training(peer, network, found["layout"], found["precision"], arguments.batch)
    else:
        training, count = fastest(peer, arguments)
        found = train(training, arguments)
        with torch.no_grad():
            for parameter, average in zip(training.parameters, training.average):
                parameter.copy_(average)
        out.mkdir(parents=True, exist_ok=True)
        torch.save(training.network.state_dict(), weights)
        asked = {key: value for key, value in vars(arguments).items() if key not in ("data", "out", "time")}
        figures.write_text(json.dumps({"parameters": count, **found, "arguments": asked}, indent=2) + "\n")
    sample(training, peer, arguments, out)


if __name__ == "__main__":
    main()
