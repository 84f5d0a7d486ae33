"""The golden file of the sounds in the crate `datasets`: sounds at other rates, and a spectrogram.

    scripts/goldens check sounds

Writes OUT_DIR/sounds.safetensors, all in f32:

- `resample/FROM-TO/input` and `.../output`: a sound of a few sines below a smooth envelope, and what
  scipy.signal.resample_poly makes of it with a long filter (Kaiser, β = 14, 96 zero crossings a side), so that what
  it leaves of the ideal is far below f32.
- `stft/signal` [samples], `stft/real` and `stft/imag` [64 frequencies, frames]: the short-time Fourier transform
  of a drawn signal, X[k, m] = Σ_n w[n] x[64 m + n − 63] exp(−2πi k n / 126) with the periodic Hann window
  w[n] = 0.5 − 0.5 cos(2π n / 126), x = 0 outside of the signal: n_fft 126, hop 64, centred, unscaled, of
  1 + ⌊samples / 64⌋ frames. By the sum itself, in f64; scipy.signal.ShortTimeFFT must agree.
"""

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import scipy.signal
from safetensors.numpy import save_file

RATES = [(44100, 8000), (8000, 16000), (22050, 16000), (48000, 8000), (16000, 11025)]
SECONDS = 0.11
N_FFT, HOP = 126, 64


def sound(rate: int, highest: float) -> np.ndarray:
    """Sines up to 70 % of the highest frequency, under an envelope that is smooth at both ends."""
    t = np.arange(round(SECONDS * rate)) / rate
    shares = ((0.03, 0.3), (0.21, 0.25), (0.44, 0.2), (0.7, 0.15))
    sines = sum(size * np.sin(2 * np.pi * share * highest * t + 5 * share) for share, size in shares)
    return sines * np.sin(np.pi * t / SECONDS) ** 2


def resampled(x: np.ndarray, source: int, target: int) -> np.ndarray:
    ratio = Fraction(target, source)
    most = max(ratio.numerator, ratio.denominator)
    taps = scipy.signal.firwin(2 * 96 * most + 1, 1 / most, window=("kaiser", 14))
    return scipy.signal.resample_poly(x, ratio.numerator, ratio.denominator, window=taps)


def stft(x: np.ndarray) -> np.ndarray:
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)
    padded = np.pad(x, N_FFT // 2)
    frames = [padded[start : start + N_FFT] * window for start in range(0, len(x) + 1, HOP)]
    k, n = np.arange(N_FFT // 2 + 1)[:, None], np.arange(N_FFT)[None, :]
    return np.exp(-2j * np.pi * k * n / N_FFT) @ np.array(frames).T


def check_stft(x: np.ndarray, ours: np.ndarray) -> None:
    window = scipy.signal.windows.hann(N_FFT, sym=False)
    transform = scipy.signal.ShortTimeFFT(window, HOP, fs=1, fft_mode="onesided", phase_shift=None)
    # Its slice p begins at 64 p − 63: slice 0 is the first of ours.
    theirs = transform.stft(x, p0=0, p1=ours.shape[1])
    error = np.abs(theirs - ours).max()
    assert error < 1e-10, error


def main() -> None:
    out = Path(sys.argv[1])
    tensors = {}
    for source, target in RATES:
        x = sound(source, min(source, target) / 2)
        x = x.astype(np.float32)
        tensors[f"resample/{source}-{target}/input"] = x
        tensors[f"resample/{source}-{target}/output"] = resampled(x.astype(np.float64), source, target)
    x = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    spectrum = stft(x.astype(np.float64))
    check_stft(x.astype(np.float64), spectrum)
    tensors |= {"stft/signal": x, "stft/real": spectrum.real, "stft/imag": spectrum.imag}
    out.mkdir(parents=True, exist_ok=True)
    tensors = {name: np.ascontiguousarray(values, dtype=np.float32) for name, values in tensors.items()}
    save_file(tensors, out / "sounds.safetensors")


if __name__ == "__main__":
    main()
