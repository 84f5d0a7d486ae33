"""Rows a second in training a network of tables, of the crate `mlp` and of PyTorch, in turns.

The same network, the same step: rows noised, forward, loss, backward, clipping, AdamW, moving average.
PyTorch draws on the device's own generator, which is faster than ours; it runs eager and compiled, in f32
and with autocast to bf16, and the fastest of the four is the one that counts.

    scripts/bench-tables [--rounds N] [--seconds S]
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

NUMBERS = 6
CATEGORIES = [7, 16, 7, 14, 6, 5, 2, 41, 2, 3, 3]
WIDTH, BLOCKS, TIMESTEPS = 512, 4, 1000
WARM_UP, MIN_REPEATS = 3, 5
MODES = ["eager", "compiled", "eager-bf16", "compiled-bf16"]
BATCHES = [1024, 2048, 4096]


def pytorch(mode, rows, seconds):
    """Prints the seconds of a step."""
    import torch
    import torch.nn.functional as F
    from torch import nn

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
            self.input = nn.Linear(7 * NUMBERS, WIDTH)
            sizes = torch.tensor([n + 1 for n in CATEGORIES])
            self.embedding = nn.EmbeddingBag(int(sizes.sum()), WIDTH, mode="sum")
            self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
            self.norm = nn.LayerNorm(WIDTH)
            self.output = nn.Linear(WIDTH, NUMBERS + sum(CATEGORIES))
            self.register_buffer("starts", torch.cumsum(sizes, 0) - sizes)
            frequencies = torch.exp(-math.log(10000) * torch.arange(WIDTH // 2) / (WIDTH // 2 - 1))
            self.register_buffer("frequencies", frequencies)

        def forward(self, numbers, codes, t):
            # All timesteps once: fewer than the rows of a large batch.
            angles = torch.arange(TIMESTEPS)[:, None] * self.frequencies
            if len(t) < TIMESTEPS:
                angles = t[:, None] * self.frequencies
            time = self.time2(F.silu(self.time1(torch.cat([angles.sin(), angles.cos()], 1))))
            if len(t) >= TIMESTEPS:
                time = time[t]
            waves = [numbers]
            for frequency in [math.pi / 2, math.pi, 2 * math.pi]:
                waves += [torch.sin(frequency * numbers), torch.cos(frequency * numbers)]
            h = self.input(torch.cat(waves, 1)) + self.embedding(codes + self.starts) + time
            for block in self.blocks:
                h = block(h)
            return self.output(F.silu(self.norm(h)))

    torch.manual_seed(0)
    model = Rows()
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.0, fused=True)
    average = [parameter.detach().clone() for parameter in parameters]
    sizes = torch.tensor(CATEGORIES)

    def loss_of(numbers, codes, t, noise, x_0):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled="bf16" in mode):
            predicted = model(numbers, codes, t)
        predicted = predicted.float()
        loss = F.mse_loss(predicted[:, :NUMBERS], noise)
        logits = predicted[:, NUMBERS:].split(CATEGORIES, 1)
        is_masked = codes == sizes
        for column, logits in enumerate(logits):
            nll = F.cross_entropy(logits, x_0[:, column], reduction="none")
            loss = loss + (nll * is_masked[:, column]).sum() / rows
        return loss

    if mode.startswith("compiled"):
        loss_of = torch.compile(loss_of)

    def step():
        t = torch.randint(0, TIMESTEPS, (rows,))
        kept = 1 - (t + 1)[:, None] / (TIMESTEPS + 1)
        noise = torch.randn(rows, NUMBERS)
        numbers = kept.sqrt() * torch.randn(rows, NUMBERS) + (1 - kept).sqrt() * noise
        x_0 = (torch.rand(rows, len(CATEGORIES)) * sizes).long()
        codes = torch.where(torch.rand(x_0.shape) < kept, x_0, sizes)
        loss = loss_of(numbers, codes, t, noise, x_0)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, parameters, 0.001)
        return loss.item()

    for _ in range(WARM_UP):
        step()
    start, times = time.perf_counter(), []
    while len(times) < MIN_REPEATS or time.perf_counter() - start < seconds:
        begin = time.perf_counter()
        step()
        times.append(time.perf_counter() - begin)
    print(json.dumps({"seconds": statistics.median(times), "repeats": len(times)}))


def measure(command, **variables):
    """Seconds of the command's measurement."""
    output = subprocess.run(
        [str(word) for word in command],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | variables,
    ).stdout
    return json.loads(output)["seconds"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ours", type=Path, help="the built example `rows`")
    parser.add_argument("--mode", choices=MODES, help="PyTorch's side, in this process")
    parser.add_argument("--rows", type=int, default=0, help="a single size of batch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each measurement")
    arguments = parser.parse_args()
    if arguments.mode:
        pytorch(arguments.mode, arguments.rows, arguments.seconds)
        return
    if not arguments.ours:
        parser.error("expected --ours")

    table = ["| rows of a batch | rows/s | without AMX | " + " | ".join(MODES) + " | ratio |"]
    table.append("| ---: | ---: | ---: |" + " ---: |" * len(MODES) + " ---: |")
    for rows in [arguments.rows] if arguments.rows else BATCHES:
        common = ["--rows", rows, "--seconds", arguments.seconds]
        sides = {
            "ours": ([arguments.ours, *common], {}),
            "ours without AMX": ([arguments.ours, *common], {"KERNELS_SIMD": "avx512"}),
        }
        for mode in MODES:
            sides[mode] = ([sys.executable, Path(__file__), "--mode", mode, *common], {})
        seconds = {side: [] for side in sides}
        for _ in range(arguments.rounds):
            for side, (command, variables) in sides.items():
                seconds[side].append(measure(command, **variables))
                print(f"{side} {rows / seconds[side][-1]:.0f} rows/s", file=sys.stderr, flush=True)
        speed = {side: rows / statistics.median(times) for side, times in seconds.items()}
        best = max(speed[mode] for mode in MODES)
        figures = " | ".join(f"{speed[side]:.0f}" for side in sides)
        table.append(f"| {rows} | {figures} | {speed['ours'] / best:.2f}× |")
    print("\n".join(table))


if __name__ == "__main__":
    main()
