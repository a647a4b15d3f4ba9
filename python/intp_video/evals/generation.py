"""How a task wants an answer to be generated."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

DEFAULT_MAX_NEW_TOKENS = 64


def limits(wanted: Mapping[str, Any]) -> tuple[int, tuple[str, ...]]:
    """The most tokens of an answer, and the texts before which it ends.

    Answers are greedy. What says nothing about how tokens are chosen, such as ``top_p`` beside
    ``do_sample=False`` or the ``image_aspect_ratio`` of another model, changes nothing.

    Raises:
        ValueError: the task asks for samples or beams, or its numbers are out of range.
    """
    if wanted.get("do_sample") or wanted.get("temperature") or (wanted.get("num_beams") or 1) != 1:
        chosen = {
            name: wanted[name]
            for name in ("do_sample", "temperature", "num_beams")
            if wanted.get(name) is not None
        }
        raise ValueError(
            "generation_kwargs: expected a greedy answer (do_sample=False, temperature=0, "
            f"num_beams=1), got {chosen}"
        )
    until = wanted.get("until") or ()
    texts = (until,) if isinstance(until, str) else until
    if not isinstance(texts, list | tuple) or not all(
        x is None or isinstance(x, str) for x in texts
    ):
        raise ValueError(f"generation_kwargs: until: expected texts, got {until!r}")
    return _tokens(wanted.get("max_new_tokens")), tuple(text for text in texts if text)


def _tokens(wanted: Any) -> int:
    if wanted is None:
        return DEFAULT_MAX_NEW_TOKENS
    if not isinstance(wanted, bool):
        with suppress(ValueError, TypeError, OverflowError):
            tokens = int(wanted)
            if tokens >= 1 and float(wanted) == tokens:
                return tokens
    raise ValueError(
        f"generation_kwargs: max_new_tokens: expected a whole number, at least 1, got {wanted!r}"
    )
