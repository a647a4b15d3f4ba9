"""``extend``: one call lets a Hugging Face Video-LLM watch a long video."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from numbers import Integral
from typing import Any

from transformers import PreTrainedModel

from ..errors import ModelError
from ..models import VideoFamily, family_for
from ..models.family import ASSUMED_SIDE
from ..options import Options
from .handle import Handle, check_options


def extend(
    model: PreTrainedModel,
    frames: int | Options = 64,
    *,
    on_encode: Callable[[int, int], None] | None = None,
    frame_size: tuple[int, int] = (ASSUMED_SIDE, ASSUMED_SIDE),
    **options: Any,
) -> Handle:
    """Let a Video-LLM watch ``frames`` frames, without training, until :meth:`Handle.restore`.

    Call ``model.generate`` and ``model(...)`` as before, with more frames in
    ``pixel_values_videos`` and correspondingly more placeholder tokens
    (:func:`intp_video.prepare` makes both). Works as a context manager too.

    Args:
        model: a Hugging Face Video-LLM, or a PEFT model of one; this instance alone is changed.
        frames: M, the most frames a video will have; or all options, as one :class:`Options`.
        on_encode: called with (groups done, groups in all) while a video is encoded.
        frame_size: height and width of a frame as the encoder gets it, in pixels, which decide the
            default factor of families whose tokens follow them (:meth:`Preparer.frame_size`).
        **options: the other fields of :class:`Options`: ``rope="yarn"``, ``window=8``, ...

    Returns:
        A :class:`Handle`.

    Raises:
        ModelError: the model type is not known, there is no video tower, the model is already
            extended, or its RoPE is already stretched.
        TypeError, ValueError: an option is unknown or out of range; the message names it.

    Source: INTP (Shang et al., arXiv 2409.12963).
    """
    if not is_size(frame_size):
        raise ValueError(
            f"extend: frame_size: expected height and width, at least 1, got {frame_size!r}"
        )
    model, family, chosen = check_extension(model, frames, **options)
    return Handle(model, family, chosen, on_encode, frame_size)


def check_extension(
    model: PreTrainedModel, frames: int | Options, **options: Any
) -> tuple[PreTrainedModel, VideoFamily, Options]:
    """What :func:`extend` refuses by the config and the options, before anything is made: for
    callers with long work before them. Returns the model inside of a PEFT model, its family, and
    the options."""
    if hasattr(model, "get_base_model"):
        model = model.get_base_model()  # PEFT: its layers are inside this model, so extend this
    if getattr(model, "_intp_handle", None) is not None:
        raise ModelError("the model is extended already; call restore() on its handle first")
    family = family_for(getattr(model, "config", None))
    chosen = make_options(frames, **options)
    check_options(family, model.config, chosen)
    return model, family, chosen


def is_size(value: Any) -> bool:
    """Two whole numbers, at least 1."""
    return (
        isinstance(value, tuple | list)
        and len(value) == 2
        and all(isinstance(x, Integral) and not isinstance(x, bool) and int(x) >= 1 for x in value)
    )


def make_options(frames: int | Options, **options: Any) -> Options:
    """As :func:`extend` reads its arguments.

    Raises:
        TypeError, ValueError: see :func:`extend`.
    """
    known = [field.name for field in dataclasses.fields(Options)]
    for name in options:
        if name not in known:
            raise TypeError(f"extend: {name}: expected one of {', '.join(known)}")
    if isinstance(frames, Options):
        return dataclasses.replace(frames, **options)
    return Options(frames=frames, **options)


def _show_options() -> inspect.Signature:
    """The signature that help() shows: every option by its name."""
    own = inspect.signature(extend).parameters
    shown = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type
        )
        for field in dataclasses.fields(Options)
        if field.name != "frames"
    ]
    return inspect.Signature(
        [own["model"], own["frames"], own["on_encode"], own["frame_size"], *shown]
    )


extend.__signature__ = _show_options()  # type: ignore[attr-defined]
