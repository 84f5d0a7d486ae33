"""The scores that papers publish of drawn tables, by the programs that they use.

    python score.py REAL.csv DRAWN.csv [TEST.csv TARGET] [--repeats N]

Prints JSON: shape and trend of sdmetrics' quality report; the detection score of its metric with XGBoost (C2ST), the
mean of N dealings [default: 1]; and with TEST, rows that were held out, and TARGET, the share of drawn rows nearer to a
training row than to a held-out one (DCR), and how well XGBoost predicts the column TARGET of TEST from the drawn rows
(TSTR), by the best of the 36 settings that TabSyn tries. A column whose cells are numbers in all files is one of
numbers, any other one of categories; an empty cell is a gap.
"""

import argparse
import json
import warnings
from itertools import product

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist
from sdmetrics.reports.single_table import QualityReport
from sdmetrics.single_table.detection.sklearn import ScikitLearnClassifierDetectionMetric
from sklearn.metrics import accuracy_score, r2_score, roc_auc_score, root_mean_squared_error
from sklearn.preprocessing import LabelEncoder, OneHotEncoder
from xgboost import XGBClassifier, XGBRegressor

SEED = 0
# Drawn rows compared at once.
ROWS = 200


class XGBoostDetection(ScikitLearnClassifierDetectionMetric):
    name = "XGBoost detection"

    @staticmethod
    def _get_classifier():
        return XGBClassifier(eval_metric="logloss", enable_categorical=True, random_state=SEED)


def read(paths: list[str]) -> tuple[list[pd.DataFrame], list[str]]:
    """The tables, and the columns of numbers."""
    tables = [
        pd.read_csv(path, keep_default_na=False, na_values=[""], float_precision="round_trip") for path in paths
    ]
    names = list(tables[0])
    assert all(list(table) == names for table in tables), "the files have not the same columns"
    numbers = [name for name in names if all(table[name].dtype.kind in "if" for table in tables)]
    for table in tables:
        for name in names:
            if name in numbers:
                table[name] = table[name].astype(float)
            else:
                table[name] = table[name].map(str, na_action="ignore").astype(object)
    return tables, numbers


def quality(real: pd.DataFrame, drawn: pd.DataFrame, numbers: list[str]) -> dict:
    metadata = {
        "columns": {name: {"sdtype": "numerical" if name in numbers else "categorical"} for name in real}
    }
    report = QualityReport()
    # Pairs that hardly depend on each other count too, as up to sdmetrics 0.24, which made the published figures.
    report.real_correlation_threshold = report.real_association_threshold = 0
    report.generate(real, drawn, metadata, verbose=False)
    means = report.get_properties().set_index("Property")["Score"]
    details = {name: report.get_details(name)["Score"] for name in ("Column Shapes", "Column Pair Trends")}
    return {
        "shape": float(means["Column Shapes"]),
        "trend": float(means["Column Pair Trends"]),
        "shapes": [None if np.isnan(score) else float(score) for score in details["Column Shapes"]],
        "trends": [None if np.isnan(score) else float(score) for score in details["Column Pair Trends"]],
    }


def detection(real: pd.DataFrame, drawn: pd.DataFrame, numbers: list[str], repeats: int) -> dict:
    # sdmetrics ends with an error on categories that the real table has not.
    known = np.ones(len(drawn), dtype=bool)
    for name in real:
        if name not in numbers:
            known &= (drawn[name].isin(real[name].dropna()) | drawn[name].isna()).to_numpy()
    scores = []
    for repeat in range(repeats):
        # sdmetrics deals rows by NumPy's own generator.
        np.random.seed(SEED + repeat)
        scores.append(float(XGBoostDetection.compute(real, drawn[known])))
    return {"c2st": float(np.mean(scores)), "c2st_each": scores, "rows_left_out": int((~known).sum())}


def records(training: pd.DataFrame, drawn: pd.DataFrame, test: pd.DataFrame, numbers: list[str]) -> dict:
    """With as many held-out as training rows: of the larger set a random part."""
    rng = np.random.default_rng(SEED)
    rows = min(len(training), len(test))
    training, test = (table.iloc[rng.permutation(len(table))[:rows]] for table in (training, test))
    tables = drawn, training, test
    others = [name for name in training if name not in numbers]
    # A category that differs counts 2, as columns of 0 and 1 have it. A gap of a number is a category beside the mean.
    codes = [[] for _ in tables]
    for name in others:
        values = pd.concat([table[name] for table in tables])
        values = pd.factorize(values, use_na_sentinel=False)[0]
        for columns, part in zip(codes, np.split(values, np.cumsum([len(table) for table in tables])[:-1])):
            columns.append(part)
    for name in numbers:
        if any(table[name].isna().any() for table in tables):
            for columns, table in zip(codes, tables):
                columns.append(table[name].isna().to_numpy())
    codes = [np.array(columns, dtype=float).T for columns in codes]
    ranges = (training[numbers].max() - training[numbers].min()).replace(0, 1)
    scaled = [(table[numbers].fillna(training[numbers].mean()) / ranges).to_numpy() for table in tables]

    def nearest(others: int) -> np.ndarray:
        least = []
        for start in range(0, len(drawn), ROWS):
            block = slice(start, start + ROWS)
            distances = np.zeros((len(drawn.iloc[block]), rows))
            if numbers:
                distances += cdist(scaled[0][block], scaled[others], "cityblock")
            if codes[0].size:
                distances += 2 * codes[0].shape[1] * cdist(codes[0][block], codes[others], "hamming")
            least.append(distances.min(1))
        return np.concatenate(least)

    to_training, to_test = nearest(1), nearest(2)
    ties = np.abs(to_training - to_test) <= 1e-9
    return {
        "dcr_share": float((to_training < to_test).mean()),
        "nearer": float(((to_training < to_test) & ~ties).mean()),
        "as_near": float(ties.mean()),
        "copies": float((to_training == 0).mean()),
        "copies_of_held_out": float((to_test == 0).mean()),
    }


def utility(train: pd.DataFrame, test: pd.DataFrame, target: str, numbers: list[str]) -> dict:
    train, test = (table.dropna(subset=[target]) for table in (train, test))
    numeric = [name for name in train if name in numbers and name != target]
    others = [name for name in train if name not in numbers and name != target]
    x, x_test = (table[numeric].to_numpy() for table in (train, test))
    if others:
        encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(train[others])
        x, x_test = (np.hstack([a, encoder.transform(table[others])]) for a, table in ((x, train), (x_test, test)))
    y, y_test = train[target].to_numpy(), test[target].to_numpy()
    is_number = target in numbers
    if not is_number:
        # A class that was never drawn cannot be predicted.
        labels = LabelEncoder().fit(np.concatenate([y, y_test]))
        y, y_test = labels.transform(y), labels.transform(y_test)
    classes = 0 if is_number else len(labels.classes_)
    order = np.random.default_rng(SEED).permutation(len(y))
    aside, learned = order[: len(y) // 9], order[len(y) // 9 :]

    def judged(model, x, y):
        if is_number:
            predicted = model.predict(x)
            rmse = float(root_mean_squared_error(y, predicted))
            return -rmse, {"r2": float(r2_score(y, predicted)), "rmse": rmse}
        accuracy = float(accuracy_score(y, model.predict(x)))
        if classes == 2:
            auc = float(roc_auc_score(y, model.predict_proba(x)[:, 1]))
            return auc, {"auc": auc, "accuracy": accuracy}
        return accuracy, {"accuracy": accuracy}

    best = None
    grid = product([0.0, 1.0], [5, 10, 20], [1, 10], [10, 50, 100])
    for gamma, max_depth, min_child_weight, n_estimators in grid:
        kind = XGBRegressor if is_number else XGBClassifier
        model = kind(
            n_estimators=n_estimators,
            max_depth=max_depth,
            min_child_weight=min_child_weight,
            gamma=gamma,
            tree_method="hist",
        )
        model.fit(x[learned], y[learned])
        rank, _ = judged(model, x[aside], y[aside])
        if best is None or rank > best[0]:
            best = rank, judged(model, x_test, y_test)[1]
    return best[1]


def scores(paths: list[str], target: str | None, repeats: int, with_real: bool = False) -> dict:
    warnings.simplefilter("ignore")
    tables, numbers = read(paths)
    real, drawn = tables[:2]
    found = quality(real, drawn, numbers) | detection(real, drawn, numbers, repeats)
    if len(tables) == 3:
        found |= records(real, drawn, tables[2], numbers)
        found["utility"] = utility(drawn, tables[2], target, numbers)
        if with_real:
            found["utility_of_real"] = utility(real, tables[2], target, numbers)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("real")
    parser.add_argument("drawn")
    parser.add_argument("test", nargs="?")
    parser.add_argument("target", nargs="?")
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args()
    paths = [path for path in (arguments.real, arguments.drawn, arguments.test) if path]
    if (arguments.test is None) != (arguments.target is None):
        parser.error("TEST and TARGET go together")
    print(json.dumps(scores(paths, arguments.target, arguments.repeats), indent=2))


if __name__ == "__main__":
    main()
