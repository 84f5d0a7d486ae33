"""Draws the scores that scripts/measure-fid has kept: FID over training time and over sampling steps.

Prints both tables as docs/results.md has them.
"""

import argparse
import json
import pathlib

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

MINUTES = [1, 2, 5, 10, 20, 40]
STEPS = [5, 10, 20, 50, 100, 250, 1000]
FID_TICKS = [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5]
SAMPLERS = ["ddpm", "ddim", "dpmpp-2m"]


class Scores:
    """The FID of one evaluation, and that of as many test images."""

    def __init__(self, path):
        report = json.loads(path.read_text())
        fid = next(score for score in report["scores"] if score["name"] == "FID")
        self.fid, self.real, self.images = fid["value"], fid["real"], fid["samples"]


def row(name, cells):
    print(f"| {name} | " + " | ".join(cells) + " |")


def panel(axes, xs, lines, real, title, xlabel):
    """One plot: `lines` from a name to its scores at `xs`."""
    for name, scores in lines.items():
        axes.plot(xs, [score.fid for score in scores], marker="o", label=name)
    # The last values, from bottom to top and none of them on another.
    ends = sorted((scores[-1].fid, line.get_color()) for scores, line in zip(lines.values(), axes.lines))
    for place, (fid, colour) in enumerate(ends):
        is_near = place > 0 and abs(fid / ends[place - 1][0] - 1) < 0.05
        offset = (6, 8 if is_near else -3)
        axes.annotate(f"{fid:.3f}", (xs[-1], fid), offset, textcoords="offset points", color=colour, fontsize=9)
    axes.margins(x=0.16)
    axes.axhline(real, color="grey", linestyle=":", label="test images")
    axes.set(title=title, xlabel=xlabel, ylabel="FID", xscale="log")
    axes.set_xticks(xs, [f"{x:,}" for x in xs])
    axes.grid(alpha=0.3)
    axes.legend()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()

    by_minutes = {
        name: [Scores(args.scores / f"minutes-{m}-guidance-{guidance}.json") for m in MINUTES]
        for guidance, name in [(1, "no guidance"), (2, "guidance 2")]
    }
    by_steps = {
        name: [Scores(args.scores / f"{name}-{steps}.json") for steps in STEPS]
        for name in SAMPLERS
    }
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for axes, xs, lines, what, xlabel in [
        (left, MINUTES, by_minutes, "training", "minutes of training"),
        (right, STEPS, by_steps, "sampling", "sampling steps"),
    ]:
        scores = next(iter(lines.values()))[-1]
        real, images = scores.real, scores.images
        title = f"FID over {what} ({images:,} images)"
        panel(axes, xs, lines, real, title, xlabel)
        print(f"{title}; test images: {real:.4f}")
        row(xlabel, [f"{x:,}" for x in xs])
        for name, scores in lines.items():
            row(name, [f"{score.fid:.3f}" for score in scores])
        print()
    left.set(yscale="log", yticks=FID_TICKS)
    left.yaxis.set_major_formatter("{x:g}")
    right.set_ylim(bottom=0, top=1.12 * max(score.fid for scores in by_steps.values() for score in scores))
    for axes in (left, right):
        axes.minorticks_off()
    figure.savefig(args.out, dpi=90)


if __name__ == "__main__":
    main()
