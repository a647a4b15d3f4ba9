"""Which keys a query sees, read from a mask function of transformers.

transformers composes mask functions of closures. A rule is recognised by the code objects of these
closures and by what they close over, never by calling them: a function that is not known is not
guessed at. The composition is the same in all supported releases.

torch.compile cannot look into a closure that is made in the graph. There, plain causal attention
alone is recognised.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType
from typing import Any

import torch
from transformers.masking_utils import (
    and_masks,
    causal_mask_function,
    chunked_overlay,
    packed_sequence_mask_function,
    sliding_window_overlay,
)

import intp_ext


@dataclass(frozen=True)
class Rule:
    """Causal attention within the window; None: all of it. ``block_start`` counts all tokens, from
    the first one of the sequence."""

    window: intp_ext.Window | None

    @property
    def slides(self) -> bool:
        """Whether each query sees so many keys before it, wherever it stands."""
        return self.window is not None and self.window.block == 1

    def seen_from(self, kv_offset: int) -> intp_ext.Window | None:
        """The window where keys are counted from ``kv_offset`` on."""
        if self.window is None or self.slides:
            return self.window
        start = self.window.block_start - kv_offset
        return intp_ext.Window(self.window.size, self.window.block, start)


CAUSAL = Rule(None)

_NOTHING = torch.zeros(1, dtype=torch.int32)
_AND: CodeType = and_masks(causal_mask_function).__code__
_SLIDING: CodeType = sliding_window_overlay(1).__code__
_CHUNKED: CodeType = chunked_overlay(1, _NOTHING).__code__
_PACKED: CodeType = packed_sequence_mask_function(_NOTHING).__code__


def rule_of(mask_function: Callable[..., Any]) -> Rule | None:
    """What a mask function of transformers means; None: something that is not known here.

    ``causal_mask_function``
        causal
    ``and_masks(sliding_window_overlay(W), causal_mask_function)``
        causal, ``i - j < W``
    ``and_masks(chunked_overlay(C, left_padding), causal_mask_function)``
        causal, within the chunk of C tokens, counted from the first token that is not padding
    ``and_masks(any of these, packed_sequence_mask_function(zeros))``
        the same: nothing is packed. 4.57 adds it to every mask of a pass without cache and
        padding mask: ``test_no_mask_and_no_cache``
    """
    if mask_function is causal_mask_function:
        return CAUSAL
    if _code(mask_function) is not _AND or torch.compiler.is_compiling():
        return None
    parts = _closure(mask_function)["mask_functions"]
    if len(parts) != 2:
        return None
    first, second = parts
    if _code(second) is _PACKED:
        packed = _closure(second)["packed_sequence_mask"]
        return None if bool(packed.any()) else rule_of(first)
    return _windowed(first) if second is causal_mask_function else None


def _windowed(overlay: Callable[..., Any]) -> Rule | None:
    code = _code(overlay)
    if code is _SLIDING:
        return Rule(intp_ext.Window(_closure(overlay)["sliding_window"]))
    if code is _CHUNKED:
        cells = _closure(overlay)
        start = cells["left_padding"].to(torch.int32)
        return Rule(intp_ext.Window(1, cells["chunk_size"], start))
    return None


def _code(function: Callable[..., Any]) -> CodeType | None:
    return getattr(function, "__code__", None)


def _closure(function: Any) -> dict[str, Any]:
    cells = (cell.cell_contents for cell in function.__closure__ or ())
    return dict(zip(function.__code__.co_freevars, cells, strict=True))
