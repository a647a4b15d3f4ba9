"""Weight files as they lie in a folder: safetensors or torch's own, whole or in shards.

Pickles are only read as weights: what else is in them is refused.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ..errors import ModelError
from ..model_source import indexed_files
from ..reasons import in_one_line

_WHOLE = ("model.safetensors", "pytorch_model.bin")
_INDEX = ".index.json"


def weight_files(folder: Path) -> list[Path]:
    """The files with the weights of a folder, safetensors before pickles; empty if none.

    Raises:
        ModelError: an index is broken, or names a file that is not there.
    """
    for whole in _WHOLE:
        index = folder / (whole + _INDEX)
        if index.is_file():
            paths = [folder / name for name, _ in indexed_files(index)]
            for path in paths:
                if not path.is_file():
                    raise ModelError(f"{folder}: no {path.name} there, which {index.name} names")
            return paths
        if (folder / whole).is_file():
            return [folder / whole]
    return []


def shapes_in(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor in a file; a safetensors file is not read beyond its header.

    Raises:
        ModelError: the file cannot be read, or holds other things than tensors.
    """
    if path.suffix != ".safetensors":
        return {name: tuple(tensor.shape) for name, tensor in tensors_in(path)}
    from safetensors import safe_open

    with _reading(path), safe_open(path, framework="pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def tensors_in(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Name and tensor, one after the other.

    Raises:
        ModelError: as :func:`shapes_in`.
    """
    with _reading(path):
        if path.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118  it is no dict
                    yield name, file.get_tensor(name)
            return
        # a file of today's format is mapped, not read
        saved = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    for name, tensor in saved.items():
        if not isinstance(tensor, torch.Tensor):
            raise ModelError(f"{path}: {name}: expected a tensor, got {type(tensor).__name__}")
        yield name, tensor


class _reading:
    """Says which file it was. Whatever a library raises for a broken one: no common class."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, ModelError):
            raise ModelError(f"{self.path}: no weights: {in_one_line(error)}") from error
