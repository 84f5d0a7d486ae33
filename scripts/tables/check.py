"""Our scores of tables beside those of sdmetrics, XGBoost and SciPy, of the same files.

    python check.py --scorer PROGRAM --data FILE.csv --target COLUMN

The rows of the file, in random order, are cut in halves. One half is scored as drawn rows beside the other as real
ones: as it is; with each column shuffled by itself; with numbers that have noise on them and some categories changed.
PROGRAM is the built example `score_tables` of the crate `evaluation`. Ends with 1 where the two sides disagree.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import score

SEED = 1
# Shapes, trends and records are defined to the last digit. Detection and utility hang on how rows are dealt, and beyond
# 256 values on how XGBoost sketches quantiles.
EXACT, DEALT = 1e-6, 0.02


def shuffled(table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    return pd.DataFrame({name: rng.permutation(table[name].to_numpy()) for name in table})


def blurred(table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    columns = {}
    for name in table:
        values = table[name].to_numpy()
        if table[name].dtype.kind in "if":
            noise = rng.normal(0, 0.1 * np.nanstd(values), len(values))
            columns[name] = np.clip(np.round(values + noise), np.nanmin(values), np.nanmax(values))
        else:
            changed = rng.random(len(values)) < 0.05
            columns[name] = np.where(changed, rng.permutation(values), values)
    return pd.DataFrame(columns)


def rows_of(name: str, ours: dict, theirs: dict) -> list[tuple[str, float, float, float]]:
    """What is compared: its name, our number, theirs, and by how much they may differ."""
    rows = [
        ("shape", ours["shapes"]["mean"], theirs["shape"], EXACT),
        ("trend", ours["trends"]["mean"], theirs["trend"], EXACT),
        ("C2ST", ours["detection"]["score"], theirs["c2st"], DEALT),
    ]
    for what, found, expected in [
        ("shape", ours["shapes"]["columns"], theirs["shapes"]),
        ("trend", [pair["score"] for pair in ours["trends"]["pairs"]], theirs["trends"]),
    ]:
        assert len(found) == len(expected)
        assert [a is None for a in found] == [b is None for b in expected], f"{name}: {what}"
        worst = max((abs(a - b) for a, b in zip(found, expected) if a is not None), default=0.0)
        rows.append((f"{what}, the most different", worst, 0.0, EXACT))
    # The same rows on both sides: the halves are of one size, so that no part of them is taken.
    for what in ("nearer", "as_near", "copies", "copies_of_held_out"):
        rows.append((f"records, {what}", ours["records"][what], theirs[what], EXACT))
    for what in ("utility", "utility_of_real"):
        # What real rows teach is one figure for all cases.
        if what not in theirs:
            continue
        (found,) = ours[what].values()
        for measure, expected in theirs[what].items():
            tolerance = DEALT if measure != "rmse" else DEALT * expected
            rows.append((f"{what}, {measure}", found[measure], expected, tolerance))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scorer", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args()
    rng = np.random.default_rng(SEED)
    table = pd.read_csv(arguments.data, keep_default_na=False, na_values=[""])
    table = table.iloc[rng.permutation(len(table))[: len(table) // 2 * 2]]
    first, second = table.iloc[: len(table) // 2], table.iloc[len(table) // 2 :]
    bad = 0
    with tempfile.TemporaryDirectory() as folder:

        def write(name: str, rows: pd.DataFrame) -> str:
            path = Path(folder) / f"{name}.csv"
            rows.to_csv(path, index=False)
            return str(path)

        real, test = write("real", first), write("test", second)
        cases = {
            "the other half": second,
            "columns shuffled": shuffled(first, rng),
            "blurred": blurred(second, rng),
        }
        for name, drawn in cases.items():
            paths = [real, write("drawn", drawn), test]
            command = [arguments.scorer, *paths, arguments.target]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            is_first = drawn is second
            theirs = score.scores(paths, arguments.target, arguments.repeats, with_real=is_first)
            print(f"\n{name}\n{'':34}{'ours':>12}{'theirs':>12}")
            for what, found, expected, tolerance in rows_of(name, json.loads(printed), theirs):
                agrees = abs(found - expected) <= tolerance
                bad += not agrees
                print(f"  {what:32}{found:12.6f}{expected:12.6f}{'' if agrees else '  differs'}")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
