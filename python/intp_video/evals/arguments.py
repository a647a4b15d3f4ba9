"""Arguments as a harness hands them over: as strings, or as what it takes them for."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

from ..batch.answerer import VideoAnswerer
from ..options import Options, number

_BOOLS = {"true": True, "false": False}
_REALS = ("factor", "fps")
_OPTIONS = {field.name: field for field in dataclasses.fields(Options)}
# what a task says of each question, and where its videos lie, is not said once for all
_ANSWERER = set(inspect.signature(VideoAnswerer).parameters) - {
    "model",
    "folder",
    "max_new_tokens",
    "options",
}
NAMES = tuple(sorted(_ANSWERER | {"bad_videos", *_OPTIONS}))


def typed(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of :class:`intp_video.evals.asking.Asker`, with the types of :class:`Options`.

    ``window="8"`` and ``window=8`` mean the same, and so do ``kv_bits="2.5"`` and ``2.5``. "None"
    is the default where an option has none, and not ``rope="none"``.

    Raises:
        TypeError: no argument of this name.
        ValueError: a text that is no number, or neither true nor false.

    Example::

        typed({"frames": "64", "fused": "False"})  # {"frames": 64, "fused": False}
    """
    return {name: _typed(name, value) for name, value in given.items()}


def _typed(name: str, value: Any) -> Any:
    if name not in NAMES:
        raise TypeError(f"{name}: expected one of {', '.join(NAMES)}")
    default = _OPTIONS[name].default if name in _OPTIONS else None
    if default is None and (value is None or value == "None"):
        return None
    if isinstance(default, str) or (name not in _OPTIONS and name != "fps"):
        return str(value)
    text = str(value).strip()
    if isinstance(default, bool):
        if text.lower() not in _BOOLS:
            raise ValueError(f"{name}: expected true or false, got {value!r}")
        return _BOOLS[text.lower()]
    try:
        found = number(text)
    except ValueError:
        raise ValueError(f"{name}: expected a number, got {value!r}") from None
    # 16.0, as some harnesses write 16
    return int(found) if name not in _REALS and float(found).is_integer() else found
