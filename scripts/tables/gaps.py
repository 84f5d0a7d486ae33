"""How near filled cells are to the truth, beside the mean and scikit-learn's iterative imputer.

    python gaps.py make  TRAIN.csv TEST.csv PART.csv             rows of TEST with a fifth of their cells empty
    python gaps.py score TRAIN.csv TEST.csv PART.csv FILLED.csv...

FILLED are what `trainer edit --from PART.csv` made of PART. Prints the error of numbers (root of the mean square, in
standard deviations of the column in TRAIN, mean over the columns) and of categories (the share that is wrong). The
imputer gets categories as their places in the order of the alphabet, or as columns of 0 and 1 of which the largest
counts; of both ways the better one is printed, for numbers and for categories by itself.
"""

import argparse

import numpy as np
import pandas as pd
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer

SEED = 1
ROWS = 1000
SHARE = 0.2


class Task:
    """Rows of which some cells are unknown."""

    def __init__(self, train: str, test: str):
        self.train = pd.read_csv(train, keep_default_na=False)
        self.test = pd.read_csv(test, keep_default_na=False).iloc[:ROWS].reset_index(drop=True)
        self.unknown = np.random.default_rng(SEED).random((len(self.test), self.test.shape[1])) < SHARE
        self.numbers = [name for name in self.train if self.train[name].dtype.kind in "if"]
        self.categories = [name for name in self.train if name not in self.numbers]

    def errors(self, filled: pd.DataFrame) -> tuple[float, float]:
        def error(name: str) -> float:
            unknown = self.unknown[:, list(self.test).index(name)]
            found, truth = filled[name][unknown], self.test[name][unknown]
            if name in self.numbers:
                return np.sqrt(np.mean((found.astype(float) - truth) ** 2)) / self.train[name].std()
            return np.mean(found.astype(str) != truth.astype(str))

        return tuple(np.mean([error(name) for name in names]) for names in (self.numbers, self.categories))

    def mean(self) -> pd.DataFrame:
        values = {n: self.train[n].mean() if n in self.numbers else self.train[n].mode()[0] for n in self.train}
        return pd.DataFrame({name: [value] * len(self.test) for name, value in values.items()})

    def imputed(self, one_hot: bool) -> pd.DataFrame:
        levels = {name: sorted(self.train[name].unique()) for name in self.categories}

        def coded(table: pd.DataFrame, unknown: np.ndarray | None) -> np.ndarray:
            columns = []
            for place, name in enumerate(table):
                if name in self.numbers:
                    block = table[[name]].to_numpy(dtype=float)
                    block = (block - self.train[name].mean()) / self.train[name].std()
                elif one_hot:
                    block = (table[name].to_numpy()[:, None] == np.array(levels[name])[None]).astype(float)
                else:
                    block = table[name].map(levels[name].index).to_numpy(dtype=float)[:, None]
                if unknown is not None:
                    block[unknown[:, place]] = np.nan
                columns.append(block)
            return np.hstack(columns)

        imputer = IterativeImputer(max_iter=10, random_state=SEED).fit(coded(self.train, None))
        found = imputer.transform(coded(self.test, self.unknown))
        filled, at = {}, 0
        for name in self.test:
            if name in self.numbers:
                filled[name] = found[:, at] * self.train[name].std() + self.train[name].mean()
                at += 1
                continue
            width = len(levels[name]) if one_hot else 1
            block = found[:, at : at + width]
            places = block.argmax(1) if one_hot else block[:, 0].round().clip(0, len(levels[name]) - 1).astype(int)
            filled[name] = np.array(levels[name], dtype=object)[places]
            at += width
        return pd.DataFrame(filled)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["make", "score"])
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("part")
    parser.add_argument("filled", nargs="*")
    arguments = parser.parse_args()
    task = Task(arguments.train, arguments.test)
    if arguments.what == "make":
        task.test.astype(object).mask(task.unknown, "").to_csv(arguments.part, index=False)
        return
    found = {"mean, most frequent": task.errors(task.mean())}
    both = [task.errors(task.imputed(one_hot)) for one_hot in (False, True)]
    found["iterative imputer"] = tuple(min(pair) for pair in zip(*both))
    for path in arguments.filled:
        found[path] = task.errors(pd.read_csv(path, keep_default_na=False))
    for name, (numbers, categories) in found.items():
        print(f"{name:40} numbers {numbers:.4f}  categories {categories:.4f}")


if __name__ == "__main__":
    main()
