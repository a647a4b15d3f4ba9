"""RoPE of an extended model: a module that replaces ``rotary_emb``, and a guard of the rotation."""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

import intp_ext

from .. import compat
from ..errors import ModelError
from ..models import VideoFamily
from .passes import CURRENT, DecoderState, broken, pass_of


class ExtendedRotaryEmbedding(nn.Module):
    """Replaces a decoder's ``rotary_emb``: ``(x, position_ids) -> (cos, sin) [..., B, S, D_rot]``.

    With ``fused`` it leaves the positions to the pass and returns cos and sin of width zero
    instead: q and k then go through ``apply_rotary_pos_emb`` unrotated, and are rotated by one
    kernel where they are needed (keys when they are written to the cache, queries in attention).
    Otherwise the model's own module answers, with the frequencies of the sequence.

    Args:
        own: the decoder's ``rotary_emb``.
        rope: frequencies of sequences that have none of their own.
        fused: withhold cos and sin wherever our own cache layer and attention function are in use.
        decoder: the decoder that it is part of.
    """

    inv_freq: torch.Tensor

    def __init__(
        self, own: nn.Module, rope: intp_ext.Rope, fused: bool, decoder: DecoderState
    ) -> None:
        super().__init__()
        self.register_buffer("inv_freq", rope.inv_freq, persistent=False)
        self.attention_scaling = rope.attention_scaling
        self.sections, self.interleaved = rope.sections, rope.interleaved_sections
        self.fused = fused
        self.decoder = decoder
        self._own = [own]  # not a submodule: its buffers are not a part of the extended model
        self._twins: list[tuple[torch.Tensor, nn.Module]] = []

    def __getattr__(self, name: str) -> Any:
        """What else a release of transformers asks of its own module."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            own = self.__dict__.get("_own")
            if own is None or name.startswith("__"):
                raise
            return getattr(own[0], name)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], *args: Any) -> nn.Module:
        exact = self.inv_freq
        super()._apply(fn, *args)
        self.inv_freq = exact.to(self.inv_freq.device)  # model.half() must not round frequencies
        return self

    @property
    def rope(self) -> intp_ext.Rope:
        return intp_ext.Rope(self.inv_freq, self.attention_scaling, self.sections, self.interleaved)

    @torch.no_grad()
    def forward(
        self, x: torch.Tensor, position_ids: torch.Tensor, *layer_type: str
    ) -> tuple[torch.Tensor, torch.Tensor]:
        now = CURRENT.now
        if now is None or now.decoder is not self.decoder:
            if self.decoder.needs_sequence:
                raise ModelError(
                    "the language model was called by itself, which does not know where the video "
                    'is; call the whole model, or extend it without window, span="visual", '
                    'rope="dynamic_ntk" and rearrange="attention"'
                )
            return self.twin(self.rope)(x, position_ids, *layer_type)
        now.saw_rotary()
        sequence = now.sequence
        positions = now.see_positions(position_ids)
        if self.fused and sequence.own_cache:
            now.positions, now.withheld = positions, True
            nothing = x.new_empty((*x.shape[:2], 0))
            now.remember_in(nothing)
            return nothing, nothing
        if now.order is not None:  # the residual stream is in storage order: so are cos and sin
            assert now.inverse is not None
            rows = now.inverse.long()
            positions = positions.expand(rows.shape[0], -1).gather(1, rows)
        if layer_type not in ((), ("full_attention",)):
            positions = position_ids  # layers that slide stay as trained
        return self.twin(sequence.rope)(x, positions, *layer_type)

    def twin(self, rope: intp_ext.Rope) -> nn.Module:
        """The model's own module with other frequencies; made before a graph is compiled."""
        for inv_freq, twin in self._twins:
            if inv_freq is rope.inv_freq:
                return twin
        twin = with_frequencies(self._own[0], rope)
        self._twins = [*self._twins[-3:], (rope.inv_freq, twin)]
        return twin


def with_frequencies(rotary: nn.Module, rope: intp_ext.Rope) -> nn.Module:
    """A copy of a decoder's rotary embedding that has the frequencies of ``rope``; the sections of
    M-RoPE, pairs, partial rotations and layers that slide stay its own business."""
    twin, kind = copy.copy(rotary), _kind(rotary)
    vars(twin).pop("forward", None)  # of accelerate, which would call the module it was made for
    twin._buffers = {**rotary._buffers, f"{kind}inv_freq": rope.inv_freq}
    setattr(twin, f"{kind}attention_scaling", rope.attention_scaling)
    return twin


def frequencies_of(rotary: Any) -> torch.Tensor:
    """Those that may be stretched, float32 ``[D_rot/2]``."""
    return getattr(rotary, f"{_kind(rotary)}inv_freq")


def rope_type_of(rotary: Any) -> str:
    """The rule by which they were made."""
    kind = getattr(rotary, "rope_type", "default")
    return kind["full_attention"] if isinstance(kind, dict) else kind


def _kind(rotary: Any) -> str:
    """What stands before the names of a set of frequencies, where each type of layer has its own:
    that of the layers that see everything."""
    return "full_attention_" if hasattr(rotary, "full_attention_inv_freq") else ""


ROTATIONS = ("apply_rotary_pos_emb", "apply_multimodal_rotary_pos_emb")
"""The names of the rotation in the module of a decoder: the second has M-RoPE up to 5.15."""


@dataclasses.dataclass
class _Guard:
    """A wrapped global of transformers, and who needs it wrapped."""

    original: Callable[..., Any]
    users: set[object] = dataclasses.field(default_factory=set)


_guards: dict[tuple[str, str], _Guard] = {}
_lock = threading.RLock()  # a collection of garbage may release a model in the middle of a guard


def guard_rotation(text_model: PreTrainedModel) -> Callable[[], None]:
    """Let the rotation of the model's module pass q and k through if cos has width zero.

    transformers calls that function as a module global, so these are the only globals that are
    wrapped: once per module, unchanged for every other input, and restored when the last user
    releases them or was collected.

    Returns:
        The function that releases them.
    """
    home = type(text_model).__module__
    module: Any = sys.modules[home]
    names = [name for name in ROTATIONS if hasattr(module, name)]
    user = object()

    def release() -> None:
        with _lock:
            for name in names:
                guard = _guards[home, name]
                guard.users.discard(user)
                if not guard.users:
                    setattr(module, name, guard.original)

    with _lock:
        for name in names:
            present = getattr(module, name)
            guard = _guards.setdefault((home, name), _Guard(present))
            if not guard.users:
                guard.original = present
            guard.users.add(user)  # before it is wrapped: a release in between must not undo it
            if getattr(module, name) is guard.original:
                setattr(module, name, _pass_through_without_width(guard.original))
    collected = weakref.finalize(text_model, release)
    collected.atexit = False
    return collected


def _pass_through_without_width(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def rotation(q, k, cos, sin, *args, **kwargs):
        if cos.shape[-1] == 0:
            now = pass_of(cos)
            if now is None:
                raise broken("a layer was called after its pass was over, with fused RoPE")
            now.saw_rotation(q, k)
            return q, k
        return original(q, k, cos, sin, *args, **kwargs)

    return rotation


def rotation_function(text_model: PreTrainedModel) -> Callable[..., Any]:
    """The rotation ``(q, k, cos, sin) -> (q, k)`` of a decoder's own module."""
    module = sys.modules[type(text_model).__module__]
    if not hasattr(module, ROTATIONS[1]):
        return getattr(module, ROTATIONS[0])
    sections = compat.mrope_section(text_model)
    return functools.partial(getattr(module, ROTATIONS[1]), mrope_section=list(sections or ()))


def trained_rope(text_model: PreTrainedModel, family: VideoFamily) -> intp_ext.Rope:
    """The frequencies of a decoder as it was trained, and the sections of its M-RoPE."""
    own: Any = text_model.rotary_emb
    inv_freq = frequencies_of(own).detach().float()
    scaling = float(getattr(own, f"{_kind(own)}attention_scaling"))
    if family.mrope is None:
        return intp_ext.Rope(inv_freq, scaling)
    sections = compat.mrope_section(text_model)
    if sections is None:
        raise ModelError(
            f"{type(text_model).__name__} has no mrope_section, which the M-RoPE of "
            f"{family.model_type} takes"
        )
    return intp_ext.Rope(inv_freq, scaling, tuple(sections), family.mrope == "interleaved")


def check_rotary(text_model: PreTrainedModel, family: VideoFamily, fused: bool) -> None:
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
        and not (family.rope_by_layer and name.startswith("rotary_emb."))
        and _is_asked(text_model, name)
    ]
    if others or (not hasattr(own, "inv_freq") and not family.rope_by_layer):
        raise ModelError(
            f"{type(text_model).__name__} has frequencies of several kinds "
            f"({', '.join(others) or type(own).__name__}); one rotary_emb.inv_freq can be extended"
        )
    if frequencies_of(own).is_meta:
        return
    if (rope_type := rope_type_of(own)) in ("dynamic", "longrope"):
        raise ModelError(
            f"the frequencies of the model change with the length of the sequence (rope_type "
            f"{rope_type!r}): such a model cannot be extended"
        )
    if not fused:
        return
    rope = trained_rope(text_model, family)
    device = rope.inv_freq.device
    positions = torch.arange(3, device=device)[None]  # [1, S]
    if rope.sections is not None:  # [3, 1, S], each axis with its own
        positions = torch.stack((positions, 2 * positions + 1, 5 - positions))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 1, 3, _head_dim(text_model, rope), generator=generator)  # [B, H, S, D]
    x = x.to(device)
    with torch.no_grad():
        stock = _rotated(text_model, x, own(x, positions))
        expected = intp_ext.apply_rope(None, x, positions, rope)[1]
        if stock is None or stock.shape != expected.shape or _difference(stock, expected) > 1e-4:
            raise ModelError(
                f"{type(text_model).__name__} does not rotate as the fused kernels do "
                "(rotate_half, angles twice); extend with fused=False"
            )


def _is_asked(text_model: PreTrainedModel, buffer: str) -> bool:
    """Whether the layer that owns a rotary embedding names it in its ``forward``: the attention of
    Qwen2-VL has one in 4.57 that nobody asks."""
    path = buffer.split(".")[:-2]
    owner = text_model.get_submodule(".".join(path))
    return buffer.split(".")[-2] in inspect.unwrap(type(owner).forward).__code__.co_names


def _rotated(
    text_model: PreTrainedModel, x: torch.Tensor, angles: tuple[torch.Tensor, torch.Tensor]
) -> torch.Tensor | None:
    """x as the model's own module rotates keys; None where it takes another width, or no keys."""
    try:
        return rotation_function(text_model)(x, x, *angles)[1]
    except (AttributeError, RuntimeError, TypeError, ValueError):
        return None


def _difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max())


def _head_dim(text_model: PreTrainedModel, rope: intp_ext.Rope) -> int:
    config = text_model.config
    own = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return max(own, rope.rotary_dim)
