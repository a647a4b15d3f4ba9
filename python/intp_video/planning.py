"""What a long video will cost, before any weights are loaded."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import intp_ext

from .decoder_layers import cached_windows, recurrent_layers
from .model_source import load_config
from .models import empty_model, family_for
from .models.family import ASSUMED_SIDE
from .options import KV_BITS
from .sampling import check_frames, round_up_to_groups

TEXT_RESERVE = 256
"""Tokens set aside for the prompt around the video and for the answer, at most."""


@dataclass(frozen=True)
class Plan:
    """Sizes in tokens and bytes; ``peak_bytes`` is an estimate, the rest is exact.

    Attributes:
        model_type: as in config.json.
        frames: M, rounded up to what the encoder takes at once.
        frames_per_group: N, frames encoded together.
        groups: m = M / N, rounded up.
        tokens_per_frame: visual tokens of the video for each frame.
        visual_tokens: of the whole video.
        total_tokens: visual tokens, text between frames, and room for other text
            (:func:`text_reserve`).
        positions: RoPE positions that all of that takes: as many as tokens, and far fewer with
            M-RoPE, where the patches of a frame share one step of time.
        trained_context: L0, positions the language model was trained on.
        factor: ``max(1, positions / L0)``: how far RoPE is stretched; ``max(1, window / L0)`` where
            all layers with RoPE see a sliding window.
        weight_bytes: all parameters in ``dtype``.
        kv_bytes: keys and values of every layer for all tokens, in ``dtype``, or packed to fewer
            ``kv_bits``, with scales, zeros, positions and the tokens that stay exact; of a layer
            with a sliding window, for its last tokens, in ``dtype``. Without the states of
            recurrent layers, whose size does not follow the tokens.
        kv_bits: as given.
        peak_bytes: weights, KV cache, pixels, features and the widest activations of one layer;
            tensors alone, without the process around them.
        dtype: of weights and cache.
    """

    model_type: str
    frames: int
    frames_per_group: int
    groups: int
    tokens_per_frame: float
    visual_tokens: int
    total_tokens: int
    positions: int
    trained_context: int
    factor: float
    weight_bytes: int
    kv_bytes: int
    peak_bytes: int
    dtype: str
    kv_bits: float = 16

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        kept = self.dtype if self.kv_bits == 16 else f"{self.kv_bits} bits, everything counted"
        rows = (
            ("model", self.model_type),
            ("frames", f"{self.frames} in {self.groups} groups of {self.frames_per_group}"),
            ("visual tokens", f"{self.visual_tokens:,} ({self.tokens_per_frame:g} a frame)"),
            ("context", f"{self.total_tokens:,} tokens"),
            ("positions", f"{self.positions:,}; trained on {self.trained_context:,}"),
            ("RoPE factor", f"{self.factor:.3f}"),
            ("weights", f"{told_bytes(self.weight_bytes)} ({self.dtype})"),
            ("KV cache", f"{told_bytes(self.kv_bytes)} ({kept}, batch 1)"),
            ("peak (estimate)", told_bytes(self.peak_bytes)),
        )
        return "\n".join(f"{name:<16} {value}" for name, value in rows)


def plan(
    model_or_config: nn.Module | Any | str | Path,
    frames: int = 64,
    *,
    dtype: torch.dtype | None = None,
    frames_per_group: int | None = None,
    kv_bits: float = 16,
    height: int = ASSUMED_SIDE,
    width: int = ASSUMED_SIDE,
) -> Plan:
    """Tokens, scaling factor, KV bytes and a peak estimate for one video, at batch size 1.

    Args:
        model_or_config: a model, its config, or a directory or hub id, of which only config.json
            is read, not the weights.
        frames: frames to show; rounded up to whole groups.
        dtype: of weights and cache; None for the config's own (float32 if it names none).
        frames_per_group: N; None for what the encoder was trained on.
        kv_bits: as :func:`intp_video.extend` takes it.
        height, width: of a frame as the encoder gets it, in pixels, for families whose tokens
            follow the size of the frames.

    Raises:
        ModelError: there is no config, or its model type is not known.
        TypeError, ValueError: a value has the wrong type or is out of range; the message names it.
    """
    counts = {"frames": frames, "height": height, "width": width}
    for name, count in counts.items():
        check_frames(count, function="plan", name=name)
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise TypeError(f"plan: dtype: expected a floating torch.dtype, got {dtype!r}")
    if kv_bits not in KV_BITS:
        known = ", ".join(map(str, KV_BITS))
        raise ValueError(f"plan: kv_bits: expected one of {known}, got {kv_bits!r}")
    config = load_config(model_or_config)
    family = family_for(config)
    per_group = family.frames_per_group(config) if frames_per_group is None else frames_per_group
    check_frames(per_group, function="plan", name="frames_per_group")
    step = per_group if family.groups_are_real else family.frames_per_step(config)
    frames = round_up_to_groups(frames, step)
    layout = family.layout(config, frames, height, width)
    in_training = family.layout(config, family.frames_per_group(config), height, width).positions
    text = config.text_config
    dtype = dtype or getattr(config, "dtype", None)
    dtype = dtype if isinstance(dtype, torch.dtype) else torch.float32
    trained = text.max_position_embeddings
    reserve = text_reserve(in_training, trained)
    total, positions = layout.tokens + reserve, layout.positions + reserve
    kv, recurrent = 0, recurrent_layers(text)
    for place, window in enumerate(cached_windows(text)):
        if place in recurrent:
            continue
        kv_heads, head_dim = family.cached_heads(config, place)
        if window is not None:  # it keeps what the next token sees
            kv += 2 * kv_heads * head_dim * min(total, window - 1) * dtype.itemsize
        elif kv_bits == 16:
            kv += 2 * kv_heads * head_dim * total * dtype.itemsize
        else:
            kv += packed_bytes(kv_bits, kv_heads, head_dim, total, dtype)
    weights = parameter_count(config) * dtype.itemsize
    pixels = layout.values * 4
    # prefill: residual, normed, q, k, v and both halves of the MLP, for all tokens of one layer
    of_token = 4 * text.hidden_size + 2 * kv_heads * head_dim + 2 * text.intermediate_size
    activations = total * of_token * dtype.itemsize
    features = 2 * layout.visual_tokens * text.hidden_size * dtype.itemsize
    return Plan(
        model_type=family.model_type,
        frames=frames,
        frames_per_group=per_group,
        groups=-(-frames // per_group),
        tokens_per_frame=layout.visual_tokens / frames,
        visual_tokens=layout.visual_tokens,
        total_tokens=total,
        positions=positions,
        trained_context=trained,
        factor=max(1.0, family.rope_distance(config, positions) / trained),
        weight_bytes=weights,
        kv_bytes=kv,
        peak_bytes=weights + kv + pixels + features + activations,
        dtype=str(dtype).removeprefix("torch."),
        kv_bits=kv_bits,
    )


def told_bytes(count: int) -> str:
    """As people read it: 3355443 -> "3.2 MiB"."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if value >= 1024:
            value, unit = value / 1024, larger
    return f"{value:.1f} {unit}"


def packed_bytes(bits: float, heads: int, head_dim: int, tokens: int, dtype: torch.dtype) -> int:
    """Bytes in use of one layer's cache, taken from a real cache on the meta device."""
    states = torch.empty(1, heads, tokens, head_dim, dtype=dtype, device="meta")
    rope = intp_ext.rope_frequencies("none", head_dim, device="meta")
    bounds = torch.empty(1, 2, dtype=torch.int32, device="meta")
    cache = intp_ext.KVCache(bits, rope=rope)
    cache.append(states, states, kv_bounds=bounds)
    return cache.nbytes


def text_reserve(positions: int, trained_context: int) -> int:
    """Positions for text: 256, or what the trained context leaves beside a video of one group of
    frames, if that is less. So N frames, as in training, need no stretch, however small the model.

    Args:
        positions: that N frames take.
        trained_context: L0.
    """
    return min(TEXT_RESERVE, max(0, trained_context - positions))


def parameter_count(config: Any) -> int:
    """Parameters of the model a config describes, counted without allocating them."""
    return sum(parameter.numel() for parameter in empty_model(config).parameters())
