"""Compares two folders of golden files: OLD, which the repository holds, and NEW, which was just made.

    ENV/bin/python scripts/reference/compare.py OLD NEW

The same names, types and shapes; numbers to 1e-5 of the largest of their tensor, for processors and numbers
of threads round differently; texts to the letter, but for numbers within them, to 1e-5 of themselves.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
from safetensors import safe_open

TOLERANCE = 1e-5
NUMBER = re.compile(r"-?\d+\.?\d*(?:e[-+]?\d+)?")


def texts_agree(old: str, new: str) -> bool:
    """Whether two texts are the same but for the rounding of their numbers."""
    if NUMBER.sub("#", old) != NUMBER.sub("#", new):
        return False
    pairs = zip(map(float, NUMBER.findall(old)), map(float, NUMBER.findall(new)))
    return all(abs(a - b) <= TOLERANCE * max(abs(a), abs(b)) for a, b in pairs)


def tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    with safe_open(path, "numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}


def differences(old: Path, new: Path) -> list[str]:
    if old.suffix != ".safetensors":
        return [] if texts_agree(old.read_text(), new.read_text()) else ["another text"]
    (old_tensors, old_metadata), (new_tensors, new_metadata) = tensors(old), tensors(new)
    found = []
    if not texts_agree(json.dumps(old_metadata, sort_keys=True), json.dumps(new_metadata, sort_keys=True)):
        found.append("another header")
    for name in sorted(old_tensors.keys() | new_tensors.keys()):
        if name not in old_tensors or name not in new_tensors:
            found.append(f"{name} is only in {'the new' if name in new_tensors else 'the old'} file")
            continue
        a, b = old_tensors[name], new_tensors[name]
        if a.dtype != b.dtype or a.shape != b.shape:
            found.append(f"{name} was {a.dtype} {a.shape} and is {b.dtype} {b.shape}")
        elif a.size and not np.array_equal(a, b):
            a, b = a.astype(np.float64), b.astype(np.float64)
            error = np.abs(a - b).max() / max(np.abs(a).max(), np.finfo(np.float32).tiny)
            if not error <= TOLERANCE:
                found.append(f"{name} differs by {error:.1e} of its largest number")
    return found


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    old, new = map(Path, sys.argv[1:])
    names = sorted({path.name for folder in (old, new) for path in folder.iterdir()})
    bad = 0
    for name in names:
        if not (old / name).exists() or not (new / name).exists():
            found = [f"only in {old if (old / name).exists() else 'what was made'}"]
        else:
            found = differences(old / name, new / name)
        for line in found:
            print(f"{old / name}: {line}")
        bad += bool(found)
    print(f"{old}: {len(names)} files, {bad or 'none'} of them different")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
