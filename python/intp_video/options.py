"""The options of :func:`intp_video.extend`, each defined once here with its choices."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from .sampling import check_frames

# Written out, as the command line shows them before torch is imported. tests/hf/test_options.py
# holds them to what the operators take.
ROPE_KINDS = ("none", "linear", "ntk", "dynamic_ntk", "yarn")
GROUPINGS = ("interleaved", "contiguous")
KV_BITS = (2, 2.5, 3, 4, 8, 16)
KV_ROTATE = ("on_write", "on_read")

DTYPES = ("float32", "bfloat16", "float16")
"""Of weights and caches: those that the kernels take, by torch's names."""

LOAD_IN = ("4bit", "8bit")
"""Widths in which weights can be loaded, by a library of others."""

SPANS = ("all", "visual")
POSITIONS = ("stock", "after")
ROUTES = ("features", "attention")


def _option(
    default: Any,
    told: str,
    *,
    choices: tuple[Any, ...] | None = None,
    least: int | None = None,
    unit: str | None = None,
) -> Any:
    """A field of :class:`Options`.

    Args:
        default: None where the option may be left out.
        told: what it is, for ``--help``; of a switch, what turning it off does.
        choices: all its values, or None for any.
        least: of an int.
        unit: what a number counts, for ``--help``.
    """
    facts = {"told": told, "choices": choices, "least": least, "unit": unit}
    return dataclasses.field(default=default, metadata=facts)


@dataclass(frozen=True)
class Options:
    """How a Video-LLM is extended.

    Attributes:
        frames: M, the most frames a video will have; rounded up to whole groups of N, or to whole
            units of time (a frame, or the two frames of a patch) where groups bound memory alone.
        rope: how RoPE is stretched: "none", "linear", "ntk", "dynamic_ntk" or "yarn"
            (:func:`intp_ext.rope_frequencies`). docs/method.md says why "yarn".
        factor: s, at least 1; None for what the positions of the frames and of some text need
            (docs/method.md).
            dynamic_ntk takes its stretch from the length of each sequence, and 1 by default.
        span: "all" stretches every position; "visual" stretches only the video's, and text keeps
            unit steps (rope="linear" only).
        positions: "stock" lets text go on after a video where transformers does; "after" lets it go
            on after the last frame, which releases from 5.3 on do not do for Qwen2-VL and
            Qwen2.5-VL (docs/models.md).
        window: units of time (frames, or the two frames of a patch) a visual token attends to, its
            own included; None for all. Text after the video attends to everything.
        sink: first tokens of the row that every token attends to besides its window; None for as
            many as one frame has.
        grouping: which frames one call of the encoder sees: "interleaved" (spread over the video)
            or "contiguous".
        rearrange: where tokens are brought into time order: "features" (once, on the encoder's
            output) or "attention" (the residual stream stays in encoder order; every layer attends
            in time order). Same result.
        fused: rotate keys when they are written to the cache and queries in attention, by our
            kernels; False: transformers' own ``apply_rotary_pos_emb``. Same result up to rounding.
        kv_bits: bits of a cached key or value. 16 keeps the dtype of the model, in memory that
            grows in steps; 8, 4, 3, 2.5 and 2 are stored and read packed
            (:class:`intp_ext.KVCache`). docs/kv_cache.md says which to choose.
        kv_rotate: "on_write" rotates keys once; "on_read" caches them unrotated, so that positions
            can change later, and rotates them at every read.
        frames_per_group: N, in whole units of time; None for what the encoder was trained on, or 8
            where groups bound memory alone.
        groups_per_chunk: groups encoded at once: more is faster on a GPU and takes more memory.

    Raises:
        TypeError, ValueError: a value has the wrong type or is out of range; the message names it.
    """

    frames: int = _option(64, "frames to show; rounded up to whole groups", least=1, unit="M")
    rope: str = _option("yarn", "how positions are stretched", choices=ROPE_KINDS)
    factor: float | None = _option(
        None, "how far, at least 1 (default: just enough for the frames and some text)", unit="S"
    )
    span: str = _option(
        "all",
        "stretch every position, or the video's alone, with rope linear",
        choices=SPANS,
    )
    positions: str = _option(
        "stock",
        "where text goes on after a video, in Qwen2-VL and Qwen2.5-VL: as transformers has it, or "
        "after the last frame",
        choices=POSITIONS,
    )
    window: int | None = _option(
        None,
        "frames that a visual token attends to; the question sees all (default: all)",
        least=1,
        unit="W",
    )
    sink: int | None = _option(
        None,
        "first tokens that everything attends to besides the window (default: one frame's)",
        least=0,
        unit="TOKENS",
    )
    grouping: str = _option(
        "interleaved",
        "which frames are encoded together: every m-th, or N in a row",
        choices=GROUPINGS,
    )
    rearrange: str = _option(
        "features",
        "where tokens are brought into time order; the result is the same",
        choices=ROUTES,
    )
    fused: bool = _option(True, "rotate by transformers' own function, not by our kernels")
    kv_bits: float = _option(
        16,
        "bits of a cached key or value, scales not counted; 16 keeps the model's dtype, and of "
        "fewer 4 is the first choice",
        choices=KV_BITS,
    )
    kv_rotate: str = _option(
        "on_write", "keys are rotated once, or at every reading", choices=KV_ROTATE
    )
    frames_per_group: int | None = _option(
        None, "frames encoded together (default: what the encoder was trained on)", least=1
    )
    groups_per_chunk: int = _option(1, "groups encoded at once", least=1)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            self._check(field)
        if self.span == "visual" and self.rope != "linear":
            raise ValueError(f'extend: span: "visual" needs rope="linear", got rope={self.rope!r}')
        if self.rope == "none" and self.factor not in (None, 1, 1.0):
            raise ValueError(f'extend: factor: expected None for rope="none", got {self.factor}')
        if self.sink is not None and self.window is None:
            raise ValueError("extend: sink: expected with a window only, got window=None")
        if self.kv_rotate == "on_read" and not self.fused:
            raise ValueError('extend: kv_rotate: "on_read" needs fused=True')

    def _check(self, field: dataclasses.Field) -> None:
        name, value = field.name, getattr(self, field.name)
        choices, least = field.metadata["choices"], field.metadata["least"]
        if value is None and field.default is None:
            return
        if name == "factor":
            check_factor(value, function="extend")
        elif name == "fused":
            if not isinstance(value, bool):
                raise TypeError(f"extend: fused: expected True or False, got {value!r}")
        elif choices is not None:
            if not any(type(value) is type(x) and value == x for x in choices):
                known = ", ".join(str(x) for x in choices)
                raise ValueError(f"extend: {name}: expected one of {known}, got {value!r}")
        else:
            value = check_frames(value, function="extend", name=name, least=least)
            object.__setattr__(self, name, value)  # numpy's integers become ints

    @property
    def packed(self) -> bool:
        """Whether the cache is read by our attention function alone."""
        return self.kv_bits != 16 or self.kv_rotate == "on_read"


def number(text: str) -> float:
    """A choice of widths as it is typed: an int where it is written as one."""
    try:
        return int(text)
    except ValueError:
        return float(text)


def check_factor(factor: Any, *, function: str) -> None:
    """Say what is wrong with a scaling factor.

    Raises:
        TypeError: not a number.
        ValueError: below 1, infinite or NaN.
    """
    if isinstance(factor, bool) or not isinstance(factor, int | float):
        raise TypeError(f"{function}: factor: expected a number, got {type(factor).__name__}")
    if not (math.isfinite(factor) and factor >= 1):
        raise ValueError(
            f"{function}: factor: expected a finite number of at least 1, got {factor}"
        )
