"""The golden file of the scores of tables: what other programs compute from the same rows.

Column shapes and pair trends are those of sdmetrics' QualityReport, margins of boosted trees those of XGBoost with
categories as columns of 0 and 1, shares of nearest records those of rows compared one with all others in NumPy. Writes
OUT_DIR/tables.json:

    tables   a case each: name, kinds and values of the columns, real and drawn, with the scores
    records  drawn, training and held-out rows with the share that is nearer, and that of copies
    trees    columns, targets and ways to grow, with the margins of all rows

    scripts/goldens check tables
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sdmetrics.reports.single_table import QualityReport
from xgboost import XGBClassifier, XGBRegressor

NUMBERS, CATEGORIES = "numbers", "categories"
DIGITS = 4


def column(kind: str, values) -> dict:
    """A column with `None` where there is a gap."""
    values = [None if v is None or v != v else (int(v) if kind == CATEGORIES else float(v)) for v in values]
    return {"kind": kind, "values": values}


def frame(columns: dict[str, dict]) -> pd.DataFrame:
    """Numbers as numbers, categories as words."""

    def series(column):
        if column["kind"] == NUMBERS:
            return pd.Series(column["values"], dtype=float)
        return pd.Series([None if v is None else f"category {v}" for v in column["values"]], dtype=object)

    return pd.DataFrame({name: series(values) for name, values in columns.items()})


def listed(columns: dict[str, dict]) -> list[dict]:
    """Columns in their order, which not every reader of JSON keeps."""
    return [{"name": name, **values} for name, values in columns.items()]


def score(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def case(name: str, real: dict, drawn: dict) -> dict:
    sdtypes = {NUMBERS: "numerical", CATEGORIES: "categorical"}
    metadata = {"columns": {name: {"sdtype": sdtypes[values["kind"]]} for name, values in real.items()}}
    report = QualityReport()
    # Pairs that hardly depend on each other count too, as up to sdmetrics 0.24, which made the published figures.
    report.real_correlation_threshold = report.real_association_threshold = 0
    report.generate(frame(real), frame(drawn), metadata, verbose=False)
    shapes = report.get_details("Column Shapes")
    trends = report.get_details("Column Pair Trends")
    means = report.get_properties().set_index("Property")["Score"]
    return {
        "name": name,
        "real": listed(real),
        "drawn": listed(drawn),
        "shapes": [score(value) for value in shapes["Score"]],
        "mean_shape": score(means["Column Shapes"]),
        "trends": [score(value) for value in trends["Score"]],
        "mean_trend": score(means["Column Pair Trends"]),
    }


def mixed(rng: np.random.Generator, rows: int, shift: float, gaps: float) -> dict:
    """Numbers and categories that depend on one another; `shift` moves and `gaps` empties some of them."""
    hidden = rng.normal(shift, 1, rows)

    def with_gaps(values):
        return [None if rng.random() < gaps else value for value in values]

    return {
        "normal": column(NUMBERS, with_gaps(np.round(hidden, DIGITS))),
        "whole": column(NUMBERS, with_gaps(np.round(5 * hidden + rng.normal(0, 3, rows)))),
        "skewed": column(NUMBERS, np.round(np.exp(hidden + rng.normal(0, 0.5, rows)), DIGITS)),
        "few": column(CATEGORIES, with_gaps((hidden + rng.normal(0, 1, rows) > 0).astype(int))),
        "many": column(CATEGORIES, rng.poisson(np.exp(0.5 * hidden) * 2)),
    }


def tables(rng: np.random.Generator) -> list[dict]:
    few_rows = {
        "numbers": column(NUMBERS, [1.5, None, 2.0]),
        "constant": column(NUMBERS, [7, 7, 7]),
        "categories": column(CATEGORIES, [0, 1, None]),
        "gaps": column(CATEGORIES, [None, None, None]),
    }
    other_rows = {
        "numbers": column(NUMBERS, [1.5, 1.0]),
        "constant": column(NUMBERS, [7, 8]),
        "categories": column(CATEGORIES, [2, 1]),
        "gaps": column(CATEGORIES, [0, None]),
    }
    return [
        case("alike", mixed(rng, 60, 0, 0), mixed(rng, 60, 0, 0)),
        case("shifted", mixed(rng, 50, 0, 0), mixed(rng, 70, 1, 0)),
        case("with gaps", mixed(rng, 60, 0, 0.2), mixed(rng, 40, 0.3, 0.1)),
        case("few rows", few_rows, other_rows),
    ]


def records(rng: np.random.Generator) -> dict:
    """TabSyn's share, of rows of which some are copies."""
    numbers = {name: np.round(rng.normal(size=(80, 3)) * [1, 10, 100], DIGITS) for name in ("training", "held_out")}
    codes = {name: rng.integers(0, 4, (80, 2)) for name in ("training", "held_out")}
    numbers["drawn"] = np.round(rng.normal(size=(60, 3)) * [1, 10, 100], DIGITS)
    codes["drawn"] = rng.integers(0, 5, (60, 2))
    for values in (numbers, codes):
        values["drawn"][:7] = values["training"][:7]
        values["drawn"][7:9] = values["held_out"][:2]

    ranges = np.ptp(numbers["training"], axis=0)
    one_hot = {name: np.eye(5)[values].reshape(len(values), -1) for name, values in codes.items()}
    rows = {name: np.hstack([numbers[name] / ranges, one_hot[name]]) for name in numbers}

    def nearest(name):
        return np.abs(rows["drawn"][:, None] - rows[name][None]).sum(2).min(1)

    training, held_out = nearest("training"), nearest("held_out")
    assert np.abs(training - held_out).min() > 1e-6
    columns = {
        name: listed({
            **{f"x{i}": column(NUMBERS, values) for i, values in enumerate(numbers[name].T)},
            **{f"k{i}": column(CATEGORIES, values) for i, values in enumerate(codes[name].T)},
        })
        for name in numbers
    }
    return {
        **columns,
        "nearer": float((training < held_out).mean()),
        "copies": float((training == 0).mean()),
        "copies_of_held_out": float((held_out == 0).mean()),
    }


def trees(rng: np.random.Generator) -> dict:
    rows = 250
    numbers = np.stack([np.round(rng.normal(size=rows), 1), rng.integers(0, 40, rows), np.round(rng.random(rows), 2)])
    category = rng.integers(0, 6, rows)
    margin = numbers[0] * (category - 2) + (numbers[1] > 25) - numbers[2] + rng.normal(0, 0.7, rows)
    targets = {
        "logistic": (margin > 0).astype(int),
        "squared": np.round(margin, DIGITS),
        "softmax": np.digitize(margin, [-1, 1]),
    }
    x = np.hstack([numbers[:2].T, np.eye(6)[category], numbers[2:].T])
    ways = [
        {"loss": "logistic", "rounds": 30, "depth": 6, "min_child_weight": 1, "min_gain": 0},
        {"loss": "logistic", "rounds": 10, "depth": 12, "min_child_weight": 4, "min_gain": 0.5},
        {"loss": "squared", "rounds": 30, "depth": 6, "min_child_weight": 1, "min_gain": 0},
        {"loss": "squared", "rounds": 20, "depth": 3, "min_child_weight": 10, "min_gain": 1},
        {"loss": "softmax", "rounds": 10, "depth": 4, "min_child_weight": 1, "min_gain": 0},
    ]
    learned = rng.permutation(rows)[:170]
    learned.sort()
    for way in ways:
        kind = XGBRegressor if way["loss"] == "squared" else XGBClassifier
        model = kind(
            n_estimators=way["rounds"],
            max_depth=way["depth"],
            min_child_weight=way["min_child_weight"],
            gamma=way["min_gain"],
            tree_method="hist",
            nthread=1,
        )
        model.fit(x[learned], targets[way["loss"]][learned])
        way["margins"] = [round(float(m), 6) for m in model.predict(x, output_margin=True).ravel()]
    columns = [
        column(NUMBERS, numbers[0]),
        column(NUMBERS, numbers[1]),
        column(CATEGORIES, category),
        column(NUMBERS, numbers[2]),
    ]
    targets = {name: [float(v) for v in values] for name, values in targets.items()}
    return {"columns": columns, "learned": learned.tolist(), "targets": targets, "ways": ways}


def main() -> None:
    # sdmetrics says of each constant column that it has no correlation.
    warnings.simplefilter("ignore")
    out = Path(sys.argv[1])
    rng = np.random.default_rng(0)
    found = {"tables": tables(rng), "records": records(rng), "trees": trees(rng)}
    out.mkdir(parents=True, exist_ok=True)
    (out / "tables.json").write_text(json.dumps(found, separators=(",", ":")).replace("},{", "},\n{") + "\n")


if __name__ == "__main__":
    main()
