"""The golden files of the crate `mlp`: the network of rows in PyTorch.

Writes into OUT_DIR, in f32, from inputs and weights drawn in f32 and computed with in f64:

- weights.safetensors: every parameter, by the names that our files have;
- rows.safetensors: x_t, t, labels and the prediction y; the gradient of y, and those of all parameters
  under NAME.grad.

    scripts/goldens check mlp
"""

import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

NUMBERS, CATEGORIES, CLASSES, WIDTH, BLOCKS = 3, [4, 2, 7], 3, 16, 2
FREQUENCIES = [math.pi / 2, math.pi, 2 * math.pi]


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.linear1 = nn.Linear(WIDTH, WIDTH)
        self.linear2 = nn.Linear(WIDTH, WIDTH)

    def forward(self, h):
        return h + self.linear2(F.silu(self.linear1(self.norm(h))))


class Rows(nn.Module):
    def __init__(self):
        super().__init__()
        self.time1 = nn.Linear(WIDTH, WIDTH)
        self.time2 = nn.Linear(WIDTH, WIDTH)
        self.input = nn.Linear(NUMBERS * (1 + 2 * len(FREQUENCIES)), WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.norm = nn.LayerNorm(WIDTH)
        self.output = nn.Linear(WIDTH, NUMBERS + sum(CATEGORIES))
        self.embedding = nn.Parameter(torch.empty(sum(n + 1 for n in CATEGORIES) + CLASSES, WIDTH))

    def forward(self, x_t, t, labels):
        numbers, codes = x_t[:, :NUMBERS], x_t[:, NUMBERS:].long()
        # Ho et al. 2020's sinusoids: sines first, the last period that of 10000 exactly.
        half = WIDTH // 2
        frequencies = torch.exp(-math.log(10000) * torch.arange(half) / (half - 1))
        angles = t[:, None] * frequencies[None]
        time = self.time2(F.silu(self.time1(torch.cat([angles.sin(), angles.cos()], 1))))
        waves = [numbers]
        for frequency in FREQUENCIES:
            waves += [torch.sin(frequency * numbers), torch.cos(frequency * numbers)]
        h = self.input(torch.cat(waves, 1)) + time
        sizes = [n + 1 for n in CATEGORIES] + [CLASSES]
        tables = self.embedding.split(sizes)
        # One-hot codes times a matrix.
        for table, size, code in zip(tables, sizes, [*codes.T, labels]):
            h = h + F.one_hot(code, size).to(h) @ table
        for block in self.blocks:
            h = block(h)
        return self.output(F.silu(self.norm(h)))


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.set_default_dtype(torch.float64)
    generator = torch.Generator().manual_seed(0)

    def draw(shape, deviation=1.0):
        # In f32, so that both sides begin with the same numbers.
        drawn = torch.randn(shape, generator=generator, dtype=torch.float32)
        return (deviation * drawn).double()

    network = Rows()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(draw(parameter.shape, 0.3))
    batch = 6
    # Masks among them, and a timestep that two rows share.
    codes = [torch.randint(0, n + 1, (batch,), generator=generator) for n in CATEGORIES]
    codes[0][0], codes[2][1] = CATEGORIES[0], CATEGORIES[2]
    x_t = torch.cat([draw([batch, NUMBERS]), torch.stack(codes, 1)], 1)
    t = torch.tensor([0.0, 3.0, 500.0, 3.0, 999.0, 12.5])
    labels = torch.tensor([0, 2, 1, 1, 0, 2])
    y = network(x_t, t, labels)
    direction = draw(y.shape)
    y.backward(direction)

    weights = {name: p.detach().float().contiguous() for name, p in network.named_parameters()}
    rows = {"x_t": x_t, "t": t, "labels": labels, "y": y.detach(), "y.grad": direction}
    rows |= {f"{name}.grad": p.grad for name, p in network.named_parameters()}
    out_dir = Path(sys.argv[1])
    out_dir.mkdir(parents=True, exist_ok=True)
    save_file(weights, out_dir / "weights.safetensors")
    save_file(
        {name: value.float().contiguous() for name, value in rows.items()},
        out_dir / "rows.safetensors",
    )
    print(f"{len(weights)} parameters")


if __name__ == "__main__":
    main()
