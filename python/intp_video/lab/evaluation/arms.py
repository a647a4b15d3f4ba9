"""What is compared: ways of showing a model more frames than it was trained on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel

from ... import compat
from ...grouping import encoder_order
from ...hook import extend
from ...hook.passes import saw_features
from ...models import family_for
from ...options import ROPE_KINDS
from ...preparation import Preparer

METHODS = {
    "stock": "more frames and nothing else; a temporal tower takes them eight in a row",
    "intp": "interleaved groups, rearranged into time order, RoPE stretched",
    "unrearranged": "interleaved groups, tokens left group after group, RoPE stretched",
    "contiguous": "groups of frames in a row, RoPE stretched",
    "alone": "every frame encoded by itself, RoPE stretched; for a temporal tower it is repeated "
    "to fill a group, and what comes out at its own place in time is taken",
    "pooled": "interleaved groups, tokens of each frame averaged down to the budget of one "
    "group, positions untouched",
}
STRETCHED = ("intp", "unrearranged", "contiguous", "alone")
ROPES = (*ROPE_KINDS, "visual")  # visual: linear, span="visual"


@dataclass(frozen=True)
class Arm:
    """One way of asking.

    Attributes:
        method: one of ``METHODS``.
        frames: M, whole groups.
        rope: one of ``ROPES`` for the methods that stretch it, else None.
        window: in frames, or None.
        kv_bits: of cached keys and values, for the methods that stretch RoPE; None: 16.
    """

    method: str
    frames: int
    rope: str | None = None
    window: int | None = None
    kv_bits: float | None = None

    @property
    def name(self) -> str:
        parts = [self.method, str(self.frames)]
        parts += [self.rope] if self.rope else []
        parts += [f"w{self.window}"] if self.window else []
        parts += [f"kv{self.kv_bits}"] if self.kv_bits else []
        return "-".join(parts)

    def _options(self) -> dict[str, Any]:
        """Of :func:`intp_video.extend`."""
        options: dict[str, Any] = {
            "rope": self.rope or "none",
            "window": self.window,
            "kv_bits": self.kv_bits or 16,
        }
        if self.rope == "visual":
            options |= {"rope": "linear", "span": "visual"}
        if self.method == "contiguous":
            options["grouping"] = "contiguous"
        return options

    def check(self, model: PreTrainedModel) -> None:
        """Says that this arm cannot be asked of such a model, whose weights need not be there.

        Raises:
            TypeError, ValueError, ModelError: as :func:`intp_video.extend`.
        """
        if self.method != "stock":
            extend(model, self.frames, **self._options()).restore()

    @contextmanager
    def applied(self, model: PreTrainedModel, preparer: Preparer) -> Iterator[Preparer]:
        """The model as this arm wants it, and the preparer of its prompts; afterwards all is as it
        was. A video is encoded once for all questions that follow each other."""
        family = family_for(model.config)
        outer = family.multimodal_module(model)
        if self.method == "stock":
            with _video_features(outer, _remembered(outer.get_video_features)):
                yield preparer
            return
        per_group, tokens = preparer.frames_per_group, preparer.tokens_per_frame
        temporal = getattr(model.config.vision_config, "num_frames", None) is not None
        change: Callable[[torch.Tensor], torch.Tensor] | None = None
        if self.method == "unrearranged":
            order = encoder_order(self.frames, per_group)
            change = _permuted(order)
        elif self.method == "pooled":
            tokens = max(1, per_group * tokens // self.frames)
            processing = replace(preparer.fixed_size, tokens_per_frame=tokens)
            preparer = replace(preparer, processing=processing)
            change = _pooled(tokens)
        with extend(model, self.frames, **self._options()):
            features = outer.get_video_features
            if self.method == "alone" and temporal:
                features = _each_alone(features, per_group)
            if change is not None:
                features = _changed(features, change)
            with _video_features(outer, _remembered(features)):
                yield preparer


def arms_of(
    frames: Sequence[int],
    methods: Sequence[str],
    ropes: Sequence[str],
    windows: Sequence[int | None],
    frames_per_group: int,
    kv_bits: Sequence[float | None] = (None,),
) -> list[Arm]:
    """Every combination that means something, the baseline (stock at N frames) first.

    Raises:
        ValueError: an unknown method or rope, or frames that are no whole groups.
    """
    for name, values, known in (("method", methods, METHODS), ("rope", ropes, ROPES)):
        for value in values:
            if value not in known:
                raise ValueError(f"eval: {name}: expected one of {', '.join(known)}, got {value!r}")
    for count in frames:
        if count % frames_per_group:
            raise ValueError(
                f"eval: frames: expected multiples of {frames_per_group}, which the model takes at "
                f"once, got {count}"
            )
    arms = [Arm("stock", frames_per_group)]
    for count, method in product(frames, methods):
        if method in STRETCHED:
            ways = product(ropes, windows, kv_bits)
            arms += [Arm(method, count, rope, window, bits) for rope, window, bits in ways]
        else:
            arms.append(Arm(method, count))
    return list(dict.fromkeys(arms))


@contextmanager
def _video_features(outer: PreTrainedModel, function: Callable[..., Any]) -> Iterator[None]:
    """``get_video_features`` of one instance, for a while."""
    before = vars(outer).get("get_video_features")
    outer.get_video_features = function
    try:
        yield
    finally:
        if before is None:
            del outer.get_video_features
        else:
            outer.get_video_features = before


def _remembered(function: Callable[..., Any]) -> Callable[..., Any]:
    """The last result again, for the same pixels: nobody writes to them while an arm asks."""
    pixels = result = None

    @functools.wraps(function)  # generate() reads the signature
    def get_video_features(pixel_values_videos: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        nonlocal pixels, result
        if pixels is None or pixels.data_ptr() != pixel_values_videos.data_ptr():
            result = function(pixel_values_videos, *args, **kwargs)
            pixels = pixel_values_videos  # held, so that its address stays its own
        saw_features(compat.pooled_features(result).shape[:2].numel())
        return result

    return get_video_features


def _changed(function: Callable[..., Any], change: Callable) -> Callable[..., Any]:
    @functools.wraps(function)
    def get_video_features(pixel_values_videos: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        output = function(pixel_values_videos, *args, **kwargs)
        features = change(compat.pooled_features(output))
        return compat.output_with_features(output, features, pixel_values_videos.shape[1])

    return get_video_features


def _permuted(order: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(features: torch.Tensor) -> torch.Tensor:  # [V * M, P, C] of one video
        return features[order.to(features.device)]

    return change


def _pooled(tokens: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """The class token and means of the rest; one mean of all where there is room for one token."""

    def change(features: torch.Tensor) -> torch.Tensor:  # [M, P, C] -> [M, tokens, C]
        if tokens >= features.shape[1]:
            return features
        if tokens == 1:
            return features.mean(dim=1, keepdim=True)
        rest = F.adaptive_avg_pool1d(features[:, 1:].transpose(1, 2), tokens - 1)
        return torch.cat((features[:, :1], rest.transpose(1, 2)), dim=1)

    return change


def _each_alone(function: Callable[..., Any], per_group: int) -> Callable[..., Any]:
    """Every frame fills a group of its own; of the N results the one at its place in time stays."""

    @functools.wraps(function)
    def get_video_features(pixel_values_videos: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        frames = pixel_values_videos.shape[1]
        kept = []
        for frame in range(frames):
            repeated = pixel_values_videos[:, frame : frame + 1].expand(-1, per_group, -1, -1, -1)
            output = function(repeated.contiguous(), *args, **kwargs)
            kept.append(compat.pooled_features(output)[frame * per_group // frames])
        return compat.output_with_features(output, torch.stack(kept), frames)

    return get_video_features
