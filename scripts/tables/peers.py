"""What others learn of the same rows, in the same minutes, on the same cores.

    python peers.py copula  --train FILE --out DIR      SDV's Gaussian copula
    python peers.py ctgan   --train FILE --out DIR      SDV's CTGAN
    python peers.py tvae    --train FILE --out DIR      SDV's TVAE
    python peers.py forest  --train FILE --out DIR      ForestDiffusion: a diffusion (flow) of XGBoost models
    python peers.py columns --train FILE --out DIR      each column drawn by itself, as the least that can be asked

Writes DIR/NAME.csv and, in DIR/NAME.json, how it was trained and for how long. All settings are their authors' but for
how long they train: epochs are counted so that they take `--minutes`, after a first try, or are `--epochs`, of which
SDV's own are 300; ForestDiffusion, which has no epochs, repeats each row as often as fits, and where not even once does,
grows fewer trees for fewer time levels.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np
import pandas as pd

SEED = 0


def read(path: str) -> tuple[pd.DataFrame, list[str]]:
    table = pd.read_csv(path, keep_default_na=False, na_values=[""])
    return table, [name for name in table if table[name].dtype.kind in "if"]


def sdv(name: str):
    """One of SDV's synthesizers: called with a table, the columns of numbers, seconds or epochs, and a count."""

    def draw(table, numbers, seconds, epochs, count):
        from sdv.metadata import Metadata
        from sdv.single_table import CTGANSynthesizer, GaussianCopulaSynthesizer, TVAESynthesizer

        kind = {"copula": GaussianCopulaSynthesizer, "ctgan": CTGANSynthesizer, "tvae": TVAESynthesizer}[name]
        columns = {name: {"sdtype": "numerical" if name in numbers else "categorical"} for name in table}
        metadata = Metadata.load_from_dict({"tables": {"table": {"columns": columns}}})
        how = {}
        if name == "copula":
            synthesizer = kind(metadata)
        elif epochs is not None:
            how["epochs"] = epochs
            synthesizer = kind(metadata, epochs=epochs)
        else:
            times = []
            # The first is longer by what is loaded then.
            for epochs in (1, 1, 3):
                begin = time.perf_counter()
                kind(metadata, epochs=epochs).fit({"table": table})
                times.append(time.perf_counter() - begin)
            _, one, three = times
            an_epoch = (three - one) / 2
            how["epochs"] = max(1, int((seconds - (one - an_epoch)) / an_epoch))
            how["seconds_an_epoch"] = an_epoch
            synthesizer = kind(metadata, epochs=how["epochs"])
        begin = time.perf_counter()
        synthesizer.fit({"table": table})
        how["seconds"] = time.perf_counter() - begin
        return synthesizer.sample(num_rows=count)["table"], how

    return draw


def forest(table, numbers, seconds, _epochs, count):
    from ForestDiffusion import ForestDiffusionModel

    # Categories first: it takes a column 13 for one of column 3, but knows the first ten apart.
    order = [name for name in table if name not in numbers] + numbers
    coded = table[order].copy()
    categories = {}
    for name in order:
        if name not in numbers:
            # A gap is a category of its own.
            coded[name], categories[name] = pd.factorize(table[name], sort=True, use_na_sentinel=False)
    x = coded.to_numpy(dtype=float)
    places = {name: place for place, name in enumerate(order)}
    two = [places[name] for name, values in categories.items() if len(values) == 2]
    more = [places[name] for name, values in categories.items() if len(values) > 2]
    whole = [places[name] for name in numbers if (table[name].dropna() % 1 == 0).all()]

    def train(levels, trees, copies):
        begin = time.perf_counter()
        model = ForestDiffusionModel(
            X=x,
            n_t=levels,
            n_estimators=trees,
            duplicate_K=copies,
            bin_indexes=two,
            cat_indexes=more,
            int_indexes=whole,
            diffusion_type="flow",
            n_jobs=-1,
            seed=SEED,
        )
        return model, time.perf_counter() - begin

    # Its own settings are 50 levels, 100 trees and 100 copies: first copies go, then trees, then levels.
    _, took = train(2, 4, 1)
    fits = seconds / (took / 8)
    copies = int(min(100, max(1, fits / (50 * 100))))
    trees = int(min(100, max(10, fits / 50)))
    levels = int(min(50, max(5, fits / trees)))
    model, took = train(levels, trees, copies)
    drawn = pd.DataFrame(model.generate(batch_size=count), columns=order)
    for name in order:
        if name in categories:
            codes = drawn[name].round().clip(0, len(categories[name]) - 1).astype(int)
            drawn[name] = np.asarray(categories[name], dtype=object)[codes]
        elif table[name].dtype.kind == "i":
            drawn[name] = drawn[name].round().astype(int)
    how = {"n_t": levels, "n_estimators": trees, "duplicate_K": copies, "seconds": took}
    return drawn, how


def columns(table, _numbers, _seconds, _epochs, count):
    rng = np.random.default_rng(SEED)
    return pd.DataFrame({name: rng.choice(table[name].to_numpy(), count) for name in table}), {"seconds": 0.0}


PEERS = {"copula": sdv("copula"), "ctgan": sdv("ctgan"), "tvae": sdv("tvae"), "forest": forest, "columns": columns}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--train", required=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--epochs", type=int, help="of SDV's networks, in place of minutes")
    parser.add_argument("--count", type=int, help="rows to draw [default: as many as there are]")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    drawn_file = arguments.out / f"{arguments.peer}.csv"
    if drawn_file.exists():
        return
    np.random.seed(SEED)
    table, numbers = read(arguments.train)
    begin = time.perf_counter()
    drawn, how = PEERS[arguments.peer](
        table, numbers, 60 * arguments.minutes, arguments.epochs, arguments.count or len(table)
    )
    how["seconds_with_tries_and_drawing"] = time.perf_counter() - begin
    how["most_memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    (arguments.out / f"{arguments.peer}.json").write_text(json.dumps(how, indent=2) + "\n")
    # Last and at once, for it says that all is done.
    unfinished = drawn_file.with_suffix(".unfinished")
    drawn[list(table)].to_csv(unfinished, index=False)
    unfinished.rename(drawn_file)
    print(f"{arguments.peer}: {how}", flush=True)


if __name__ == "__main__":
    main()
