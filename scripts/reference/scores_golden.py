"""The golden file of the crate `evaluation`: what other programs compute from the same features.

FID and KID are those of torchmetrics (its functions on f64 features), precision and recall those of
torch-fidelity; FID also by scipy's root of a matrix, as pytorch-fid and clean-fid have it, which must
agree. Writes into OUT_DIR/scores.safetensors, for each case, CASE/first and CASE/second in f32, and in the
metadata, under `cases`, a line a case: name, FID, KID, then k, precision and recall.

    scripts/goldens check evaluation
"""

import sys
from pathlib import Path

import numpy as np
import scipy.linalg
import torch
from safetensors.torch import save_file
from torch_fidelity.metric_prc import calculate_precision_recall_full
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.kid import poly_mmd

# Samples of the first set, of the second, features; scale and offset of the second set; k.
CASES = {
    "wide": (60, 50, 5, 1.0, 0.3, 3),
    "narrower": (64, 64, 8, 0.5, 0.0, 5),
    "far": (40, 70, 3, 2.0, 4.0, 3),
    "fewer_samples_than_features": (12, 15, 24, 1.3, 0.2, 3),
    "one_feature": (30, 20, 1, 1.5, -0.5, 3),
}


def fid(a: torch.Tensor, b: torch.Tensor) -> float:
    moments = [(x.mean(dim=0), torch.cov(x.T).reshape(x.shape[1], x.shape[1])) for x in (a, b)]
    (mean_a, cov_a), (mean_b, cov_b) = moments
    ours = _compute_fid(mean_a, cov_a, mean_b, cov_b).item()
    root = scipy.linalg.sqrtm(cov_a.numpy() @ cov_b.numpy()).real
    scipys = ((mean_a - mean_b) ** 2).sum().item() + np.trace(cov_a.numpy() + cov_b.numpy() - 2 * root)
    assert abs(ours - scipys) < 1e-5 * max(1, abs(scipys)), (ours, scipys)
    return ours


def main() -> None:
    out = Path(sys.argv[1])
    generator = torch.Generator().manual_seed(0)
    tensors, lines = {}, []
    for name, (first, second, width, scale, offset, k) in CASES.items():
        mixing = torch.randn(width, width, generator=generator)
        a = torch.randn(first, width, generator=generator) @ mixing
        b = scale * torch.randn(second, width, generator=generator) @ mixing + offset
        tensors[f"{name}/first"], tensors[f"{name}/second"] = a, b
        a, b = a.double(), b.double()
        # torchmetrics takes as many of one set as of the other.
        size = min(first, second)
        kid = poly_mmd(a[:size], b[:size]).item()
        # The second set is the generated one, which torch-fidelity takes first.
        precision, recall = calculate_precision_recall_full(b, a, neighborhood=k)
        lines.append(f"{name} {fid(a, b)!r} {kid!r} {k} {precision!r} {recall!r}")
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / "scores.safetensors", metadata={"cases": "\n".join(lines)})


if __name__ == "__main__":
    main()
