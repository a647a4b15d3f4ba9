"""RoPE of an extended model: a module that replaces ``rotary_emb``, and a guard of the rotation."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

import intp_ext
from intp_ext.reference import rope_angles

from ..errors import ModelError
from .passes import CURRENT, DecoderState, broken, pass_of


class ExtendedRotaryEmbedding(nn.Module):
    """Replaces a decoder's ``rotary_emb``: ``(x, position_ids) -> (cos, sin) [B, S, D_rot]``.

    With ``fused`` it leaves the positions to the pass and returns cos and sin of width zero
    instead: q and k then go through ``apply_rotary_pos_emb`` unrotated, and are rotated by one
    kernel where they are needed (keys when they are written to the cache, queries in attention).

    Args:
        rope: frequencies of sequences that have none of their own.
        fused: withhold cos and sin wherever our own cache layer and attention function are in use.
        decoder: the decoder that it is part of.
    """

    inv_freq: torch.Tensor

    def __init__(self, rope: intp_ext.Rope, fused: bool, decoder: DecoderState) -> None:
        super().__init__()
        self.register_buffer("inv_freq", rope.inv_freq, persistent=False)
        self.attention_scaling = rope.attention_scaling
        self.fused = fused
        self.decoder = decoder

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
        now = CURRENT.now
        if now is None or now.decoder is not self.decoder:
            if self.decoder.needs_sequence:
                raise ModelError(
                    "the language model was called by itself, which does not know where the video "
                    'is; call the whole model, or extend it without window, span="visual", '
                    'rope="dynamic_ntk" and rearrange="attention"'
                )
            return cos_sin(x, position_ids, self.rope)
        now.saw_rotary()
        sequence = now.sequence
        positions = sequence.stretch(position_ids)
        if self.fused and sequence.own_cache:
            now.positions, now.withheld = positions, True
            nothing = x.new_empty((*x.shape[:2], 0))
            now.remember_in(nothing)
            return nothing, nothing
        if now.order is not None:  # the residual stream is in storage order: so are cos and sin
            assert now.inverse is not None
            rows = now.inverse.long()
            positions = positions.expand(rows.shape[0], -1).gather(1, rows)
        return cos_sin(x, positions, sequence.rope)


def cos_sin(
    x: torch.Tensor, positions: torch.Tensor, rope: intp_ext.Rope
) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin ``[B, S, D_rot]`` in the dtype of x, for rotate-half: the angles twice."""
    angles = rope_angles(positions, rope)  # float32 [B, S, D_rot/2]
    angles = torch.cat((angles, angles), dim=-1)
    scaling = rope.attention_scaling
    return (angles.cos() * scaling).to(x.dtype), (angles.sin() * scaling).to(x.dtype)


_guarded: dict[str, tuple[Callable[..., Any], int]] = {}  # module name -> (original, users)
_lock = threading.Lock()


def guard_rotation(text_model: PreTrainedModel) -> Callable[[], None]:
    """Let the model module's ``apply_rotary_pos_emb`` pass q and k through if cos has width zero.

    transformers calls that function as a module global, so this is the only global that is wrapped:
    once per module, unchanged for every other input, and restored when the last user releases it.

    Returns:
        The function that releases it.
    """
    name = type(text_model).__module__
    module: Any = sys.modules[name]
    with _lock:
        original, users = _guarded.get(name, (module.apply_rotary_pos_emb, 0))
        if users == 0:
            module.apply_rotary_pos_emb = _pass_through_without_width(original)
        _guarded[name] = (original, users + 1)

    def release() -> None:
        with _lock:
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
            now = pass_of(cos)
            if now is None:
                raise broken("a layer was called after its pass was over, with fused RoPE")
            now.saw_rotation(q, k)
            return q, k
        return original(q, k, cos, sin, *args, **kwargs)

    return apply_rotary_pos_emb


def rotation_function(text_model: PreTrainedModel) -> Callable[..., Any]:
    """The rotation ``(q, k, cos, sin, ...) -> (q, k)`` of a decoder's own module."""
    return sys.modules[type(text_model).__module__].apply_rotary_pos_emb


def check_rotary(text_model: PreTrainedModel, fused: bool) -> None:
    """Compare a decoder's angles, and with ``fused`` its rotation, with ours, once, on a few rows.

    Raises:
        ModelError: it does something other than rotate-half over one set of frequencies.
    """
    own = text_model.rotary_emb
    others = [
        name
        for name, _ in text_model.named_buffers()
        if name.endswith("inv_freq")
        and name not in ("rotary_emb.inv_freq", "rotary_emb.original_inv_freq")
    ]
    if others or not hasattr(own, "inv_freq"):
        raise ModelError(
            f"{type(text_model).__name__} has frequencies of several kinds "
            f"({', '.join(others) or type(own).__name__}); one rotary_emb.inv_freq can be extended"
        )
    if own.inv_freq.is_meta:
        return
    if getattr(own, "rope_type", "default") in ("dynamic", "longrope"):
        raise ModelError(
            f"the frequencies of the model change with the length of the sequence (rope_type "
            f"{own.rope_type!r}): such a model cannot be extended"
        )
    rope = intp_ext.Rope(own.inv_freq.detach().float(), float(own.attention_scaling))
    positions = torch.arange(3, device=rope.inv_freq.device)[None]  # [1, S]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 1, 3, _head_dim(text_model, rope), generator=generator)  # [B, H, S, D]
    x = x.to(rope.inv_freq.device)
    with torch.no_grad():
        stock = own(x, positions)
        ours = cos_sin(x, positions, rope)
        if not all(_equal(a, b) for a, b in zip(stock, ours, strict=True)):
            raise ModelError(
                f"{type(own).__name__} gives angles in another layout than rotate-half takes: such "
                "a model cannot be extended yet"
            )
        if fused:
            expected = intp_ext.apply_rope(None, x, positions, rope)[1]
            if not _equal(_rotated(text_model, x, stock), expected):
                raise ModelError(
                    f"{type(text_model).__name__} does not rotate halves (rotate_half), which the "
                    "fused kernels do; extend with fused=False"
                )


def _rotated(
    text_model: PreTrainedModel, x: torch.Tensor, angles: tuple[torch.Tensor, torch.Tensor]
) -> torch.Tensor | None:
    """x as the model's own module rotates keys; None where it takes another width, or no keys."""
    try:
        return rotation_function(text_model)(x, x, *angles)[1]
    except (AttributeError, RuntimeError, TypeError):
        return None


def _equal(a: torch.Tensor | None, b: torch.Tensor) -> bool:
    return a is not None and a.shape == b.shape and bool((a - b).abs().max() < 1e-4)


def _head_dim(text_model: PreTrainedModel, rope: intp_ext.Rope) -> int:
    config = text_model.config
    own = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return max(own, rope.rotary_dim)
