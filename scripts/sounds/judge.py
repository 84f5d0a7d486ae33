"""A judge of spoken digits that no model here has seen, and the scores that it gives.

A small convolutional network on log magnitudes, trained on the training split with shifted, quicker, slower,
louder, softer and noisy copies. It hears the digits of a folder, and its penultimate features give FID and how
near sounds come to training recordings. The rest is measured on samples: silence, lengths, loudness, tilt,
noise, clicks. Everything stands beside the same figure of the held-out recordings.

    python judge.py train --data DIR --judge FILE    trains, and saves it with what it hears of held-out recordings
    python judge.py real --data DIR FOLDER           writes the held-out recordings as `score` reads them
    python judge.py score --data DIR --judge FILE FOLDER [--json]

A folder has `labels.csv` with the columns file, class (a digit, or nothing) and name, and the files beside it.
"""

import argparse
import csv
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

import spectrogram
from spectrogram import PEAK, RATE

DIGITS = "zero one two three four five six seven eight nine".split()
# A judge must hear this share of the held-out recordings right.
ENOUGH = 0.97

N_FFT = 256
HOP = 128
# Added to magnitudes before the logarithm: 66 dB below a loud vowel.
FLOOR = 0.01

TRAINING_SEED = 1
HELD_OUT_SEED = 2
DECIBELS_OF_NOTHING = -100.0
BATCH = 200
FRAME = 160
EDGE = 16


class Judge(nn.Module):
    """`[batch, samples]` to `features`, `[batch, 128]`, and to logits, `[batch, 10]`."""

    def __init__(self):
        super().__init__()

        def block(inputs, outputs, kernel, stride):
            return [
                nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]

        self.layers = nn.Sequential(
            *block(1, 24, 5, 2),
            *block(24, 48, 3, 2),
            *block(48, 48, 3, 1),
            *block(48, 96, 3, 2),
            *block(96, 96, 3, 1),
        )
        # Over all frequencies at once: where they lie is what tells vowels apart.
        self.across = nn.Sequential(nn.Conv2d(96, 128, (17, 1)), nn.ReLU())
        self.penultimate = nn.Sequential(nn.Dropout(0.2), nn.Linear(256, 128), nn.ReLU())
        self.last = nn.Sequential(nn.Dropout(0.2), nn.Linear(128, len(DIGITS)))

    def features(self, signal):
        x = magnitudes(signal).add(FLOOR).log().add(1).div(2.5).unsqueeze(1)
        x = self.across(self.layers(x)).squeeze(2)
        return self.penultimate(torch.cat([x.mean(-1), x.amax(-1)], 1))

    def forward(self, signal):
        return self.last(self.features(signal))


def magnitudes(signal):
    """`[batch, samples]` to `[batch, frequencies, times]`."""
    return torch.stft(
        signal,
        N_FFT,
        HOP,
        window=torch.hann_window(N_FFT),
        center=True,
        pad_mode="constant",
        return_complex=True,
    ).abs()


def at_peak(signal):
    """Sounds as loud as recordings are: how loud they were is a measure of its own."""
    return signal * (PEAK / signal.abs().amax(1, keepdim=True).clamp(min=1e-4))


def augmented(recording, generator):
    """A window of a recording at another place, speed and loudness, often with noise."""
    samples = recording.samples
    speed = math.exp(generator.uniform(-0.16, 0.16))
    places = np.arange(0, len(samples) - 1, speed)
    samples = np.interp(places, np.arange(len(samples)), samples).astype(np.float32)
    signal = spectrogram.window(samples, generator=generator)
    if generator.random() < 0.5:
        noise = generator.standard_normal(len(signal), dtype=np.float32)
        # White, or with less and less in the treble.
        blend = generator.uniform(0, 0.95)
        noise[1:] += blend * noise[:-1]
        signal = signal + noise * np.float32(10 ** (generator.uniform(-65, -25) / 20))
    return signal * np.float32(10 ** (generator.uniform(-6, 3) / 20))


def train(arguments):
    training, held_out = spectrogram.recordings(arguments.data)
    torch.manual_seed(arguments.seed)
    generator = np.random.default_rng(arguments.seed)
    judge = Judge()
    steps = arguments.epochs * (len(training) // arguments.batch)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=1e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps, pct_start=0.15)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.1)
    begin = time.perf_counter()
    for epoch in range(arguments.epochs):
        judge.train()
        order = generator.permutation(len(training))
        losses = []
        for chosen in order[: len(order) // arguments.batch * arguments.batch].reshape(-1, arguments.batch):
            signal = np.stack([augmented(training[i], generator) for i in chosen])
            digits = torch.tensor([training[i].digit for i in chosen])
            loss = loss_of(judge(torch.from_numpy(signal)), digits)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(
            f"epoch {epoch + 1}/{arguments.epochs}: loss {np.mean(losses):.3f}, "
            f"{time.perf_counter() - begin:.0f} s",
            flush=True,
        )
    accuracy = {
        name: heard_right(judge, spectrogram.windows(held_out, generator=places), held_out)
        for name, places in [("centred", None), ("shifted", np.random.default_rng(HELD_OUT_SEED))]
    }
    print(
        f"held-out recordings heard right: {accuracy['centred']:.2%} in the middle of the window, "
        f"{accuracy['shifted']:.2%} anywhere in it ({len(held_out)})"
    )
    if min(accuracy.values()) < ENOUGH:
        raise SystemExit(f"that is below {ENOUGH:.0%}: not saved; more --epochs may help")
    Path(arguments.judge).parent.mkdir(parents=True, exist_ok=True)
    torch.save({"weights": judge.state_dict(), "held_out_accuracy": accuracy}, arguments.judge)


@torch.inference_mode()
def heard(judge, signal):
    """Features and probabilities of sounds, as numpy's."""
    judge.eval()
    pairs = []
    for part in at_peak(signal).split(BATCH):
        features = judge.features(part)
        pairs.append((features.double(), judge.last(features).double().softmax(1)))
    return tuple(torch.cat(parts).numpy() for parts in zip(*pairs))


def heard_right(judge, signal, split):
    _, probabilities = heard(judge, signal)
    return float(np.mean(probabilities.argmax(1) == [recording.digit for recording in split]))


def real(arguments):
    _, held_out = spectrogram.recordings(arguments.data)
    signal = spectrogram.windows(held_out, generator=np.random.default_rng(HELD_OUT_SEED))
    write_folder(arguments.folder, signal.numpy(), [recording.digit for recording in held_out])


def write_folder(folder, signals, digits):
    """Sounds and their classes, None where there is none."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [["file", "class", "name"]]
    for number, (signal, digit) in enumerate(zip(signals, digits, strict=True)):
        rows.append([f"{number:06}.wav", *(["", ""] if digit is None else [digit, DIGITS[digit]])])
        spectrogram.write_wav(folder / rows[-1][0], signal)
    # Last: a folder that has it is whole.
    with open(folder / "labels.csv", "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def read_folder(folder):
    """Windows `[sounds, LENGTH]`, and the digit asked for or None of each."""
    path = Path(folder) / "labels.csv"
    try:
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise SystemExit(f"{path}: {error.strerror}") from error
    if not rows or not {"file", "class"} <= rows[0].keys():
        raise SystemExit(f"{path}: expected the columns file, class and name, and a row a sound")
    digits = []
    for line, row in enumerate(rows, 2):
        if row["class"] not in ["", *map(str, range(len(DIGITS)))]:
            raise SystemExit(f"{path}, line {line}: class {row['class']!r}; expected a digit or nothing")
        digits.append(int(row["class"]) if row["class"] else None)
    sounds = [spectrogram.window(spectrogram.read_wav(path.parent / row["file"])) for row in rows]
    return torch.from_numpy(np.stack(sounds)), digits


def frechet(a, b):
    """The squared Fréchet distance of two sets of features, as Gaussians (Heusel et al. 2017)."""
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(cov_a)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    product = np.sqrt(np.linalg.eigvalsh(root @ cov_b @ root).clip(0)).sum()
    between = np.square(a.mean(0) - b.mean(0)).sum()
    return float(between + np.trace(cov_a) + np.trace(cov_b) - 2 * product)


def nearest(features, training):
    """The distance of each to its nearest training recording."""
    return torch.cdist(torch.from_numpy(features), torch.from_numpy(training)).amin(1).numpy()


def nearer(generated, held_out):
    """The chance that a generated distance is the smaller one, ties counted half."""
    below = np.searchsorted(np.sort(held_out), generated, "left")
    not_above = np.searchsorted(np.sort(held_out), generated, "right")
    return float(1 - (below + not_above).mean() / (2 * len(held_out)))


def decibels(power):
    return 10 * np.log10(np.maximum(power, 10 ** (DECIBELS_OF_NOTHING / 10)))


def measures(signal):
    """What is measured on the samples of each sound, by name."""
    x = signal.double().numpy()
    peak = np.abs(x).max(1)
    rms = decibels(np.square(x).mean(1))
    relative = x / np.maximum(peak, 1e-9)[:, None]
    loud = np.abs(relative) >= 10 ** (-40 / 20)
    first, last = loud.argmax(1), x.shape[1] - 1 - loud[:, ::-1].argmax(1)

    frames = np.square(x).reshape(len(x), -1, FRAME).mean(2)
    frames = decibels(frames / np.maximum(frames.max(1, keepdims=True), 1e-18))
    number = np.arange(frames.shape[1])
    inside = (number >= first[:, None] / FRAME) & (number + 1 <= (last[:, None] + 1) / FRAME)
    inside |= (frames == 0) | (inside.sum(1, keepdims=True) == 0)

    spectrum = magnitudes(signal).double().numpy()
    energy = decibels(np.square(spectrum).mean(1) / np.maximum(np.square(spectrum).mean(1).max(1), 1e-18)[:, None])
    spectrum = decibels(np.square(spectrum / np.maximum(spectrum.max((1, 2)), 1e-9)[:, None, None]))
    frequency = np.arange(spectrum.shape[1]) * RATE / N_FFT
    low, high = (frequency >= 100) & (frequency < 1000), frequency >= 2000
    # Silence has no loudest frame: then all count.
    lasting = energy >= np.minimum(-40, energy.max(1, keepdims=True))
    tilt = [s[low][:, l].mean() - s[high][:, l].mean() for s, l in zip(spectrum, lasting)]

    edges = [decibels(np.square(part).mean(1)) for part in (relative[:, :EDGE], relative[:, -EDGE:])]
    return {
        "silent": (rms < -40) | (decibels(np.square(peak)) < -40),
        "length_s": np.where(peak > 0, (last + 1 - first) / RATE, 0),
        "rms_db": rms,
        "tilt_db": np.array(tilt),
        "floor_db": np.percentile(frames, 10, axis=1),
        "floor_within_db": np.array([np.percentile(f[i], 10) for f, i in zip(frames, inside)]),
        "edges_db": np.maximum(*edges),
        "jump": np.abs(np.diff(relative, axis=1)).max(1),
    }


# Rows of the table whose figures are the 5th, 50th and 95th percentile.
SPREAD = {
    "length_s": "length, s (between −40 dB of the peak)",
    "rms_db": "loudness, dB rms",
    "tilt_db": "tilt, dB (100 to 1,000 Hz over 2,000 to 4,000)",
    "floor_db": "quietest tenth of frames, dB below the loudest",
    "floor_within_db": "the same between the sound's ends",
    "edges_db": "first and last 2 ms, dB below the peak",
    "jump": "largest step between samples, of the peak",
}


def scores(judge, signal, digits, training, held_out, seed):
    """All figures of sounds: features of both splits are given."""
    features, probabilities = heard(judge, signal)
    digit = probabilities.argmax(1)
    asked = [(d, h) for d, h in zip(digits, digit) if d is not None]
    by_class = {
        name: float(np.mean([h == number for d, h in asked if d == number]))
        for number, name in enumerate(DIGITS)
        if any(d == number for d, _ in asked)
    }
    same = min(len(features), len(held_out))
    chosen = np.random.default_rng(seed).permutation(len(features))[:same]
    measured = measures(signal)
    return {
        "count": len(features),
        "accuracy": float(np.mean([d == h for d, h in asked])) if asked else None,
        "accuracy_by_class": by_class,
        "confidence": float(probabilities.max(1).mean()),
        "heard": {name: float(np.mean(digit == number)) for number, name in enumerate(DIGITS)},
        "fid": frechet(features, training) if len(features) > 1 else None,
        "fid_same_count": frechet(features[chosen], training) if same > 1 else None,
        "same_count": same,
        "nearer_than_real": nearer(nearest(features, training), nearest(held_out, training)),
        "silent": float(measured["silent"].mean()),
    } | {name: np.percentile(measured[name], [5, 50, 95]).tolist() for name in SPREAD}


def score(arguments):
    try:
        saved = torch.load(arguments.judge, weights_only=True)
    except OSError as error:
        raise SystemExit(f"{arguments.judge}: {error.strerror}; `judge.py train` makes it") from error
    judge = Judge()
    judge.load_state_dict(saved["weights"])
    splits = spectrogram.recordings(arguments.data)
    seeds = (TRAINING_SEED, HELD_OUT_SEED)
    # As models are to draw them: anywhere in the window.
    training, held_out = (
        spectrogram.windows(split, generator=np.random.default_rng(seed)) for split, seed in zip(splits, seeds)
    )
    features_training, features_held_out = heard(judge, training)[0], heard(judge, held_out)[0]
    signal, digits = read_folder(arguments.folder)
    generated = scores(judge, signal, digits, features_training, features_held_out, seed=0)
    # The held-out recordings again, as many as were drawn where those are fewer.
    chosen = np.random.default_rng(0).permutation(len(held_out))[: generated["same_count"]]
    alike = frechet(features_held_out[chosen], features_training) if len(chosen) > 1 else None
    real = scores(
        judge,
        held_out,
        [recording.digit for recording in splits[1]],
        features_training,
        features_held_out,
        seed=0,
    ) | {"fid_same_count": alike, "same_count": len(chosen)}
    if arguments.json:
        print(json.dumps({"generated": generated, "real": real, "judge": saved["held_out_accuracy"]}, indent=2))
        return

    def share(value):
        return "–" if value is None else f"{100 * value:.1f} %"

    def plain(value):
        return "–" if value is None else f"{value:.2f}"

    def heard_least_and_most(figures):
        return f"{share(min(figures['heard'].values()))} to {share(max(figures['heard'].values()))}"

    columns = [generated, real]
    same = generated["same_count"]
    rows = [
        ("sounds", [f"{c['count']:,}" for c in columns]),
        ("the asked digit is heard", [share(c["accuracy"]) for c in columns]),
        ("mean confidence of the judge", [plain(c["confidence"]) for c in columns]),
        ("heard least and most often", [heard_least_and_most(c) for c in columns]),
        (f"FID to {len(training):,} training recordings", [plain(c["fid"]) for c in columns]),
        (f"FID, of {same:,} each", [plain(c["fid_same_count"]) for c in columns]),
        ("nearer to training than real", [plain(c["nearer_than_real"]) for c in columns]),
        ("silent (below −40 dB)", [share(c["silent"]) for c in columns]),
    ] + [(title, [" / ".join(plain(v) for v in c[name]) for c in columns]) for name, title in SPREAD.items()]
    print(f"judged by a network that hears {saved['held_out_accuracy']['shifted']:.2%} of held-out recordings right")
    print("| 5 / 50 / 95 % | generated | held out |")
    print("| --- | --- | --- |")
    for title, cells in rows:
        print(f"| {title} | {' | '.join(cells)} |")


def main():
    parser = argparse.ArgumentParser(description="Trains the judge of spoken digits, and scores sounds.")
    commands = parser.add_subparsers(required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--data", required=True, help="folder of the Free Spoken Digit Dataset")
    shared.add_argument("--threads", type=int, help="[default: all cores]")

    command = commands.add_parser("train", parents=[shared])
    command.add_argument("--judge", required=True, help="file for the trained judge")
    command.add_argument("--epochs", type=int, default=24)
    command.add_argument("--batch", type=int, default=48)
    command.add_argument("--seed", type=int, default=0)
    command.set_defaults(run=train)

    command = commands.add_parser("real", parents=[shared])
    command.add_argument("folder")
    command.set_defaults(run=real)

    command = commands.add_parser("score", parents=[shared])
    command.add_argument("--judge", required=True)
    command.add_argument("--json", action="store_true")
    command.add_argument("folder")
    command.set_defaults(run=score)

    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    arguments.run(arguments)


if __name__ == "__main__":
    main()
