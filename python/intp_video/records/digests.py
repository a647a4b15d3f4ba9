"""Whose answers, to what, about what: 16 hexadecimal digits of contents, never of paths."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_BLOCK, _BLOCKS = 1 << 16, 64
_FIRST = 4096  # bytes of a tensor
_OF_THE_PLACE = {"_name_or_path", "transformers_version", "_from_model_config"}


def weights_digest(model: PreTrainedModel) -> str:
    """Changes with any weight of the model: whose answers these are."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def weight_files_digest(paths: Iterable[Path]) -> str:
    """Changes with any tensor that was trained further, and reads little: of a safetensors file
    names, types and shapes, and the first 4 KiB of every tensor; of another one, what
    :func:`file_digest` does. How tensors are spread over files is no part of it."""
    found: dict[str, Any] = {}
    for path in paths:
        if path.suffix != ".safetensors":
            found[path.name] = file_digest(path)
            continue
        with open(path, "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            data = file.tell()
            header.pop("__metadata__", None)
            for name, tensor in header.items():
                begin, end = tensor["data_offsets"]
                file.seek(data + begin)
                first = hashlib.sha256(file.read(min(end - begin, _FIRST))).hexdigest()
                found[name] = [tensor["dtype"], tensor["shape"], first]
    return json_digest(found)


def config_digest(model: PreTrainedModel) -> str:
    """Changes with the model's config and generation config, wherever they were loaded from."""
    return configs_digest(model.config, model.generation_config)


def configs_digest(*configs: Any) -> str:
    """The same, of configs without a model."""
    return json_digest([_without_place(config.to_diff_dict()) for config in configs])


def file_digest(path: str | os.PathLike) -> str | None:
    """Changes with the size of a file and its contents: all of them up to 4 MiB, 64 blocks of 64
    KiB spread evenly over a larger one. None if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            digest.update(str(size).encode())
            for block in range(_BLOCKS):
                file.seek(block * max(_BLOCK, (size - _BLOCK) // (_BLOCKS - 1)))
                digest.update(file.read(_BLOCK))
    except OSError:
        return None
    return digest.hexdigest()[:16]


def json_digest(values: Any) -> str:
    told = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _without_place(values: Any) -> Any:
    if not isinstance(values, Mapping):
        return values
    return {k: _without_place(v) for k, v in values.items() if k not in _OF_THE_PLACE}
