"""The features that `trainer evaluate` makes of real images against those of the original TorchScript
network, and the FID that it makes of them. See scripts/check-inception."""

import argparse
import gzip
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
from reference import RESIZES
from safetensors.numpy import load_file

# Images of each split.
COUNT = 20
# Largest difference of a feature; the largest features are about 5.
TOLERANCE = 1e-3

SETS = {
    "mnist": [],
    "cifar10": [
        "--set=data.dataset=cifar10",
        "--set=network.sample_size=32",
        "--set=network.in_channels=3",
        "--set=network.out_channels=3",
    ],
}


def first_images(data: Path, name: str) -> dict[str, np.ndarray]:
    """The first images of both splits, [N, C, H, W] of bytes."""
    if name == "mnist":
        files = {"training": "train-images-idx3-ubyte.gz", "test": "t10k-images-idx3-ubyte.gz"}
        images = {}
        for split, file in files.items():
            pixels = np.frombuffer(gzip.open(data / name / file).read(), np.uint8, COUNT * 28 * 28, 16)
            images[split] = pixels.reshape(COUNT, 1, 28, 28)
        return images
    files = {"training": "data_batch_1.bin", "test": "test_batch.bin"}
    records = {split: np.fromfile(data / name / file, np.uint8, COUNT * 3073) for split, file in files.items()}
    return {split: r.reshape(COUNT, 3073)[:, 1:].reshape(COUNT, 3, 32, 32) for split, r in records.items()}


def reference(network: torch.nn.Module, images: np.ndarray, resize: str) -> np.ndarray:
    """The features of images by the original network."""
    pixels = torch.from_numpy(np.array(RESIZES[resize](images)))
    pixels = pixels.expand(-1, 3, -1, -1)
    with torch.inference_mode():
        return network((pixels - 128) / 128).numpy()


def fid(a: np.ndarray, b: np.ndarray) -> float:
    """FID of features, [N, D] each. With Σ = XᵀX of centred rows X, tr (Σ_1 Σ_2)½ is the sum of the
    singular values of X_1 X_2ᵀ."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    x, y = ((f - f.mean(axis=0)) / np.sqrt(len(f) - 1) for f in (a, b))
    root = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    return ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum() + (x**2).sum() + (y**2).sum() - 2 * root


def check(name: str, data: Path, trainer: Path, network: torch.nn.Module, work: Path) -> None:
    run = work / name
    config = ["train", "--config", "configs/smoke.toml", "--steps", "1", "--out", run, "--data-dir", data]
    subprocess.run([trainer, *config, *SETS[name]], check=True, capture_output=True)
    images = first_images(data, name)
    for resize in RESIZES:
        cache = work / f"{name}-{resize}"
        options = {
            "--features": "inception",
            "--inception-resize": resize,
            "--reference-images": COUNT,
            "--count": COUNT,
            "--steps": 1,
            "--likelihood-images": 0,
            "--cache": cache,
            "--data-dir": data,
        }
        arguments = [str(word) for option in options.items() for word in option]
        subprocess.run([trainer, "evaluate", run, *arguments], check=True, capture_output=True)
        kept = [load_file(path)["features"] for path in cache.glob("features-*.safetensors")]
        assert len(kept) == 2, kept

        found = {}
        for split, pixels in images.items():
            expected = reference(network, pixels, resize)
            # Files are named by their content: the one of this split is the one that is nearer.
            found[split] = min(kept, key=lambda features: np.abs(features - expected).max())
            error = np.abs(found[split] - expected).max()
            print(
                f"{name}, {split}, resize {resize}: {COUNT} images, largest difference {error:.1e} "
                f"(features: mean {expected.mean():.3f}, largest {expected.max():.2f})"
            )
            assert error < TOLERANCE, error
        scores = json.loads((run / "scores.json").read_text())["scores"]
        (ours,) = (score["real"] for score in scores if score["name"] == "FID")
        expected = fid(found["training"], found["test"])
        print(f"{name}, resize {resize}: FID of the test images {ours:.6f}, of numpy {expected:.6f}")
        assert abs(ours - expected) < 1e-6 * expected, (ours, expected)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trainer", type=Path, required=True)
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    network = torch.jit.load(args.archive).eval()
    with tempfile.TemporaryDirectory() as work:
        for name in SETS:
            check(name, args.data, args.trainer, network, Path(work))
    print("features and FID agree")


if __name__ == "__main__":
    main()
