"""RoPE of an extended model: one module in place of ``rotary_emb``, one guard around the rotation
itself."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import intp_ext
from intp_ext.reference import rope_angles

from .errors import ModelError
from .sequence import Sequence


class ExtendedRotaryEmbedding(nn.Module):
    """Stands in for a decoder's ``rotary_emb``: ``(x, position_ids) -> (cos, sin)``, each ``[B, S,
    D_rot]``.

    With ``fused`` it remembers the positions and returns cos and sin of width zero instead: q and k
        then pass
    through ``apply_rotary_pos_emb`` unrotated, and are rotated by one kernel where they are needed
    (keys when they are written to the cache, queries in attention).

    Args:
        rope: frequencies of sequences that bring none of their own.
        factor: s of ``span="visual"``, or None where every token takes unit steps.
        fused: withhold cos and sin wherever our own cache layer and attention function are in use.
        needs_sequence: the whole model must be called, not the decoder alone.
    """

    def __init__(
        self, rope: intp_ext.Rope, factor: float | None, fused: bool, needs_sequence: bool
    ) -> None:
        super().__init__()
        self.register_buffer("inv_freq", rope.inv_freq, persistent=False)
        self.attention_scaling = rope.attention_scaling
        self.factor = factor
        self.fused = fused
        self.needs_sequence = needs_sequence
        self.sequence: Sequence | None = None  # of the pass under way

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], *args: Any) -> nn.Module:
        exact = self.inv_freq
        super()._apply(fn, *args)
        self.inv_freq = exact.to(self.inv_freq.device)  # model.half() must not round frequencies
        return self

    @property
    def rope(self) -> intp_ext.Rope:
        return intp_ext.Rope(self.inv_freq, self.attention_scaling)

    @torch.no_grad()
    def forward(
        self, x: torch.Tensor, position_ids: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        sequence = self.sequence
        if sequence is None:
            if self.needs_sequence:
                raise ModelError(
                    "the language model was called by itself, which does not know where the video "
                    "is; "
                    'call the whole model, or extend it without window, span="visual", '
                    'rope="dynamic_ntk" and rearrange="attention"'
                )
            return self._cos_sin(x, position_ids, self.rope)
        positions = position_ids
        if self.factor is not None:
            positions = sequence.stretch(position_ids, self.factor)
        if self.fused and sequence.own_cache:
            sequence.positions, sequence.withheld = positions, True
            nothing = x.new_empty((*x.shape[:2], 0))
            return nothing, nothing
        if (
            sequence.order is not None
        ):  # the residual stream is in storage order: so are cos and sin
            rows = sequence.order.argsort(dim=-1)
            positions = positions.expand(rows.shape[0], -1).gather(1, rows)
        return self._cos_sin(x, positions, sequence.rope)

    @staticmethod
    def _cos_sin(
        x: torch.Tensor, positions: torch.Tensor, rope: intp_ext.Rope
    ) -> tuple[torch.Tensor, torch.Tensor]:
        angles = rope_angles(positions, rope)  # float32 [B, S, D_rot/2]
        angles = torch.cat((angles, angles), dim=-1)
        scaling = rope.attention_scaling
        return (angles.cos() * scaling).to(x.dtype), (angles.sin() * scaling).to(x.dtype)


_guarded: dict[str, tuple[Callable[..., Any], int]] = {}  # module name -> (original, users)


def guard_rotation(text_model: nn.Module) -> Callable[[], None]:
    """Let ``apply_rotary_pos_emb`` of the model's own module pass q and k through where cos has no
    width.

    transformers calls that function as a module global, so this is the one global that is wrapped:
        once per
    module, identical for every other input, and put back when the last user releases it.

    Returns:
        The function that releases it.
    """
    name = type(text_model).__module__
    module = sys.modules[name]
    original, users = _guarded.get(name, (module.apply_rotary_pos_emb, 0))
    if users == 0:
        module.apply_rotary_pos_emb = _pass_through_without_width(original)
    _guarded[name] = (original, users + 1)

    def release() -> None:
        original, users = _guarded.pop(name)
        if users > 1:
            _guarded[name] = (original, users - 1)
        else:
            module.apply_rotary_pos_emb = original

    return release


def _pass_through_without_width(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def apply_rotary_pos_emb(q, k, cos, sin, *args, **kwargs):
        if cos.shape[-1] == 0:
            return q, k
        return original(q, k, cos, sin, *args, **kwargs)

    return apply_rotary_pos_emb
