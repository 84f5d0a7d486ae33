"""The golden files of the crate `transformer`: the network of lines of text in PyTorch.

Writes into OUT_DIR, in f32, from inputs and weights drawn in f32 and computed with in f64:

- weights.safetensors: every parameter, by the names that our files have;
- rows.safetensors: x_t, t, labels and the prediction y; the gradient of y, and those of all parameters
  under NAME.grad.

    scripts/goldens check transformer
"""

import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

COLUMNS, CATEGORIES, CLASSES, WIDTH, LAYERS, HEADS = 5, 7, 3, 16, 2, 2


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH)
        for name in ["q", "k", "v", "attended"]:
            setattr(self, name, nn.Linear(WIDTH, WIDTH))
        self.norm2 = nn.LayerNorm(WIDTH)
        self.linear1 = nn.Linear(WIDTH, 4 * WIDTH)
        self.linear2 = nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, h):
        normal = self.norm1(h)
        heads = lambda x: x.unflatten(2, (HEADS, -1)).transpose(1, 2)
        q, k, v = heads(self.q(normal)), heads(self.k(normal)), heads(self.v(normal))
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        h = h + self.attended(attended)
        return h + self.linear2(F.silu(self.linear1(self.norm2(h))))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.time1 = nn.Linear(WIDTH, WIDTH)
        self.time2 = nn.Linear(WIDTH, WIDTH)
        self.embedding = nn.Parameter(torch.empty(CATEGORIES + 1 + COLUMNS + CLASSES, WIDTH))
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        self.output = nn.Linear(WIDTH, CATEGORIES)

    def forward(self, x_t, t, labels):
        # Ho et al. 2020's sinusoids: sines first, the last period that of 10000 exactly.
        half = WIDTH // 2
        frequencies = torch.exp(-math.log(10000) * torch.arange(half) / (half - 1))
        angles = t[:, None] * frequencies[None]
        time = self.time2(F.silu(self.time1(torch.cat([angles.sin(), angles.cos()], 1))))
        letters, columns, classes = self.embedding.split([CATEGORIES + 1, COLUMNS, CLASSES])
        h = letters[x_t] + columns[None] + (classes[labels] + time)[:, None]
        for layer in self.layers:
            h = layer(h)
        return self.output(self.norm(h)).flatten(1)


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

    network = Transformer()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(draw(parameter.shape, 0.3))
    batch = 6
    # Masks among them, and a timestep that two rows share.
    x_t = torch.randint(0, CATEGORIES + 1, (batch, COLUMNS), generator=generator)
    x_t[0, 0] = CATEGORIES
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
