"""Converts the TorchScript archive of Inception-v3 (2015-12-05) to the safetensors file that the program
reads, without torch.

    python3 convert.py ARCHIVE OUT

A TorchScript archive is a zip: `NAME/data.pkl` is a pickle of the modules, and `NAME/data/KEY` holds the
numbers of a tensor. The pickle is read with every class replaced by a stand-in that only keeps what it is
given: no code of the archive, nor of any module that it names, is run.

Each convolution is followed by a batch normalisation with β but without γ; for the network as it is used

    β + (conv(x, W) − μ) / √(σ² + ε)  =  conv(x, W / √(σ² + ε)) + β − μ / √(σ² + ε)

so what is written is a weight and a bias a convolution, under the names of crates/inception.
"""

import json
import pickle
import re
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np

# The ε of the graph's batch normalisations.
EPSILON = 1e-3


class Module:
    """A module of the archive: its attributes and no more."""

    def __setstate__(self, state: dict) -> None:
        self.attributes = state


class Reader(pickle.Unpickler):
    """Reads the modules of an archive."""

    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(archive.open(f"{folder}/data.pkl"))
        self.archive, self.folder = archive, folder

    def find_class(self, module: str, name: str):
        match (module, name):
            case ("torch._utils", "_rebuild_tensor_v2"):
                return tensor
            case ("torch", "FloatStorage"):
                return np.dtype("<f4")
            case ("collections", "OrderedDict"):
                return dict
            case _ if module.startswith("__torch__"):
                return type(name, (Module,), {})
            # Lists of integers are the only other thing in it.
            case ("torch.jit._pickle", "build_intlist"):
                return list
        raise pickle.UnpicklingError(f"the archive names {module}.{name}")

    def persistent_load(self, pid):
        kind, dtype, key, _device, count = pid
        if kind != "storage" or not re.fullmatch(r"\d+", key):
            raise pickle.UnpicklingError(f"the archive holds a {kind} {key}")
        numbers = np.frombuffer(self.archive.read(f"{self.folder}/data/{key}"), dtype)
        if len(numbers) != count:
            raise pickle.UnpicklingError(f"storage {key} holds {len(numbers)} numbers, not {count}")
        return numbers


def tensor(storage, offset, shape, strides, *_):
    """A tensor of a storage; those of the archive have no gaps."""
    count = int(np.prod(shape))
    expected = [int(np.prod(shape[axis + 1 :])) for axis in range(len(shape))]
    if list(strides) != expected:
        raise pickle.UnpicklingError(f"a tensor of shape {shape} has strides {strides}")
    return storage[offset : offset + count].reshape(shape)


def convolutions(module: Module, name: str = ""):
    """The name and the attributes of every convolution below a module."""
    if "weight" in module.attributes:
        yield name, module.attributes
    for key, child in module.attributes.items():
        if isinstance(child, Module):
            yield from convolutions(child, f"{name}.{key}" if name else key)


def our_name(name: str) -> str:
    """Where crates/inception has the convolution that the archive calls so."""
    name = name.removeprefix("net.layers.")
    # The 1×1 convolution behind a pool.
    name = re.sub(r"\.tower_2[._]conv$", ".tower_2.conv", name)
    # The convolutions of a tower, in order.
    return re.sub(r"\.(tower(?:_1)?)\.conv(?:_(\d+))?$", lambda m: f".{m[1]}.{m[2] or 0}", name)


def folded(attributes: dict) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias of a convolution with its batch normalisation."""
    weight, beta, mean, var = (attributes[key].astype(np.float64) for key in ("weight", "beta", "mean", "var"))
    scale = 1.0 / np.sqrt(var + EPSILON)
    return weight * scale[:, None, None, None], beta - mean * scale


def main() -> None:
    archive_path, out = Path(sys.argv[1]), Path(sys.argv[2])
    with zipfile.ZipFile(archive_path) as archive:
        (pickled,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        root = Reader(archive, pickled.removesuffix("/data.pkl")).load()
        tensors = {}
        for name, attributes in convolutions(root):
            weight, bias = folded(attributes)
            tensors[f"{our_name(name)}.weight"] = weight.astype("<f4")
            tensors[f"{our_name(name)}.bias"] = bias.astype("<f4")

    # Sorted, so that the same weights are the same bytes.
    header: dict = {"__metadata__": {"network": "Inception-v3 of 2015-12-05"}}
    end = 0
    for name in sorted(tensors):
        start, end = end, end + tensors[name].nbytes
        header[name] = {"dtype": "F32", "shape": list(tensors[name].shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    data = struct.pack("<Q", len(text)) + text + b"".join(tensors[name].tobytes() for name in sorted(tensors))
    out.write_bytes(data)


if __name__ == "__main__":
    main()
