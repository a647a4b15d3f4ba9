"""The hook: one call lets a Hugging Face Video-LLM watch a long video, one call takes it all
back."""

from __future__ import annotations

import copy
import functools
import inspect
import logging
import math
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NoReturn

import torch
from torch import nn
from transformers.cache_utils import Cache, DynamicCache

import intp_ext
from intp_ext.kv_cache import ROTATE as KV_ROTATE
from intp_ext.reference_kv import BITS
from intp_ext.rope import ROPE_KINDS

from . import attention, compat
from .cache import Packing, adopt, holds_packed, sequence_of
from .errors import ModelError
from .grouping import encode_in_groups, storage_order
from .models import VideoModel, video_model_for
from .passes import CURRENT, DecoderState, ForwardPass, broken, saw_features
from .planning import text_reserve
from .rotary import ExtendedRotaryEmbedding, check_rotary, guard_rotation
from .sampling import check_frames, round_up_to_groups
from .sequence import Sequence, find_visual_span

log = logging.getLogger("intp_video")

SPANS = ("all", "visual")
ROUTES = ("features", "attention")
KV_BITS = (*BITS, 16)
KERNEL_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def extend(
    model: nn.Module,
    frames: int = 64,
    *,
    rope: str = "yarn",
    factor: float | None = None,
    span: str = "all",
    window: int | None = None,
    sink: int | None = None,
    grouping: str = "interleaved",
    rearrange: str = "features",
    fused: bool = True,
    kv_bits: int | None = None,
    kv_rotate: str = "on_write",
    frames_per_group: int | None = None,
    groups_per_chunk: int = 1,
    on_encode: Callable[[int, int], None] | None = None,
) -> Handle:
    """Let a Video-LLM watch ``frames`` frames, without training, until :meth:`Handle.restore`.

    ``model.generate`` and ``model(...)`` are called as before: with more frames in
    ``pixel_values_videos`` and as many more placeholder tokens (:func:`intp_video.prepare` makes
    both). Works as a context manager too.

    Args:
        model: a Hugging Face Video-LLM, or a PEFT model of one; this instance alone is changed.
        frames: M, the most frames a video will have; rounded up to whole groups of N.
        rope: how RoPE is stretched: "none", "linear", "ntk", "dynamic_ntk" or "yarn"
            (:func:`intp_ext.rope_frequencies`). docs/method.md says why "yarn".
        factor: s, at least 1; None for what the frames and some text need (docs/method.md).
            dynamic_ntk takes its stretch from the length of each sequence, and 1 by default.
        span: "all" stretches every position; "visual" the video's alone, text keeps unit steps
            (rope="linear" only).
        window: frames a visual token attends to, its own included; None for all. Text after the
            video attends to everything.
        sink: first tokens of the row that every token attends to besides its window; None for one
            frame's.
        grouping: which frames one call of the encoder sees: "interleaved" (spread over the video)
            or "contiguous".
        rearrange: where tokens are brought into time order: "features" (once, on the encoder's
            output) or "attention" (the residual stream stays in encoder order; every layer attends
            in time order). Same result.
        fused: rotate keys when they are written to the cache and queries in attention, by our
            kernels; False: transformers' own ``apply_rotary_pos_emb``. Same result up to rounding.
        kv_bits: keys and values are cached in so many bits, 2, 4, 8 or 16, and read packed
            (:class:`intp_ext.KVCache`); None: by transformers' own cache.
        kv_rotate: with ``kv_bits``: "on_write" rotates keys once; "on_read" caches them unrotated,
            so that positions can change later, and rotates them at every reading.
        frames_per_group: N; None for what the encoder was trained on.
        groups_per_chunk: groups encoded at once: more is faster on a GPU and takes more memory.
        on_encode: called with (groups done, groups in all) while a video is encoded.

    Returns:
        A :class:`Handle`.

    Raises:
        ModelError: a model type that is not known, no video tower, extended already, or a RoPE that
            is stretched already.
        TypeError, ValueError: an argument out of range; the message names it.

    Source: INTP (Shang et al., arXiv 2409.12963).
    """
    if hasattr(model, "get_base_model"):
        model = model.get_base_model()  # PEFT: its layers stand in this model, which is extended
    handle = getattr(model, "_intp_handle", None)
    if handle is not None:
        raise ModelError("the model is extended already; call restore() on its handle first")
    config = getattr(model, "config", None)
    family = video_model_for(config)
    per_group = family.frames_per_group(config) if frames_per_group is None else frames_per_group
    check_frames(per_group, function="extend", name="frames_per_group")
    check_frames(groups_per_chunk, function="extend", name="groups_per_chunk")
    check_frames(frames, function="extend")
    for name, value, known in (
        ("rope", rope, ROPE_KINDS),
        ("span", span, SPANS),
        ("grouping", grouping, intp_ext.reference.GROUPINGS),
        ("rearrange", rearrange, ROUTES),
    ):
        if value not in known:
            raise ValueError(f"extend: {name}: expected one of {', '.join(known)}, got {value!r}")
    if span == "visual" and rope != "linear":
        raise ValueError(f'extend: span: "visual" needs rope="linear", got rope={rope!r}')
    if factor is not None:
        check_factor(factor, function="extend")
    if window is not None:
        check_frames(window, function="extend", name="window")
    if sink is not None and window is None:
        raise ValueError("extend: sink: expected with a window only, got window=None")
    if sink is not None and (isinstance(sink, bool) or not isinstance(sink, int) or sink < 0):
        raise ValueError(f"extend: sink: expected a number of tokens, at least 0, got {sink!r}")
    if kv_bits is not None and (type(kv_bits) is not int or kv_bits not in KV_BITS):
        raise ValueError(f"extend: kv_bits: expected 2, 4, 8, 16 or None, got {kv_bits!r}")
    if kv_rotate not in KV_ROTATE:
        known = ", ".join(KV_ROTATE)
        raise ValueError(f"extend: kv_rotate: expected one of {known}, got {kv_rotate!r}")
    if kv_rotate == "on_read" and (kv_bits is None or not fused):
        raise ValueError('extend: kv_rotate: "on_read" needs kv_bits and fused=True')
    per_frame = family.tokens_per_frame(config)
    return Handle(
        model,
        family,
        frames=round_up_to_groups(frames, per_group),
        rope=rope,
        factor=factor,
        span=span,
        window=window,
        sink=per_frame if sink is None else sink,
        grouping=grouping,
        rearrange=rearrange,
        fused=fused,
        packing=None if kv_bits is None else Packing(kv_bits, kv_rotate),
        frames_per_group=per_group,
        groups_per_chunk=groups_per_chunk,
        on_encode=on_encode,
    )


class Handle:
    """An extended model, and the way back.

    Attributes:
        model: the model.
        frames, frames_per_group, tokens_per_frame: M, N, P.
        factor: s in use.
        rope, span, window, sink, grouping, rearrange, fused: as chosen.
        packing: how keys and values are packed, or None.
        cache_argument: what this transformers calls the cache of a forward pass.
        active: until :meth:`restore`.
    """

    def __init__(
        self,
        model: nn.Module,
        family: VideoModel,
        *,
        frames: int,
        rope: str,
        factor: float | None,
        span: str,
        window: int | None,
        sink: int,
        grouping: str,
        rearrange: str,
        fused: bool,
        packing: Packing | None,
        frames_per_group: int,
        groups_per_chunk: int,
        on_encode: Callable[[int, int], None] | None,
    ) -> None:
        self.model, self.family = model, family
        self.frames, self.frames_per_group = frames, frames_per_group
        self.tokens_per_frame = family.tokens_per_frame(model.config)
        self.rope, self.span, self.window, self.sink = rope, span, window, sink
        self.grouping, self.rearrange, self.fused = grouping, rearrange, fused
        self.packing = packing
        self.groups_per_chunk, self.on_encode = groups_per_chunk, on_encode

        self._outer = family.multimodal_module(model)
        self._text = family.text_model(model)
        if self._text.dtype not in KERNEL_DTYPES:
            raise ModelError(
                f"the kernels take float32, bfloat16 and float16, got a model in {self._text.dtype}"
            )
        self._trained_context = self._text.config.max_position_embeddings
        text_tokens = text_reserve(
            family.frames_per_group(model.config), self.tokens_per_frame, self._trained_context
        )
        self._planned_tokens = self.frames * self.tokens_per_frame + text_tokens
        self.factor = self._choose_factor(factor)
        self._parameters = tuple(inspect.signature(self._outer.forward).parameters)
        self.cache_argument = self._find_cache_argument()
        self._needs_span = window is not None or span == "visual" or rearrange == "attention"
        self._decoder = DecoderState(
            window,
            self.tokens_per_frame,
            sink,
            needs_sequence=self._needs_span or rope == "dynamic_ntk",
            layers=self._attention_layers(),
        )

        with ExitStack() as undo:  # undone at once if a step fails, at restore() otherwise
            self._install(undo)
            self._undo = undo.pop_all()
        self.active = True
        compat.note_untested()
        log.info("%s", self)

    def __repr__(self) -> str:
        window = "all" if self.window is None else f"{self.window} frames, sink {self.sink} tokens"
        return (
            f"{self.frames} frames in groups of {self.frames_per_group} ({self.grouping}), "
            f"rope {self.rope} x{self.factor:.3f} over {self.span}, window {window}, "
            f"rearranged in {self.rearrange}, {'fused' if self.fused else 'unfused'} RoPE"
            + ("" if self.packing is None else f", KV cache of {self.packing.bits} bits")
        )

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *error: object) -> None:
        if self.active:
            self.restore()

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        """Copying or pickling an extended model meets its handle."""
        raise ModelError(
            "an extended model is not copied or pickled: its parts would belong to the original; "
            "restore() first, and extend the copy"
        )

    def restore(self) -> None:
        """Put every parameter, buffer, method, hook, config entry and module global back as it was.

        Raises:
            ModelError: restored already.
        """
        if not self.active:
            raise ModelError("this handle was restored already")
        self.active = False
        self._undo.close()

    @property
    def multimodal_module(self) -> nn.Module:
        """The module that merges features into embeddings: one pass without the language head."""
        return self._outer

    @property
    def text_config(self) -> Any:
        """The decoder's config."""
        return self._text.config

    # ---- RoPE ----

    def restretch(self, cache: Cache, factor: float) -> None:
        """Another scaling factor, for all sequences to come and for everything ``cache`` holds.

        Raises:
            ModelError: keys that are rotated already (anything but ``kv_rotate="on_read"``).
            ValueError: a factor below 1.
        """
        if self.packing is None or self.packing.rotate != "on_read" or self.span != "all":
            raise ModelError(
                "restretch() needs unrotated keys and stretched frequencies: extend with kv_bits, "
                'kv_rotate="on_read" and span="all"'
            )
        check_factor(factor, function="restretch")
        self.factor = float(factor)
        rope = self._rope_for().to(self._rotary.inv_freq.device)
        self._rotary.inv_freq, self._rotary.attention_scaling = (
            rope.inv_freq,
            rope.attention_scaling,
        )
        sequence = sequence_of(cache)
        if sequence is None:
            return
        sequence.rope = rope
        for layer in cache.layers:
            if layer.cache is not None:
                layer.cache.set_rope(rope.to(layer.cache.device))

    def _choose_factor(self, factor: float | None) -> float:
        if self.rope == "none":
            if factor not in (None, 1, 1.0):
                raise ValueError(f'extend: factor: expected None for rope="none", got {factor}')
            return 1.0
        if factor is not None:
            return float(factor)
        if self.rope == "dynamic_ntk":
            return 1.0
        return max(1.0, self._planned_tokens / self._trained_context)

    def _rope_for(self, length: int | None = None) -> intp_ext.Rope:
        """The frequencies of a sequence of so many tokens (only dynamic_ntk asks)."""
        own = self._own_rotary
        trained = intp_ext.Rope(own.inv_freq.detach().float(), float(own.attention_scaling))
        if self.rope == "dynamic_ntk":
            unchanged = length is None or length <= self._trained_context
        else:
            unchanged = self.rope == "none" or self.factor == 1
        if unchanged:
            return trained  # the model's own, to the bit
        if own.rope_type != "default":
            raise ModelError(
                f"the model stretches its RoPE already (rope_type {own.rope_type!r}); use "
                'rope="none"'
            )
        if self.span == "visual":
            return trained  # the positions are stretched instead
        rotary_dim = 2 * trained.inv_freq.numel()
        return intp_ext.rope_frequencies(
            self.rope,
            rotary_dim,
            base=compat.rope_theta(self._text.config),
            factor=self.factor,
            original_max_position=self._trained_context,
            length=length,
            device=trained.inv_freq.device,
        )

    # ---- installing ----

    def _install(self, undo: ExitStack) -> None:
        model, outer, text = self.model, self._outer, self._text
        self._own_rotary = text.rotary_emb
        check_rotary(text, self.fused)
        rotary = ExtendedRotaryEmbedding(self._rope_for(), self.fused, self._decoder)
        self._rotary = rotary.to(self._own_rotary.inv_freq.device)

        undo.callback(attention.register())
        if self.fused:
            undo.callback(guard_rotation(text))
        undo.callback(self._restore_rotary)
        text.rotary_emb = self._rotary  # a submodule, so that it moves with the model

        config = copy.copy(text.config)  # another model may have been made from the same one
        for module in text.modules():
            if getattr(module, "config", None) is text.config and module is not text:
                _set_attribute(undo, module, "config", config)
        _set_attribute(undo, text, "config", config)
        text.set_attn_implementation(attention.NAME)
        for layer in text.layers:
            _set_attribute(undo, layer.self_attn, "intp", self._decoder)
        grouped = self._grouped_video_features(outer.get_video_features)
        _set_attribute(undo, outer, "get_video_features", grouped)

        for name in compat.mask_makers(model):
            _set_attribute(undo, model, name, _padding_mask_as_it_is)

        _set_attribute(undo, outer, "forward", self._proven_forward(outer.forward))
        undo.callback(self._forget_packed_cache)
        _set_attribute(undo, model, "_intp_handle", self)

    def _forget_packed_cache(self) -> None:
        if holds_packed(getattr(self.model, compat.STATIC_CACHE, None)):
            delattr(self.model, compat.STATIC_CACHE)

    def _restore_rotary(self) -> None:
        device = self._rotary.inv_freq.device  # the model may have moved
        self._text.rotary_emb = self._own_rotary.to(device)

    def _grouped_video_features(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)  # generate() reads the signature
        def get_video_features(
            pixel_values_videos: torch.Tensor,
            *args: Any,
            return_dict: bool | None = None,
            **kwargs: Any,
        ) -> Any:
            self._check_frames_of(pixel_values_videos)
            videos, frames = pixel_values_videos.shape[:2]
            if args:
                kwargs["vision_feature_layer"] = args[0]
            if return_dict is not None:
                kwargs["return_dict"] = True
            output = None

            def encode(chunk: torch.Tensor) -> torch.Tensor:  # [g, N, 3, H, W] -> [g * N, P, C]
                nonlocal output
                output = original(chunk, **kwargs)
                return self.family.features_of(output)

            features = encode_in_groups(
                encode,
                pixel_values_videos,
                self.frames_per_group,
                self.grouping,
                self.groups_per_chunk,
                self.on_encode,
            )  # [V, M*P, C] in storage order
            if features.shape[1] != frames * self.tokens_per_frame:
                raise ModelError(
                    f"the video encoder made {features.shape[1] / frames:g} tokens of a frame, not "
                    f"the {self.tokens_per_frame} of its config (patches and a class token)"
                )
            if self.rearrange == "features":
                order = self._storage_order(frames).to(features.device)
                features = intp_ext.rearrange(features, order)
            self._decoder.encoded += videos
            saw_features(features)
            features = features.view(videos * frames, self.tokens_per_frame, -1)
            output = self.family.output_like(output, features, frames)
            return output.to_tuple() if return_dict is False else output

        return get_video_features

    def _check_frames_of(self, pixel_values_videos: torch.Tensor) -> None:
        if pixel_values_videos.dim() != 5:
            raise ValueError(
                "pixel_values_videos: expected [videos, frames, 3, height, width], got "
                f"{list(pixel_values_videos.shape)}"
            )
        frames = pixel_values_videos.shape[1]
        if frames % self.frames_per_group:
            raise ValueError(
                f"pixel_values_videos: expected whole groups of {self.frames_per_group} frames, "
                f"got {frames} frames; intp_video.prepare() rounds up by repeating some"
            )
        if frames > self.frames:
            raise ValueError(
                f"pixel_values_videos: expected at most the {self.frames} frames the model was "
                f"extended to, got {frames}; restore() and extend(frames={frames})"
            )

    def _storage_order(self, frames: int) -> torch.Tensor:
        return storage_order(frames, self.frames_per_group, self.tokens_per_frame, self.grouping)

    # ---- around every forward pass ----

    def _attention_layers(self) -> list[nn.Module]:
        text = self._text
        layers = [getattr(layer, "self_attn", None) for layer in getattr(text, "layers", [])]
        if not layers or None in layers or not hasattr(text, "rotary_emb"):
            raise ModelError(
                f"{type(text).__name__} is not a decoder of layers with self_attn and a rotary_emb "
                "they share: such a text model cannot be extended"
            )
        return layers

    def _find_cache_argument(self) -> str:
        name = compat.cache_argument(self._outer.forward)
        if name is None:
            raise broken(
                f"{type(self._outer).__name__}.forward takes no cache by a known name, only "
                f"{', '.join(self._parameters)}"
            )
        return name

    def _is_checkpointed(self) -> bool:
        """Whether layers will be called again in the backward pass, as transformers decides it."""
        layers = self._text.layers
        asked = any(getattr(layer, "gradient_checkpointing", False) for layer in layers)
        return asked and self._text.training and torch.is_grad_enabled()

    def _refuse_cache(self, cache: Cache | None) -> bool:
        if cache is not None:
            raise ModelError(
                f"gradient checkpointing calls layers twice, got {self.cache_argument}: pass none"
            )
        return False

    def _proven_forward(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """``forward`` of the multimodal module, as one :class:`ForwardPass`."""

        @functools.wraps(original)
        def forward(*args: Any, **kwargs: Any) -> Any:
            before = CURRENT.now
            undo = ExitStack()
            try:
                kwargs = self._begin_pass(args, kwargs, undo)
                output = original(**kwargs)
                now = CURRENT.now
                if now is not before:
                    now.finish(output, self._text.rotary_emb is self._rotary)
            except BaseException:  # Ctrl-C too: layers of different lengths are no cache
                undo.close()
                raise
            finally:
                CURRENT.now = before
            return output

        return forward

    def _begin_pass(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], undo: ExitStack
    ) -> dict[str, Any]:
        """Find or begin the sequence of this pass, see where its video stands, put our layers in
        its cache. Returns the arguments of the model's own forward."""
        kwargs.update(zip(self._parameters, args, strict=False))
        ids, embeds = kwargs.get("input_ids"), kwargs.get("inputs_embeds")
        tokens = ids if ids is not None else embeds
        if tokens is None:
            return kwargs  # the model says what is missing
        cache = compat.take_cache(kwargs)
        use_cache = kwargs.get("use_cache")
        if use_cache is None:
            use_cache = self.model.config.get_text_config().use_cache
        replayed = self._is_checkpointed()
        if replayed:
            use_cache = self._refuse_cache(cache)
        kwargs["use_cache"] = use_cache
        if cache is None and use_cache:
            cache = DynamicCache(config=self._text.config)
        kwargs[self.cache_argument] = cache

        rows = tokens.shape[1]
        encoded = (kwargs.get("mm_encoder_outputs") or {}).get("video")
        has_pixels = kwargs.get("pixel_values_videos") is not None
        has_video = encoded is not None or has_pixels
        if cache is not None:
            undo.callback(setattr, cache, "layers", cache.layers)
        mask = kwargs.get("attention_mask")
        self._check_mask(mask)
        sequence = self._sequence_for(cache, mask, rows, has_video)
        own_layers = cache is not None and sequence.own_cache
        now = ForwardPass(self._decoder, sequence, cache, rows, own_layers, replayed)
        undo.callback(now.undo)
        self._say_beyond(now)
        if mask is not None:
            if self.packing is not None:
                now.kv_bounds = attention.kv_bounds(mask)
                self._refuse_wider(now)
            if mask.dim() == 2:
                self._see_padding(now, mask)
            else:
                now.allow_mask(mask)  # transformers hands it on as it is
        elif self.packing is not None and sequence.padded:
            self._refuse_no_mask(now)
        sequence.has_video = sequence.has_video or has_video
        now.has_pixels = has_pixels
        if has_video or (rows > 1 and not sequence.has_video):  # it reads device memory
            self._count_features(now, ids, encoded)
        if ids is None and self._decoder.needs_sequence:
            raise ModelError(
                'a window, span="visual", rope="dynamic_ntk" and rearrange="attention" find the '
                "video by its tokens: pass input_ids, not inputs_embeds"
            )
        if has_video and self._needs_span:
            self._see_video(now, ids, kwargs.get("position_ids"))
        CURRENT.now = now
        return kwargs

    @staticmethod
    def _refuse_no_mask(now: ForwardPass) -> None:
        before = now.cache.layers[0].cache.kv_bounds if now.past else None
        if before is not None and bool((before[:, 0] > 0).any()):
            raise ModelError(
                "earlier tokens of this cache were given with padding in attention_mask, got none: "
                "pass the mask of all tokens"
            )

    @staticmethod
    def _refuse_wider(now: ForwardPass) -> None:
        """Padding is packed as anything, so it stays padding. Not looked at while a GPU decodes."""
        if not now.past or (now.rows == 1 and now.kv_bounds.device.type != "cpu"):
            return
        before = now.cache.layers[0].cache.kv_bounds
        lo = 0 if before is None else before[:, 0]
        if not torch.compiler.is_compiling() and bool((now.kv_bounds[:, 0] < lo).any()):
            raise ModelError(
                "attention_mask shows padding that packed keys (kv_bits) were cached without: pass "
                "the mask that the earlier tokens were given with, and go on from there"
            )

    @staticmethod
    def _check_mask(mask: Any) -> None:
        if mask is None:
            return
        if not isinstance(mask, torch.Tensor):
            raise ModelError(
                f"attention_mask: expected a tensor [B, K] or [B, 1, Q, K], got a "
                f"{type(mask).__name__}"
            )
        if mask.dim() == 4 and mask.dtype != torch.bool and not mask.is_floating_point():
            raise ModelError(
                f"attention_mask: expected a 4-D mask of bool or floats, got {mask.dtype}"
            )

    def _length_of(self, mask: torch.Tensor | None, rows: int, has_video: bool) -> int:
        """Tokens of a new sequence, as dynamic_ntk counts them: at least what was planned for a
        video. All rows of a batch have the same frequencies."""
        least = self._planned_tokens if has_video else self._trained_context
        lengths = [rows] if mask is None or mask.dim() != 2 else mask.sum(-1).tolist()
        lengths = sorted({max(least, int(length)) for length in lengths})
        if len(lengths) > 1:
            raise ModelError(
                f'rope="dynamic_ntk" gives prompts of {lengths[0]} and of {lengths[-1]} tokens '
                "frequencies of their own, and a batch has one set; ask them one by one, or use "
                'rope="ntk"'
            )
        return lengths[0]

    def _sequence_for(
        self, cache: Cache | None, mask: torch.Tensor | None, rows: int, has_video: bool
    ) -> Sequence:
        known = None if cache is None else sequence_of(cache)
        if torch.compiler.is_compiling() and known is not None and rows == 1:
            return known  # 4.57 reads device memory for the length of a static cache
        if cache is not None and int(cache.get_seq_length()) > 0:
            if known is None:
                raise ModelError(
                    f"{self.cache_argument} holds keys that no extended model wrote (from before "
                    "extend(), or put there by hand): their rotation is not known; pass an empty "
                    "cache"
                )
            return known
        rope, reach = self._rotary.rope, self._reach
        if self.rope == "dynamic_ntk":
            reach = self._length_of(mask, rows, has_video)
            rope = self._rope_for(reach)
        factor = self.factor if self.span == "visual" else None
        sequence = Sequence(rope, factor, reach)
        sequence.own_cache = adopt(cache, sequence, len(self._text.layers), self.packing)
        if cache is not None and not sequence.own_cache:
            cache.intp_sequence = sequence
        if not sequence.own_cache:
            self._say_foreign_cache(cache)
        return sequence

    def _say_beyond(self, now: ForwardPass) -> None:
        """Positions beyond what was trained, or stretched to: said when the first one is used."""
        if now.past + now.rows > now.sequence.reach:
            self._decoder.say_once(
                f"the sequence grows beyond the {now.sequence.reach} tokens that its positions "
                f"reach (trained: {self._trained_context}, factor {self.factor:.3f}): answers may "
                "get worse; extend with a larger factor, or with more frames"
            )

    @property
    def _reach(self) -> int:
        """The last token whose position is one of training, stretched."""
        if self.span == "visual":
            visual = self.frames * self.tokens_per_frame
            return self._trained_context + int(visual * (1 - 1 / self.factor))
        return int(self._trained_context * self.factor)

    def _say_foreign_cache(self, cache: Cache) -> None:
        if self.packing is not None:
            raise ModelError(
                f"kv_bits={self.packing.bits} needs the default cache or a static one, got "
                f"{'an offloaded ' if getattr(cache, 'offloading', False) else ''}"
                f"{type(cache).__name__} of {_layers_of(cache)}; extend without kv_bits to use it"
            )
        if self.rearrange == "attention":
            raise ModelError(
                f'rearrange="attention" needs the default cache, got {type(cache).__name__} of '
                f'{_layers_of(cache)}; use rearrange="features" with it'
            )
        if self.fused:
            self._decoder.say_once(
                f"{type(cache).__name__}: keys are rotated before they are cached, not by our "
                "cache layer"
            )

    def _see_padding(self, now: ForwardPass, mask: torch.Tensor) -> None:
        """Find out whether padding stands between kept tokens; the mask function then makes an
        explicit mask."""
        sequence = now.sequence
        now.has_padding_mask = sequence.padded = True
        # a GPU is not waited for at every decoded token, and a compiled graph at none
        often = not sequence.decoding or mask.device.type == "cpu"
        if now.rows > 1 or (often and not torch.compiler.is_compiling()):
            now.holes, at_end = attention.padding_has_holes(mask)
            sequence.holes = now.holes or at_end
        else:
            now.holes = sequence.holes
        sequence.decoding = now.rows == 1
        if not now.holes:
            return
        if self.packing is not None:
            raise ModelError(
                f"kv_bits={self.packing.bits} takes padding at one end of each row, got padding "
                'between kept tokens; pad on the left (tokenizer.padding_side = "left"), ask a '
                "second turn without padding, or extend without kv_bits"
            )
        self._decoder.say_once(
            "padding stands between kept tokens (right-padded prompts, or a left-padded second "
            "turn): using torch's scaled_dot_product_attention with an explicit mask"
        )

    @torch.compiler.disable
    def _count_features(
        self, now: ForwardPass, ids: torch.Tensor | None, encoded: Any | None
    ) -> None:
        """What is to be merged, and the placeholders that it is to be merged into."""
        if encoded is not None:
            if not self._decoder.encoded:
                raise broken(
                    "the video was encoded before this pass, not by the get_video_features that "
                    "groups frames"
                )
            now.features = self.family.features_of(encoded).shape[:-1].numel()
        if ids is None:
            return
        video = self.family.video_token_id(self.model.config)
        now.visual_tokens = int((ids == video).sum())
        if now.visual_tokens and encoded is None and not now.has_pixels:
            raise ModelError(
                f"{now.visual_tokens} visual tokens came without a video: pass "
                "pixel_values_videos with them (some releases of transformers lose it when a "
                "prompt with a video is prefilled in chunks: update, or leave out "
                "prefill_chunk_size)"
            )

    @torch.compiler.disable
    def _see_video(
        self, now: ForwardPass, ids: torch.Tensor, position_ids: torch.Tensor | None
    ) -> None:
        past = 0 if now.cache is None else now.cache.get_seq_length()
        is_visual = ids == self.family.video_token_id(self.model.config)
        if position_ids is None:
            position_ids = torch.arange(now.rows, device=ids.device)[None] + past
        before = now.sequence.visual
        span = find_visual_span(is_visual, past, position_ids, before)
        now.visual = now.sequence.visual = span
        now.sees_video = True
        if self.rearrange == "attention":
            if before is not None or int(past) != 0:
                raise ModelError(
                    'rearrange="attention" needs the whole prompt in one pass (no chunked prefill, '
                    'no video in a later turn); use rearrange="features"'
                )
            now.order = self._residual_order(span.start, span.length, now.rows)

    def _residual_order(self, start: torch.Tensor, length: torch.Tensor, rows: int) -> torch.Tensor:
        """int32 ``[B, S]``: text stays where it is, visual tokens follow the order the encoder left
        them in."""
        order = torch.arange(rows, dtype=torch.int32, device=start.device).repeat(len(start), 1)
        for row, (first, count) in enumerate(zip(start.tolist(), length.tolist(), strict=True)):
            frames, rest = divmod(count, self.tokens_per_frame)
            if rest or frames % self.frames_per_group:
                raise ModelError(
                    f'row {row}: rearrange="attention" needs the whole video in one pass, got '
                    f"{count} visual tokens, which are no whole groups; use "
                    'rearrange="features" for a prompt in chunks'
                )
            if count:
                order[row, first : first + count] = (
                    self._storage_order(frames).to(order.device) + first
                )
        return order


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


def _layers_of(cache: Cache) -> str:
    return ", ".join(sorted({type(layer).__name__ for layer in cache.layers})) or "no layers"


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
