"""Conversion of a checkpoint folder: everything is checked by name and shape, then written."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..errors import ModelError
from ..model_files import write_json, write_processors
from ..reasons import in_one_line
from . import names
from .original import (
    check_checkpoint_config,
    check_widths,
    read_config,
    tower_config,
    video_llava_config,
)
from .shards import shapes_in, tensors_in, weight_files

Progress = Callable[[int, int], None]

CHAT_TEMPLATE = """\
A chat between a curious user and an artificial intelligence assistant. \
The assistant gives helpful, detailed, and polite answers to the user's questions. \
{%- for message in messages -%}
{{ ' ' if loop.first else '' }}{{ message['role'] | upper + ': ' }}
{%- if message['content'] is string -%}
{{ message['content'] }}
{%- else -%}
{%- for item in message['content'] if item['type'] in ('image', 'video') -%}
{{ '<' + item['type'] + '>\\n' }}
{%- endfor -%}
{%- for item in message['content'] if item['type'] == 'text' -%}
{{ item['text'] }}
{%- endfor -%}
{%- endif -%}
{{ '</s>' if message['role'] == 'assistant' else ' ' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ 'ASSISTANT:' }}
{%- endif -%}
"""
"""The prompt of Vicuna v1, which the checkpoint was trained with."""


@dataclass(frozen=True)
class Conversion:
    """What came of it.

    Attributes:
        directory: of the converted model.
        files: names of its weight files.
        tensors: how many were converted.
        dropped: why tensors of the original have no place, and how many; all others have one.
        placeholders: tokens that were added, and their ids.
    """

    directory: Path
    files: list[str]
    tensors: int
    dropped: dict[str, int]
    placeholders: dict[str, int]


@dataclass
class _Plan:
    """Our name of every tensor that is wanted from a file, and why others are dropped."""

    files: dict[Path, dict[str, str]] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)


def convert_video_llava(
    original: str | os.PathLike,
    directory: str | os.PathLike,
    *,
    video_tower: str | os.PathLike | None = None,
    progress: Progress | None = None,
) -> Conversion:
    """Writes the original Video-LLaVA checkpoint as a ``TemporalVideoLlava`` directory.

    Every tensor of the original becomes exactly one of ours, bit for bit, or is dropped for a
    reason that the result names; the placeholders get rows of zeros. One weight file is in memory
    at a time. Nothing appears at ``directory`` until all of it is written.

    Args:
        original: config.json, a tokenizer, and the weights as safetensors or pytorch_model*.bin.
        directory: where to; must not exist.
        video_tower: folder of the tower, a CLIP with attention over time: its config.json, and its
            weights if the checkpoint has none. None: the folder that ``mm_video_tower`` names.
        progress: called with (files done, files in all).

    Raises:
        ModelError: ``directory`` exists; a config says something that is not converted; a weight
            file is missing or broken; tensors are missing, left over, or of another shape.
        OSError: the directory cannot be written.
    """
    original, target = Path(original), Path(directory)
    if os.path.lexists(target):
        raise ModelError(f"convert: {str(target)!r} exists; give another directory")
    config = read_config(original)
    check_checkpoint_config(config, original)
    tower = _tower_folder(config, original, video_tower)
    vision = tower_config(read_config(tower), tower)
    check_widths(config, vision, original)
    tokenizer = _tokenizer(original)
    placeholders = {name: tokenizer.convert_tokens_to_ids(name) for name in ("<image>", "<video>")}
    vocabulary = max(config["vocab_size"], len(tokenizer))
    ours = video_llava_config(
        config, vision, vocabulary, placeholders["<image>"], placeholders["<video>"]
    )
    expected = _shapes(ours, original)
    grown = {name: (config["vocab_size"], *expected[name][1:]) for name in _GROWN}
    plan = _plan(original, tower, expected | grown)

    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".intp-video-", dir=target.parent))
    try:
        files = _write_weights(draft, plan, expected, progress)
        write_json(draft / "config.json", ours)
        write_json(draft / "generation_config.json", _generation_config(config, placeholders))
        tokenizer.chat_template = CHAT_TEMPLATE
        tokenizer.save_pretrained(draft)
        write_processors(draft, *_frame_sizes(ours))
        os.chmod(draft, 0o777 & ~_umask())
        os.rename(draft, target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    tensors = sum(map(len, plan.files.values()))
    return Conversion(target, files, tensors, dict(plan.dropped), placeholders)


_GROWN = (names.EMBEDDING, names.HEAD)


def _tower_folder(config: dict[str, Any], original: Path, given: str | os.PathLike | None) -> Path:
    if given is not None:
        return Path(given)
    named = config.get("mm_video_tower")
    if isinstance(named, str):
        for folder in (original / named, Path(named)):
            if folder.is_dir():
                return folder
    raise ModelError(
        f"{original}: mm_video_tower names {named!r}, and there is no such folder: download it, "
        "and give its folder (--video-tower DIR)"
    )


def _tokenizer(original: Path) -> Any:
    """With the placeholders; ids that the checkpoint has stay what they are."""
    from transformers import AddedToken, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(original)
    except Exception as error:  # whatever is wrong with the files: KeyError, TypeError, ...
        raise ModelError(f"{original}: no tokenizer: {in_one_line(error)}") from error
    added = [AddedToken(name, special=True, normalized=False) for name in ("<image>", "<video>")]
    tokenizer.add_tokens(added, special_tokens=True)
    return tokenizer


def _shapes(config: dict[str, Any], original: Path) -> dict[str, tuple[int, ...]]:
    """Every tensor of the converted model."""
    from transformers import VideoLlavaConfig

    from ..models import empty_model

    try:
        model = empty_model(VideoLlavaConfig.from_dict(config))
    except Exception as error:  # a number in a config can lead to anything
        raise ModelError(f"{original}: no model in config.json: {in_one_line(error)}") from error
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _plan(original: Path, tower: Path, expected: Mapping[str, tuple[int, ...]]) -> _Plan:
    """What is read from where.

    Raises:
        ModelError: listing what is missing, left over, there twice, or of another shape.
    """
    plan = _Plan()
    wrong: list[str] = []
    files = weight_files(original)
    if not files:
        raise ModelError(f"{original}: no weights: expected safetensors or pytorch_model*.bin")
    found: dict[str, Path] = {}
    _add(plan, found, wrong, files, expected, names.CHECKPOINT, names.CHECKPOINT_DROPPED)
    if not any(name.startswith(names.TOWER) for name in found):
        files = weight_files(tower)
        if not files:
            raise ModelError(
                f"{original}: no video tower among the weights, and none in {tower} either"
            )
        table = names.TOWER_DIRECTORY, names.TOWER_DIRECTORY_DROPPED
        _add(plan, found, wrong, files, expected, *table)
    wrong += [f"missing: {name}" for name in sorted(expected.keys() - found.keys())]
    if wrong:
        more = f" and {len(wrong) - 20} more" if len(wrong) > 20 else ""
        raise ModelError(f"{original}: {'; '.join(wrong[:20])}{more}")
    return plan


def _add(
    plan: _Plan,
    found: dict[str, Path],
    wrong: list[str],
    files: list[Path],
    expected: Mapping[str, tuple[int, ...]],
    prefixes: Mapping[str, str],
    dropped: Mapping[str, str],
) -> None:
    for path in files:
        wanted = plan.files.setdefault(path, {})
        for name, shape in shapes_in(path).items():
            ours, reason = names.renamed(name, prefixes, dropped)
            if reason is not None:
                plan.dropped[reason] += 1
            elif ours is None or ours not in expected:
                wrong.append(f"left over: {name} in {path.name}")
            elif ours in found:
                wrong.append(f"there twice: {name} in {path.name} and {found[ours].name}")
            elif shape != expected[ours]:
                wrong.append(
                    f"{name}: expected the shape {list(expected[ours])}, got {list(shape)}"
                )
                found[ours] = path
            else:
                found[ours] = path
                wanted[name] = ours


def _write_weights(
    draft: Path,
    plan: _Plan,
    expected: Mapping[str, tuple[int, ...]],
    progress: Progress | None,
) -> list[str]:
    """One of our files for each of the original that has something we want, and their index."""
    from safetensors.torch import save_file

    sources = {path: wanted for path, wanted in plan.files.items() if wanted}
    where: dict[str, str] = {}
    size = 0
    for number, (path, wanted) in enumerate(sources.items(), start=1):
        if progress is not None:
            progress(number - 1, len(sources))
        tensors = {}
        for name, tensor in tensors_in(path):
            if name in wanted:
                ours = wanted[name]
                # a copy: tensors of a pickle may share memory, those of safetensors may not
                tensors[ours] = _with_rows(tensor, expected[ours][0]) if tensor.dim() else tensor
        file = f"model-{number:05d}-of-{len(sources):05d}.safetensors"
        save_file(tensors, draft / file, metadata={"format": "pt"})
        where |= dict.fromkeys(tensors, file)
        size += sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(where.items()))}
    write_json(draft / "model.safetensors.index.json", index)
    if progress is not None:
        progress(len(sources), len(sources))
    return sorted(set(where.values()))


def _with_rows(tensor: torch.Tensor, rows: int) -> torch.Tensor:
    """A contiguous copy with so many rows, the new ones zero."""
    whole = tensor.new_zeros((rows, *tensor.shape[1:]))
    whole[: len(tensor)] = tensor
    return whole


def _generation_config(config: dict[str, Any], placeholders: dict[str, int]) -> dict[str, Any]:
    """The checkpoint has no rows for the placeholders: it could never say them."""
    ids = ("bos_token_id", "eos_token_id", "pad_token_id")
    told = {key: config[key] for key in ids if config.get(key) is not None}
    return told | {"suppress_tokens": sorted(placeholders.values())}


def _frame_sizes(config: dict[str, Any]) -> tuple[int, int]:
    from transformers import VideoLlavaConfig

    vision = VideoLlavaConfig.from_dict(config).vision_config
    return vision.image_size, vision.patch_size


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
