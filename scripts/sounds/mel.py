"""The log-mel spectrogram that our networks learn, and a sound of it: what crates/datasets/src/sounds/mel.rs does.

A window of 6,016 samples is 32 bands × 48 frames: DFTs of 256 samples every 128, triangles evenly spaced on the mel
scale from 60 Hz to half the rate, (20 log₁₀(m / full scale) + 30) / 40, at least −1. Magnitudes come back by
non-negative least squares, begun with Rayleigh distributed ones, phases by the fast Griffin-Lim algorithm (Perraudin et
al. 2013).
"""

import math

import librosa
import numpy as np
import torch

import spectrogram

N_FFT = 256
HOP = 128
BANDS = 32
FRAMES = 48
LENGTH = HOP * (FRAMES - 1)
LOWEST = 60.0
# A sine of amplitude 1: half the sum of the window.
FULL_SCALE = N_FFT / 4
MIDDLE, SCALE = -30.0, 40.0
# What is not above is silence in a sound that is made.
SILENCE = -0.97
UPDATES = 50
ROUNDS, MOMENTUM = 60, 0.99
WINDOW = torch.hann_window(N_FFT, periodic=True)


def filters():
    """`[BANDS, N_FFT / 2 + 1]`."""

    def mel(hz):
        return 2595 * math.log10(1 + hz / 700)

    nyquist = spectrogram.RATE / 2
    places = torch.linspace(mel(LOWEST), mel(nyquist), BANDS + 2, dtype=torch.float64)
    edges = 700 * (10 ** (places / 2595) - 1)
    hz = torch.linspace(0, nyquist, N_FFT // 2 + 1, dtype=torch.float64)
    rise = (hz - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - hz) / (edges[2:] - edges[1:-1])[:, None]
    return torch.minimum(rise, fall).clamp(min=0).float()


FILTERS = filters()


def transform(signal):
    """`[batch, LENGTH]` to `[batch, N_FFT / 2 + 1, FRAMES]`, complex."""
    return torch.stft(
        signal, N_FFT, HOP, window=WINDOW, center=True, pad_mode="constant", return_complex=True
    )


def encode(signal):
    """`[batch, LENGTH]` to `[batch, 1, BANDS, FRAMES]`."""
    level = 20 * (FILTERS @ transform(signal).abs() / FULL_SCALE).log10()
    return ((level - MIDDLE) / SCALE).clamp(min=-1).unsqueeze(1)


def decode(x):
    """`[batch, 1, BANDS, FRAMES]` to `[batch, LENGTH]`."""
    x = x[:, 0]
    bands = FULL_SCALE * 10 ** ((SCALE * x.clamp(max=1) + MIDDLE) / 20) * (x > SILENCE)
    back = FILTERS.T @ bands
    generator = torch.Generator().manual_seed(0)
    magnitudes = back * (-2 * (1 - torch.rand(back.shape, generator=generator)).log()).sqrt()
    for _ in range(UPDATES):
        found = FILTERS.T @ (FILTERS @ magnitudes)
        magnitudes = torch.where(found > 0, magnitudes * back / found, 0.0)
    c = torch.polar(torch.ones_like(magnitudes), 2 * math.pi * torch.rand(magnitudes.shape, generator=generator))
    before = torch.zeros_like(c)

    def sound():
        phases = torch.where(c.abs() > 0, c / c.abs().clamp(min=1e-30), torch.ones_like(c))
        return torch.istft(magnitudes * phases, N_FFT, HOP, window=WINDOW, center=True, length=LENGTH)

    for round in range(ROUNDS):
        t = transform(sound())
        c = t + (MOMENTUM if round else 0.0) * (t - before)
        before = t
    return sound().clamp(-1, 1)


def decode_by_librosa(x):
    """As `decode`, by what librosa has, which diffusers' own pipeline of sounds takes, with its own settings."""
    bands = FULL_SCALE * 10 ** ((SCALE * x[:, 0].clamp(max=1) + MIDDLE) / 20) * (x[:, 0] > SILENCE)
    # Its bands are ours: O'Shaughnessy's scale is what it calls HTK's.
    form = {"sr": spectrogram.RATE, "n_fft": N_FFT, "hop_length": HOP, "length": LENGTH, "power": 1.0}
    ours = {"fmin": LOWEST, "htk": True, "norm": None}
    signals = [librosa.feature.inverse.mel_to_audio(of_one, **form, **ours) for of_one in bands.numpy()]
    return torch.from_numpy(np.stack(signals)).clamp(-1, 1)
