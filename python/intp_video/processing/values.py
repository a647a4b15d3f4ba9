"""Values of a checkpoint's preprocessor: where they are read, and how they are checked."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ModelError

_VIDEO, _IMAGE = "video_preprocessor_config.json", "preprocessor_config.json"
_PROCESSOR = "processor_config.json"
_PLACES = (  # file and entry, in the order in which transformers 5 prefers them
    (_PROCESSOR, "video_processor"),
    (_VIDEO, None),
    (_IMAGE, None),
    (_PROCESSOR, "image_processor"),
    (_PROCESSOR, None),
)
_TEMPLATE, _OLD_TEMPLATE = "chat_template.jinja", "chat_template.json"


def read_values(directory: str | Path) -> tuple[dict[str, Any], str]:
    """The first values with image statistics, and the file they stand in.

    Raises:
        ModelError: no file has them, or a file before that is no JSON object.
    """
    for name, entry in _PLACES:
        path = Path(directory) / name
        if not path.is_file():
            continue
        values = _read_object(path)
        found = values.get(entry) if entry else values
        if isinstance(found, dict) and "image_mean" in found:
            return found, str(path)
    raise ModelError(
        f"{directory}: expected one of {_VIDEO}, {_IMAGE}, {_PROCESSOR} with image_mean, found none"
    )


def read_chat_template(directory: str | Path) -> str | None:
    """The chat template that only a processor reads; None if there is none beside the tokenizer's.

    Raises:
        ModelError: the file is no JSON object with a template.
    """
    path = Path(directory) / _OLD_TEMPLATE
    if not path.is_file() or (Path(directory) / _TEMPLATE).is_file():
        return None
    template = _read_object(path).get("chat_template")
    if not isinstance(template, str):
        raise wrong(str(path), "chat_template", "a string", template)
    return template


def _read_object(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path}: expected a JSON object, got {type(values).__name__}")
    return values


def sides(values: Mapping[str, Any], name: str, source: str) -> dict[str, int]:
    """Pixels by the name of the side; a number alone is the shortest edge."""
    given: Any = values.get(name)
    try:
        found = {"shortest_edge": given} if is_number(given) else dict(given)  # or a SizeDict
    except (TypeError, ValueError):
        found = {}
    found = {side: pixels for side, pixels in found.items() if pixels is not None}
    if not found:
        raise wrong(source, name, "pixels by side", given)
    for pixels in found.values():
        if not is_number(pixels) or pixels != int(pixels) or pixels < 1:
            raise wrong(source, name, "whole pixels, at least 1", given)
    return {side: int(pixels) for side, pixels in found.items()}


def channels(
    values: Mapping[str, Any], name: str, source: str, least: float = -math.inf
) -> tuple[float, float, float]:
    """A number for each of red, green and blue."""
    given = values.get(name)
    if (
        not isinstance(given, list | tuple)
        or len(given) != 3
        or not all(is_number(value) and value >= least for value in given)
    ):
        above = " above 0" if least > 0 else ""
        raise wrong(source, name, f"three numbers{above}", given)
    red, green, blue = map(float, given)
    return red, green, blue


def whole(values: Mapping[str, Any], name: str, source: str) -> int:
    """A whole number, at least 1."""
    given: Any = values.get(name)
    if not is_number(given) or given != int(given) or given < 1:
        raise wrong(source, name, "a whole number, at least 1", given)
    return int(given)


def expect(values: Mapping[str, Any], name: str, value: Any, source: str) -> None:
    """Refuse a setting that would change the pixels and is not built."""
    if values.get(name, value) not in (value, None):
        raise wrong(source, name, repr(value), values[name])


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def wrong(source: str, name: str, expected: str, got: Any) -> ModelError:
    return ModelError(
        f"{source}: no complete preprocessor values: {name}: expected {expected}, got {got!r}"
    )
