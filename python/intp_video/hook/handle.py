"""What :func:`intp_video.extend` does to a model, and how that is undone."""

from __future__ import annotations

import copy
import functools
import logging
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NoReturn

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from .. import compat
from ..decoder_layers import cached_windows, recurrent_layers
from ..errors import ModelError
from ..models import VideoFamily
from ..models.family import ASSUMED_SIDE
from ..options import DTYPES, Options, check_factor
from ..planning import text_reserve
from ..sampling import round_up_to_groups
from . import attention
from .cache import PackedLayer, holds_packed, sequence_of
from .encoder import GroupedEncoder
from .forward import ProvenForward
from .parallel import check_heads
from .passes import DecoderState
from .positions import text_after_the_video
from .rotary import (
    ExtendedRotaryEmbedding,
    check_rotary,
    frequencies_of,
    guard_rotation,
    rope_type_of,
    trained_rope,
)
from .stretch import Stretch

log = logging.getLogger("intp_video")

KERNEL_DTYPES = tuple(getattr(torch, name) for name in DTYPES)


class Handle:
    """An extended model, and the way to restore it.

    Attributes:
        model, family: the model and its family.
        options: how it was extended.
        on_encode: called with (groups done, groups in all) while a video is encoded; may be set.
        active: until :meth:`restore`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        family: VideoFamily,
        options: Options,
        on_encode: Callable[[int, int], None] | None = None,
        frame_size: tuple[int, int] = (ASSUMED_SIDE, ASSUMED_SIDE),
    ) -> None:
        config = model.config
        self.model, self.family, self.options = model, family, options
        self._per_group = options.frames_per_group or family.frames_per_group(config)
        self._frames = round_up_to_groups(options.frames, frames_per_step(family, config, options))
        ours = not family.rotates_pairs(config) and not family.rope_by_layer
        self._fused = options.fused and ours

        self._outer = family.multimodal_module(model)
        self._text = family.text_model(model)
        if self._text.dtype not in KERNEL_DTYPES:
            *most, last = DTYPES
            raise ModelError(
                f"the kernels take {', '.join(most)} and {last}, got a model in {self._text.dtype}"
            )
        layers = _attention_layers(self._text)
        check_heads(layers[0])
        self._own_rotary = self._text.rotary_emb
        check_rotary(self._text, family, self._fused)
        layout = family.layout(config, self._frames, *frame_size)
        trained = self._text.config.max_position_embeddings
        together = family.frames_per_group(config)
        in_training = family.layout(config, together, *frame_size).positions
        self._stretch = Stretch(
            options,
            trained_rope(self._text, family),
            rope_type_of(self._own_rotary),
            self._text.config,
            layout.visual_tokens,
            layout.positions + text_reserve(in_training, trained),
            functools.partial(family.rope_distance, config),
        )
        needs_visual = (
            options.window is not None
            or options.span == "visual"
            or options.rearrange == "attention"
        )
        self._decoder = DecoderState(
            options.window,
            options.sink,
            needs_visual=needs_visual,
            needs_sequence=needs_visual or options.rope == "dynamic_ntk",
            layers=layers,
            angles=len(set(self._text.config.layer_types)) if family.rope_by_layer else 1,
        )
        self._encoder = GroupedEncoder(
            family, config, options, self._frames, self._per_group, self._decoder, on_encode
        )
        rotary = ExtendedRotaryEmbedding(
            self._own_rotary, self._stretch.rope(), self._fused, self._decoder
        )
        self._rotary = rotary.to(frequencies_of(self._own_rotary).device)
        self._forward = ProvenForward(
            model,
            family,
            options,
            self._decoder,
            self._stretch,
            self._rotary,
            self._encoder,
        )

        with ExitStack() as undo:  # undone at once if a step fails, at restore() otherwise
            self._install(undo)
            self._undo = undo.pop_all()
        self.active = True
        compat.note_untested()
        log.info("%s", self)

    def __repr__(self) -> str:
        options = self.options
        window = "all"
        if options.window is not None:
            sink = "one frame" if options.sink is None else f"{options.sink} tokens"
            window = f"{options.window} frames, sink {sink}"
        if self.family.groups_are_real:
            groups = (
                f"{self.frames} frames in groups of {self.frames_per_group} ({options.grouping}), "
                f"rearranged in {options.rearrange}"
            )
        else:
            groups = f"{self.frames} frames, encoded {self.frames_per_group} at a time"
        rope = f"rope {options.rope} x{self.factor:.3f} over {options.span}"
        if self.factor == 1 and options.rope != "dynamic_ntk":
            rope = "RoPE as trained"
        return (
            f"{self.family.model_type}: {groups}, {rope}, window {window}, "
            f"{'fused' if self._fused else 'unfused'} RoPE, KV cache of {options.kv_bits} bits"
            f"{self._where_packed()}"
        )

    def _where_packed(self) -> str:
        """The layers that are, where those that see a sliding window are not."""
        windows = cached_windows(self._text.config)
        if self.options.kv_bits == 16 or not any(windows):
            return ""
        places = [str(place) for place, window in enumerate(windows) if window is None]
        return f" in layers {', '.join(places)} of {len(windows)}: the others slide"

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *error: object) -> None:
        if self.active:
            self.restore()

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        """Refuses: copying or pickling an extended model reaches its handle."""
        raise ModelError(
            "an extended model is not copied or pickled: its parts would belong to the original; "
            "restore() first, and extend the copy"
        )

    # ---- what it is ----

    @property
    def frames(self) -> int:
        """M, in whole groups, or in whole units of time where groups bound memory alone."""
        return self._frames

    @property
    def frames_per_group(self) -> int:
        """N."""
        return self._per_group

    @property
    def tokens_per_frame(self) -> int | None:
        """P, or None where it depends on the size of the frames."""
        return self.family.tokens_per_frame(self.model.config)

    @property
    def factor(self) -> float:
        """s in use."""
        return self._stretch.factor

    @property
    def cache_argument(self) -> str:
        """What this transformers calls the cache of a forward pass."""
        return self._forward.cache_argument

    @property
    def multimodal_module(self) -> PreTrainedModel:
        """The module that merges features into embeddings: one pass without the language head."""
        return self._outer

    @property
    def text_config(self) -> Any:
        """The decoder's config."""
        return self._text.config

    @property
    def on_encode(self) -> Callable[[int, int], None] | None:
        return self._encoder.on_encode

    @on_encode.setter
    def on_encode(self, function: Callable[[int, int], None] | None) -> None:
        self._encoder.on_encode = function

    @property
    def on_attention(self) -> Callable[[torch.Tensor, torch.Tensor, float], None] | None:
        """Called by each layer that keeps its keys unpacked, with query ``[B, Hq, S, D]`` and key
        ``[B, Hkv, K, D]``, both rotated and in the order of time, and their scaling; may be set."""
        return self._decoder.on_attention

    @on_attention.setter
    def on_attention(
        self, function: Callable[[torch.Tensor, torch.Tensor, float], None] | None
    ) -> None:
        self._decoder.on_attention = function

    # ---- what can be done with it ----

    def restore(self) -> None:
        """Put every parameter, buffer, method, hook, config entry and module global back as it was.

        Raises:
            ModelError: it is already restored.
        """
        if not self.active:
            raise ModelError("this handle was restored already")
        self.active = False
        self._undo.close()

    def restretch(self, cache: Cache, factor: float) -> None:
        """Set another scaling factor, for all later sequences and for everything in ``cache``.

        Raises:
            ModelError: keys are already rotated (anything but ``kv_rotate="on_read"``).
            ValueError: a factor below 1.
        """
        if self.options.kv_rotate != "on_read" or self.options.span != "all":
            raise ModelError(
                "restretch() needs unrotated keys and stretched frequencies: extend with "
                'kv_rotate="on_read" and span="all"'
            )
        check_factor(factor, function="restretch")
        self._stretch.factor = float(factor)
        rope = self._stretch.rope().to(self._rotary.inv_freq.device)
        self._rotary.inv_freq = rope.inv_freq
        self._rotary.attention_scaling = rope.attention_scaling
        sequence = sequence_of(cache)
        if sequence is None:
            return
        sequence.rope, sequence.reach = rope, self._stretch.reach
        for layer in cache.layers:
            held = layer.cache if isinstance(layer, PackedLayer) else None
            if held is not None and held.rotate == "on_read":  # not in a layer without RoPE
                held.set_rope(rope if held.device is None else rope.to(held.device))

    # ---- installing ----

    def _install(self, undo: ExitStack) -> None:
        model, outer, text = self.model, self._outer, self._text
        if self._fused:
            undo.callback(guard_rotation(text))
        undo.callback(self._restore_rotary)
        text.rotary_emb = self._rotary  # a submodule, so that it moves with the model

        config = copy.copy(text.config)  # another model may have been made from the same one
        for module in text.modules():
            if getattr(module, "config", None) is text.config and module is not text:
                _set_attribute(undo, module, "config", config)
        _set_attribute(undo, text, "config", config)
        if self.family.makes_masks:
            whole = copy.copy(outer.config)
            whole.text_config = config
            _set_attribute(undo, outer, "config", whole)
        text.set_attn_implementation(attention.NAME)
        for attention_layer in self._decoder.layers:
            _set_attribute(undo, attention_layer, "intp", self._decoder)
        name = self.family.encoder
        _set_attribute(undo, outer, name, self._encoder.around(getattr(outer, name)))

        if self.options.positions == "after":
            placeholder = self.family.placeholder_id(model.config)
            moved = text_after_the_video(outer.get_rope_index, placeholder)
            _set_attribute(undo, outer, "get_rope_index", moved)
        for name in compat.mask_makers(model):
            _set_attribute(undo, model, name, _padding_mask_as_it_is)

        _set_attribute(undo, outer, "forward", self._forward.around(outer.forward))
        undo.callback(self._forget_packed_cache)
        _set_attribute(undo, model, "_intp_handle", self)

    def _forget_packed_cache(self) -> None:
        if holds_packed(getattr(self.model, compat.STATIC_CACHE, None)):
            delattr(self.model, compat.STATIC_CACHE)

    def _restore_rotary(self) -> None:
        device = self._rotary.inv_freq.device  # the model may have moved
        self._text.rotary_emb = self._own_rotary.to(device)


def frames_per_step(family: VideoFamily, config: Any, options: Options) -> int:
    """What the number of frames is rounded up to a multiple of."""
    if family.groups_are_real and options.frames_per_group is not None:
        return options.frames_per_group
    return family.frames_per_step(config)


def check_options(family: VideoFamily, config: Any, options: Options) -> None:
    """Refuse options that mean nothing to a family.

    Raises:
        ValueError: the option, and why.
    """
    name = family.model_type
    if not family.groups_are_real:
        alone = "its encoder never looks across frames, so there is nothing to rearrange"
        for option, default in (("grouping", "interleaved"), ("rearrange", "features")):
            if getattr(options, option) != default:
                raise ValueError(
                    f"extend: {option}: expected {default!r} for {name}, got "
                    f"{getattr(options, option)!r}: {alone}"
                )
    if family.mrope is not None:
        for option, value in (("span", "visual"), ("rope", "dynamic_ntk")):
            if getattr(options, option) == value:
                raise ValueError(
                    f"extend: {option}: {value!r} counts positions by tokens, and those of {name} "
                    "(M-RoPE) do not follow them"
                )
    if options.positions == "after" and not family.text_overtakes_frames:
        raise ValueError(
            f"extend: positions: expected 'stock' for {name}, where text stands after the last "
            "frame as it is, got 'after'"
        )
    if options.kv_rotate == "on_read" and family.rotates_pairs(config):
        raise ValueError(
            f"extend: kv_rotate: expected 'on_write' for {name}, whose keys turn in pairs of "
            "neighboring channels, got 'on_read'"
        )
    if options.kv_bits != 16 and family.sees_both_ways(config):
        raise ValueError(
            f"extend: kv_bits: expected 16 for {name} whose visual tokens see each other both ways "
            f"(use_bidirectional_attention), got {options.kv_bits}"
        )
    _check_sliding(name, cached_windows(config.text_config), options)
    per_unit, per_group = family.frames_per_unit(config), options.frames_per_group
    if per_group is not None and per_group % per_unit:
        raise ValueError(
            f"extend: frames_per_group: expected a multiple of the {per_unit} frames that the "
            f"encoder of {name} takes at once, got {per_group}"
        )


def _check_sliding(name: str, windows: list[int | None], options: Options) -> None:
    """Refuse what cannot be done to layers that see a sliding window."""
    sliding = [window for window in windows if window is not None]
    if not sliding:
        return
    refused: list[tuple[str, Any, str]] = [
        ("window", None, "frames and tokens would bound the same layers"),
        ("kv_rotate", "on_write", "those layers cache keys that are rotated"),
        ("rearrange", "features", "a sliding window counts tokens in the order of time"),
    ]
    if len(sliding) == len(windows):
        refused.append(("kv_bits", 16, "there is no longer cache to pack"))
    for option, expected, reason in refused:
        if getattr(options, option) != expected:
            raise ValueError(
                f"extend: {option}: expected {expected!r} for {name} with a text model in which "
                f"{len(sliding)} of {len(windows)} layers have sliding_window={max(sliding)}, got "
                f"{getattr(options, option)!r}: {reason}"
            )


def _attention_layers(text: PreTrainedModel) -> list[Any]:
    """Those that attend; a layer that its config says has linear attention is left as it is."""
    recurrent = recurrent_layers(text.config)
    layers = [
        getattr(layer, "self_attn", None)
        for index, layer in enumerate(getattr(text, "layers", []))
        if index not in recurrent
    ]
    if not layers or None in layers or not hasattr(text, "rotary_emb"):
        raise ModelError(
            f"{type(text).__name__} is not a decoder of layers with self_attn and a rotary_emb "
            "they share: such a text model cannot be extended"
        )
    return layers


def _set_attribute(undo: ExitStack, instance: nn.Module, name: str, value: Any) -> None:
    """Set an attribute of one instance; undoing brings back what the instance had, or nothing."""
    if name in vars(instance):
        undo.callback(setattr, instance, name, vars(instance)[name])
    else:
        undo.callback(delattr, instance, name)
    setattr(instance, name, value)


def _padding_mask_as_it_is(attention_mask: Any = None, **kwargs: Any) -> Any:
    """In place of :func:`compat.mask_makers`."""
    return attention_mask
