"""Checks that a model, in a folder or on the Hugging Face hub, exists and is complete."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import ModelError
from .reasons import in_one_line

__all__ = [
    "check_folder",
    "check_source",
    "check_weights",
    "folder_of",
    "indexed_files",
    "load_config",
    "weight_files",
]

_SECONDS = 10  # for the hub to answer
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")  # read by transformers too


def check_folder(source: str | Path) -> None:
    """Raises if a folder is missing and `source` cannot mean the hub. Uses no network.

    Raises:
        ModelError: no such folder, or it is a file.
    """
    path = Path(source)
    if path.is_file():
        raise ModelError(f"{source}: it is a file, expected a folder with a model")
    if not path.exists() and _is_path(os.fspath(source)):
        raise ModelError(f"{source}: there is no such folder")


def check_source(source: str | Path) -> None:
    """Raises immediately if a model is missing: transformers asks the hub for half a minute.

    Raises:
        ModelError: there is no such folder, and the hub has no such model or does not answer.
    """
    check_folder(source)
    if Path(source).exists() or _cached(source) is not None:
        return
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

    nowhere = f"{source}: there is no such folder, and"
    if constants.HF_HUB_OFFLINE:
        raise ModelError(f"{nowhere} HF_HUB_OFFLINE forbids to ask the hub; its cache has no such")
    try:
        get_hf_file_metadata(hf_hub_url(str(source), "config.json"), timeout=_SECONDS)
    except RepositoryNotFoundError as error:
        raise ModelError(f"{nowhere} the hub has no such model that you may read") from error
    except EntryNotFoundError as error:
        raise ModelError(f"{source}: no config.json there: not a model") from error
    except Exception as error:  # of whatever library speaks HTTP
        raise ModelError(
            f"{nowhere} the hub cannot be asked for such a model: {in_one_line(error)}"
        ) from error


def load_config(source: Any) -> Any:
    """The config of a model, a directory or a hub id; a config is returned as it is.

    Raises:
        ModelError: nothing there, or no config.json in it.
    """
    if not isinstance(source, str | Path):
        return getattr(source, "config", source)
    from transformers import AutoConfig

    from . import towers  # noqa: F401  makes their configs known to AutoConfig

    check_source(source)
    path = Path(source)
    if path.exists() and not (path / "config.json").is_file():
        raise ModelError(f"{source}: no config.json there: not a Hugging Face model directory")
    try:
        return AutoConfig.from_pretrained(source)
    except Exception as error:  # JSON that is no config fails in ways of its own
        raise ModelError(f"{source}: {in_one_line(error)}") from error


def check_weights(source: str | Path) -> None:
    """Says what is wrong with the weight files, reading only their headers.

    Files that are still to be downloaded from the hub are not checked.

    Raises:
        ModelError: there are none, or one of several is missing, is cut off, or has other tensors
            than the index says.
    """
    folder = Path(source)
    if not folder.is_dir():
        config = _cached(source)
        if config is None:
            return
        folder = config.parent
    if (folder / _WEIGHTS).is_file():
        _tensors(folder / _WEIGHTS)
    elif (folder / _INDEX).is_file():
        for name, expected in indexed_files(folder / _INDEX):
            if (folder / name).is_file():
                missing = expected - _tensors(folder / name)
                if missing:
                    raise ModelError(
                        f"{folder / name}: {len(missing)} tensors are not there that {_INDEX} "
                        f"expects, {min(missing)} among them"
                    )
            elif folder == Path(source):
                raise ModelError(f"{source}: no {name} there, which {_INDEX} names")
    elif folder == Path(source) and not any((folder / name).is_file() for name in _PICKLED):
        raise ModelError(f"{source}: no weights: expected {_WEIGHTS}, or {_INDEX} and its files")


def weight_files(source: str | Path) -> list[Path]:
    """The files with the weights of a model that :func:`check_weights` has seen, fetched from the
    hub if need be.

    Raises:
        ModelError: there are none, or the hub does not answer.
    """
    from transformers.utils import cached_file

    for name in (_WEIGHTS, _INDEX, *_PICKLED):
        try:
            found = cached_file(str(source), name, _raise_exceptions_for_missing_entries=False)
            if found is None:
                continue
            names = [name]
            if name.endswith(".index.json"):
                names = [shard for shard, _ in indexed_files(Path(found))]
            return [Path(cached_file(str(source), shard)) for shard in names]
        except OSError as error:
            raise ModelError(f"{source}: no weights: {in_one_line(error)}") from error
    raise ModelError(f"{source}: no weights: expected {_WEIGHTS}, or {_INDEX} and its files")


def folder_of(source: str | Path) -> Path:
    """The folder itself, or where the hub's files are cached, fetched if need be."""
    path = Path(source)
    if path.is_dir():
        return path
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(str(source), allow_patterns=["*.json"]))


def _is_path(text: str) -> bool:
    """Whether it cannot be `owner/name`."""
    return text.startswith((".", "~", os.sep)) or text.count(os.sep) > 1 or text.endswith(os.sep)


def _cached(source: str | Path) -> Path | None:
    """The config.json that the hub has sent before."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        path = try_to_load_from_cache(str(source), "config.json")
    except HFValidationError as error:
        raise ModelError(
            f"{source}: there is no such folder, and it is no id of the hub: {in_one_line(error)}"
        ) from error
    return Path(path) if isinstance(path, str) else None


def indexed_files(index: Path) -> Iterator[tuple[str, set[str]]]:
    """Each file that an index names, and the tensors it is to hold."""
    try:
        files: Any = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        shards: dict[str, set[str]] = {}
        for tensor, name in files.items():
            shards.setdefault(name, set()).add(tensor)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise ModelError(f"{index}: no index of weights: {in_one_line(error)}") from error
    yield from sorted(shards.items())


def _tensors(path: Path) -> set[str]:
    """The names in the header; the library checks that the file is as long as it says."""
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return set(file.keys())
    except Exception as error:  # SafetensorError is no OSError, and an OSError may come too
        raise ModelError(f"{path}: no weights: {in_one_line(error)}") from error
