"""The golden file of the crate `kernels`: what PyTorch computes for each operation.

For each case it draws the inputs and the gradient of the output, runs PyTorch's own operation in f64
forward and backward, and writes into OUT_DIR/pytorch.safetensors, in f32:

- CASE/INPUT and CASE/INPUT.grad for every input, CASE/y and CASE/y.grad;
- in the metadata, under `cases`, a line a case: its name, the operation and its options.

    scripts/goldens check kernels
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

EPSILON = 1e-5

# Batch, channels, channels of the output, height, width; what is added to the output. Multiples of
# 16 channels have an algorithm of their own; it cuts the image into tiles of 4x4.
CONVOLUTIONS_3X3 = {
    "same": [
        ([1, 1, 16, 9, 7], ["bias"]),
        ([1, 16, 16, 6, 5], ["bias", "per_example", "residual"]),
        ([2, 16, 16, 1, 9], []),
        ([1, 32, 16, 5, 6], ["bias"]),
        ([2, 16, 48, 4, 7], ["bias", "residual"]),
        ([1, 33, 3, 5, 7], ["bias"]),
        ([3, 3, 1, 4, 4], ["per_example"]),
    ],
    "down": [
        ([1, 16, 3, 7, 5], ["bias"]),
        ([2, 3, 33, 6, 3], ["bias", "residual"]),
        ([1, 1, 3, 1, 2], []),
    ],
    "up": [
        ([1, 16, 16, 3, 5], ["bias"]),
        ([1, 48, 16, 2, 3], ["bias", "residual"]),
        ([1, 32, 1, 4, 3], ["per_example"]),
        ([1, 3, 33, 1, 2], ["bias", "residual"]),
    ],
}
# Stride 2 with the padding below and on the right only. It and the operations on rows are the last of all
# cases, so that the numbers of the others stay as they were.
CONVOLUTIONS_DOWN_BELOW_RIGHT = [
    ([1, 16, 3, 7, 5], ["bias"]),
    ([2, 3, 33, 6, 3], ["bias", "per_example", "residual"]),
    ([1, 1, 3, 2, 4], []),
]
CONVOLUTIONS_1X1 = [
    ([1, 1, 3, 5, 7], ["bias"]),
    ([2, 33, 16, 2, 3], ["bias", "per_example", "residual"]),
    ([2, 32, 32, 1, 3], ["residual"]),
    ([2, 16, 33, 3, 3], []),
]

# Batch, channels, height, width; groups; SiLU; scale and shift; deviation of the input. Groups of two
# and three numbers are small next to EPSILON: else they come out as signs, whose gradient is rounding.
NORMS = [
    ([2, 1, 5, 3], 1, False, False, 1),
    ([2, 3, 4, 5], 3, True, False, 1),
    ([3, 16, 3, 3], 4, True, True, 1),
    ([2, 32, 2, 4], 8, False, False, 1),
    ([1, 32, 3, 5], 32, True, False, 1),
    ([2, 33, 3, 3], 11, True, True, 1),
    ([3, 16, 1, 1], 8, True, True, 2e-3),
    ([2, 6, 1, 1], 2, False, False, 2e-3),
    ([2, 5, 1, 2], 5, True, False, 2e-3),
]

# Batch, height, width; channels of each side.
CONCATENATIONS = [([2, 3, 5], [1, 3]), ([1, 4, 3], [33, 16])]

# Batch, channels, height, width; heads.
ATTENTIONS = [
    ([1, 1, 3, 5], 1),
    ([2, 16, 2, 3], 1),
    ([2, 16, 3, 3], 2),
    ([1, 32, 5, 3], 2),
    ([3, 33, 1, 3], 1),
]

# Rows, columns of x and of the output; what is added; SiLU.
LINEARS = [
    ([1, 3, 5], ["bias"], False),
    ([7, 33, 16], ["bias", "residual"], False),
    ([5, 16, 17], ["bias"], True),
    ([4, 9, 1], ["residual"], True),
]
# Rows, columns; SiLU.
ROW_NORMS = [([3, 7], False), ([1, 33], True), ([5, 64], True)]
# Rows; the columns of each segment.
SEGMENTS = [(4, [3, 1, 18]), (1, [2, 33, 5])]


def convolve(inputs, sampling):
    """A convolution of this project in PyTorch's terms."""
    x, weight = inputs["x"], inputs["weight"]
    if sampling == "up":
        x = F.interpolate(x, scale_factor=2, mode="nearest")
    stride = 2 if sampling.startswith("down") else 1
    padding = weight.shape[-1] // 2
    if sampling == "down_below_right":
        x, padding = F.pad(x, (0, 1, 0, 1)), 0
    y = F.conv2d(x, weight, inputs.get("bias"), stride=stride, padding=padding)
    if "per_example" in inputs:
        y = y + inputs["per_example"][:, :, None, None]
    return y + inputs["residual"] if "residual" in inputs else y


def normalise(inputs, groups, silu):
    y = F.group_norm(inputs["x"], groups, inputs["gamma"], inputs["beta"], EPSILON)
    if "scale_shift" in inputs:
        scale, shift = inputs["scale_shift"][:, :, None, None].chunk(2, dim=1)
        y = y * (1 + scale) + shift
    return F.silu(y) if silu else y


def attend(inputs, heads):
    """Between pixels; the channels of a head lie side by side."""
    shape = inputs["q"].shape
    q, k, v = (x.reshape(shape[0], heads, -1, shape[2] * shape[3]).mT for x in inputs.values())
    return F.scaled_dot_product_attention(q, k, v).mT.reshape(shape)


def convolutions(everything):
    """The cases of convolutions by `Sampling`, or "1x1"."""
    for sampling, convolutions in everything.items():
        for i, ([batch, channels, out, height, width], plus) in enumerate(convolutions):
            kernel = 1 if sampling == "1x1" else 3
            resize = {
                "down": lambda n: (n + 1) // 2,
                "down_below_right": lambda n: n // 2,
                "up": lambda n: 2 * n,
            }.get(sampling, lambda n: n)
            added = {
                "bias": [out],
                "per_example": [batch, out],
                "residual": [batch, out, resize(height), resize(width)],
            }
            shapes = {"x": [batch, channels, height, width], "weight": [out, channels, kernel, kernel]}
            shapes |= {name: added[name] for name in plus}
            options = f"convolution {kernel} {'same' if kernel == 1 else sampling}"
            yield f"convolution_{sampling}_{i}", options, shapes, 1, lambda x: convolve(x, sampling)


def layer(inputs, silu):
    """A linear layer whose weight is `[inputs, outputs]`."""
    z = inputs["x"] @ inputs["weight"]
    for name in ["bias", "residual"]:
        z = z + inputs[name] if name in inputs else z
    return F.silu(z) if silu else z


def normalise_rows(inputs, silu):
    y = F.layer_norm(inputs["x"], inputs["gamma"].shape, inputs["gamma"], inputs["beta"], EPSILON)
    return F.silu(y) if silu else y


def rows():
    """The cases of operations on rows."""
    for i, ([count, width, out], plus, silu) in enumerate(LINEARS):
        added = {"bias": [out], "residual": [count, out]}
        shapes = {"x": [count, width], "weight": [width, out]}
        shapes |= {name: added[name] for name in plus}
        options = f"linear {'silu' if silu else 'linear'}"
        yield f"linear_{i}", options, shapes, 1, lambda x: layer(x, silu)
    for i, (dims, silu) in enumerate(ROW_NORMS):
        shapes = {"x": dims, "gamma": dims[1:], "beta": dims[1:]}
        options = f"row_norm {'silu' if silu else 'linear'}"
        yield f"row_norm_{i}", options, shapes, 1, lambda x: normalise_rows(x, silu)
    for i, (count, sizes) in enumerate(SEGMENTS):
        options = f"segments {' '.join(map(str, sizes))}"
        logs = lambda x: torch.cat([F.log_softmax(part, 1) for part in x["x"].split(sizes, 1)], 1)
        yield f"segments_{i}", options, {"x": [count, sum(sizes)]}, 1, logs


def cases():
    """Options, shapes of the inputs, the deviation of x, and the operation, by name."""
    yield from convolutions({**CONVOLUTIONS_3X3, "1x1": CONVOLUTIONS_1X1})
    for i, (dims, groups, silu, scaled, deviation) in enumerate(NORMS):
        channels = dims[1]
        shapes = {"x": dims, "gamma": [channels], "beta": [channels]}
        shapes |= {"scale_shift": [dims[0], 2 * channels]} if scaled else {}
        options = f"norm {groups} {'silu' if silu else 'linear'}"
        yield f"norm_{i}", options, shapes, deviation, lambda x: normalise(x, groups, silu)
    for i, ([batch, height, width], channels) in enumerate(CONCATENATIONS):
        shapes = {name: [batch, n, height, width] for name, n in zip(["first", "second"], channels)}
        concatenate = lambda x: torch.cat(list(x.values()), 1)
        yield f"concatenation_{i}", "concatenation", shapes, 1, concatenate
    for i, (dims, heads) in enumerate(ATTENTIONS):
        shapes = {name: dims for name in ["q", "k", "v"]}
        yield f"attention_{i}", f"attention {heads}", shapes, 1, lambda x: attend(x, heads)
    yield from convolutions({"down_below_right": CONVOLUTIONS_DOWN_BELOW_RIGHT})
    yield from rows()


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    generator = torch.Generator().manual_seed(0)

    def draw(shape, deviation=1):
        # In f32, so that both sides begin with the same numbers.
        return (deviation * torch.randn(shape, generator=generator)).double()

    tensors, lines = {}, []
    for case, options, shapes, deviation, operation in cases():
        inputs = {
            name: draw(shape, deviation if name == "x" else 1).requires_grad_()
            for name, shape in shapes.items()
        }
        y = operation(inputs)
        direction = draw(y.shape)
        y.backward(direction)
        lines.append(f"{case} {options}")
        results = {"y": y, "y.grad": direction}
        for name, value in inputs.items():
            results |= {name: value, f"{name}.grad": value.grad}
        for name, value in results.items():
            tensors[f"{case}/{name}"] = value.detach().float().contiguous()
    out_dir = Path(sys.argv[1])
    out_dir.mkdir(parents=True, exist_ok=True)
    path = out_dir / "pytorch.safetensors"
    # One entry, for entries are written in no fixed order.
    save_file(tensors, path, {"cases": "\n".join(lines)})
    print(f"{len(lines)} cases, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
