"""Recordings, windows of them, and the compressed complex spectrogram that networks of images learn.

A window of 6,080 samples is 64 frequencies × 96 times × (real, imaginary): DFTs of 126 samples every 64, under
a periodic Hann window, the signal padded with 63 zeros at both ends. Each number c becomes factor · |c|^½ e^{iφ}
(Richter et al. 2023, "Speech enhancement and dereverberation with diffusion-based generative models",
equation 11), with the factor that makes the standard deviation over the training split 0.5. All of it is
inverted exactly: `python spectrogram.py --data DIR` shows it.
"""

import argparse
import re
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

RATE = 8000
PEAK = 0.95
# Recordings 0 to 9 of each digit and speaker are held out.
HELD_OUT = 10

N_FFT = 126
HOP = 64
BINS = N_FFT // 2 + 1
FRAMES = 96
LENGTH = HOP * (FRAMES - 1)
DEVIATION = 0.5
TOLERANCE = 1e-5


@dataclass
class Recording:
    """One file of the Free Spoken Digit Dataset: its peak is at `PEAK`."""

    file: str
    digit: int
    samples: np.ndarray


def read_wav(path):
    """The samples of a file of 16 bit PCM, mono, in [-1, 1)."""
    try:
        with wave.open(str(path), "rb") as file:
            rate, channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise SystemExit(f"{path}: not a WAV file that can be read: {error}") from error
    if (rate, channels, width) != (RATE, 1, 2):
        raise SystemExit(
            f"{path}: {rate} Hz, {channels} channels, {8 * width} bit; expected {RATE} Hz, mono, 16 bit"
        )
    return np.frombuffer(data, "<i2").astype(np.float32) / 32768


def write_wav(path, samples):
    """Samples in [-1, 1] as 16 bit PCM; what is beyond is clipped, what is no number is silent."""
    samples = np.nan_to_num(np.asarray(samples, np.float64))
    whole = np.clip(np.round(samples * 32768), -32768, 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(whole.tobytes())


def recordings(folder):
    """The recordings of a folder, `{digit}_{speaker}_{index}.wav`: training split, held out."""
    training, held_out = [], []
    for path in sorted(Path(folder).glob("*.wav")):
        name = re.fullmatch(r"(\d)_([a-z]+)_(\d+)", path.stem)
        if name is None:
            raise SystemExit(f"{path}: expected a name such as 7_jackson_32.wav")
        samples = read_wav(path)
        peak = np.abs(samples).max(initial=0)
        if peak == 0:
            raise SystemExit(f"{path}: silent")
        split = held_out if int(name[3]) < HELD_OUT else training
        split.append(Recording(path.name, int(name[1]), samples * (PEAK / peak)))
    if not training or not held_out:
        raise SystemExit(f"{folder}: no recordings, or none of index 0 to 9, or none of 10 and above")
    return training, held_out


def window(samples, length=LENGTH, generator=None):
    """`length` samples: a shorter recording between zeros, a longer one cut.

    Where it begins is random where there is a generator (numpy's), else it is in the middle.
    """
    room = length - len(samples)
    offset = abs(room) // 2 if generator is None else int(generator.integers(abs(room) + 1))
    if room < 0:
        return samples[offset : offset + length]
    whole = np.zeros(length, np.float32)
    whole[offset : offset + len(samples)] = samples
    return whole


def windows(split, length=LENGTH, generator=None):
    """`[recordings, length]`."""
    return torch.from_numpy(np.stack([window(r.samples, length, generator) for r in split]))


def compressed(signal):
    """`[batch, LENGTH]` to |c|^½ e^{iφ}, `[batch, BINS, FRAMES]`, complex."""
    c = torch.stft(
        signal,
        N_FFT,
        HOP,
        window=torch.hann_window(N_FFT, periodic=True, dtype=signal.dtype),
        center=True,
        pad_mode="constant",
        return_complex=True,
    )
    return torch.polar(c.abs().sqrt(), c.angle())


def factor(training):
    """What makes the standard deviation over the training split, windows in the middle, `DEVIATION`."""
    parts = torch.view_as_real(compressed(windows(training).double()))
    return DEVIATION / parts.std().item()


def spectrogram(signal, scale):
    """`[batch, LENGTH]` to `[batch, 2, BINS, FRAMES]`; the channels are real and imaginary part."""
    return scale * torch.view_as_real(compressed(signal)).movedim(-1, 1)


def inverse(x, scale):
    """`[batch, 2, BINS, FRAMES]` to `[batch, LENGTH]`.

    The inverse DFTs are added under the window and divided by the sum of its squares.
    """
    c = torch.view_as_complex(x.movedim(1, -1).contiguous() / scale)
    return torch.istft(
        c * c.abs(),
        N_FFT,
        HOP,
        window=torch.hann_window(N_FFT, periodic=True, dtype=x.dtype),
        center=True,
        length=x.shape[-1] * HOP - HOP,
    )


def main():
    parser = argparse.ArgumentParser(description="The round trip of the spectrogram, and its factor.")
    parser.add_argument("--data", required=True, help="folder of the Free Spoken Digit Dataset")
    arguments = parser.parse_args()
    training, held_out = recordings(arguments.data)
    scale = factor(training)
    print(f"{len(training)} recordings to train on, {len(held_out)} held out; factor {scale:.6f}")
    signal = windows(held_out)
    x = spectrogram(signal, scale)
    assert x.shape[1:] == (2, BINS, FRAMES), x.shape
    worst = (inverse(x, scale) - signal).abs().max().item()
    print(f"deviation of the held-out windows {x.std():.4f}, round trip within {worst:.1e}")
    if worst > TOLERANCE:
        raise SystemExit(f"the round trip is off by {worst:.1e}, more than {TOLERANCE:.0e}")


if __name__ == "__main__":
    main()
