"""The golden file of the crate `inception`: features by the original TorchScript network in PyTorch, with
weights that the test makes too, and images resized by torch-fidelity and Pillow.

Real weights would be 87 MB; so weights and pixels are numbers of a hash, `numbers` below, which
crates/inception/tests/inception/main.rs has as well. Writes OUT_DIR/inception.safetensors: for each of CASES,
RESIZE/CASE, every 13th row and 11th column of the resized images in 0 to 255; and `features`.

    scripts/goldens check inception
"""

import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

sys.path.append(str(Path(__file__).resolve().parents[1] / "inception"))
from convert import EPSILON, our_name
from reference import RESIZES, clean

# Channels, height and width.
CASES = {
    "pixel": (1, 1, 1),
    "tiny": (3, 2, 3),
    "digit": (1, 28, 28),
    "photograph": (3, 32, 32),
    "wide": (1, 20, 310),
    "large": (1, 640, 301),
}


def numbers(count: int, key: int) -> np.ndarray:
    """32-bit numbers that look random: of position and key, by the last steps of MurmurHash3."""
    x = np.arange(count, dtype=np.uint32) * np.uint32(2654435761) + np.uint32(key)
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return x ^ (x >> np.uint32(16))


def pixels(shape: tuple[int, ...]) -> np.ndarray:
    return (numbers(int(np.prod(shape)), 1) >> np.uint32(24)).astype(np.uint8).reshape(shape)


def values(shape: tuple[int, ...], key: int, deviation: float) -> torch.Tensor:
    """Evenly distributed around 0, of this standard deviation."""
    unit = numbers(int(np.prod(shape)), key) / 2.0**32 - 0.5
    return torch.from_numpy((unit * 12**0.5 * deviation).astype(np.float32).reshape(shape))


def fill(network: torch.nn.Module) -> None:
    """Weights that keep the size of activations, keys by their place among the names of our network."""
    convs = {our_name(name): conv for name, conv in network.named_modules() if hasattr(conv, "beta")}
    names = sorted(f"{name}.{part}" for name in convs for part in ("weight", "bias"))
    with torch.no_grad():
        for key, name in enumerate(names):
            conv, part = name.rsplit(".", 1)
            conv = convs[conv]
            if part == "weight":
                fan_in = np.prod(conv.weight.shape[1:])
                conv.weight.copy_(values(conv.weight.shape, key, (2 / fan_in) ** 0.5))
            else:
                conv.beta.copy_(values(conv.beta.shape, key, 0.1))
                # Normalised by nothing.
                conv.mean.zero_()
                conv.var.fill_(1 - EPSILON)


def main() -> None:
    network, out = torch.jit.load(sys.argv[1]).eval(), Path(sys.argv[2])
    fill(network)
    tensors = {}
    for name, shape in CASES.items():
        for resize, resized in RESIZES.items():
            tensors[f"{resize}/{name}"] = resized(pixels((1, *shape)))[0, :, ::13, ::11].copy()
    with torch.inference_mode():
        images = torch.from_numpy(clean(pixels((2, 3, 8, 8))))
        tensors["features"] = network((images - 128) / 128).numpy()
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / "inception.safetensors")


if __name__ == "__main__":
    main()
