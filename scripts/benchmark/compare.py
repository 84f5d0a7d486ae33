"""Runs `trainer bench` and pytorch.py in turn and prints the table of the README, or that of a GPU."""

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
MNIST = HERE.parent.parent / "configs" / "mnist.toml"
RGB = HERE / "rgb.toml"
CIFAR10 = HERE.parent.parent / "configs" / "cifar10.toml"


@dataclass
class Row:
    name: str
    config: Path
    measure: str
    batch_size: int
    devices: tuple = ("flex",)


ROWS = [
    Row("MNIST net, training step, batch 64", MNIST, "train", 64, ("flex", "ndarray")),
    Row("MNIST net, network call, batch 64", MNIST, "call", 64),
    Row("MNIST net, network call, batch 1", MNIST, "call", 1),
    Row("RGB net, training step, batch 32", RGB, "train", 32),
    Row("RGB net, network call, batch 32", RGB, "call", 32),
]


GPU_ROWS = [
    ("MNIST net, training step, batch 128", MNIST, "train", 128),
    ("MNIST net, network call, batch 128", MNIST, "call", 128),
    ("CIFAR-10 net, training step, batch 128", CIFAR10, "train", 128),
    ("CIFAR-10 net, network call, batch 128", CIFAR10, "call", 128),
]


def pytorch_device(device):
    """PyTorch's name for the device that `trainer` is given, which is the CPU's or the one GPU's."""
    if device is None or device in ("flex", "ndarray"):
        return "cpu"
    # Here, for it takes seconds to import.
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if torch.backends.mps.is_available():
        return "mps"
    sys.exit(f"--device {device}: PyTorch {torch.__version__} finds no GPU here to compare with")


def measure(command):
    """Seconds of the command's measurement, and the peak memory of its process in MiB."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit code {process.returncode}")
    return json.loads(output)["seconds"], usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--trainer", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each measurement")
    parser.add_argument("--rows", default="", help="only rows whose name contains this text")
    parser.add_argument("--device", help="a GPU, as `trainer devices` names it [default: the CPU]")
    arguments = parser.parse_args()

    theirs = pytorch_device(arguments.device)
    modes = ["eager", "channels-last", "compiled"]
    rows = ROWS
    if arguments.device is not None:
        modes.append("bf16")
        rows = [Row(*row, devices=(arguments.device,)) for row in GPU_ROWS]
    rows = [row for row in rows if arguments.rows in row.name]
    table = [
        "| | device | images/s | PyTorch | by | ratio | MiB | PyTorch |",
        "| --- | --- | ---: | ---: | --- | ---: | ---: | ---: |",
    ]
    for row in rows:
        common = [
            "--config", row.config,
            "--batch-sizes", str(row.batch_size),
            "--only", row.measure,
            "--seconds", str(arguments.seconds),
        ]
        sides = {}
        for device in row.devices:
            sides[device] = [arguments.trainer, "bench", "--json", "--device", device, *common]
        for mode in modes:
            how = ["--mode", mode, "--device", theirs]
            sides[mode] = [sys.executable, HERE / "pytorch.py", *how, *common]
        seconds = {side: [] for side in sides}
        memory = {side: [] for side in sides}
        for _ in range(arguments.rounds):
            for side, command in sides.items():
                time, peak = measure(command)
                seconds[side].append(time)
                memory[side].append(peak)
                print(f"{row.name}: {side} {row.batch_size / time:.1f} images/s, {peak:.0f} MiB",
                      file=sys.stderr, flush=True)
        speed = {side: row.batch_size / statistics.median(times) for side, times in seconds.items()}
        best = max(modes, key=speed.get)
        # The least that any way of running PyTorch takes: of the machine, not of a GPU.
        least = min(statistics.median(memory[mode]) for mode in modes)
        for device in row.devices:
            table.append(
                f"| {row.name} | {device} | {speed[device]:.0f} | {speed[best]:.0f} | {best} "
                f"| {speed[device] / speed[best]:.2f}× "
                f"| {statistics.median(memory[device]):.0f} | {least:.0f} |"
            )
    print("\n".join(table))


if __name__ == "__main__":
    main()
