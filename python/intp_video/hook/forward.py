"""Wraps every forward pass: finds its sequence and its video, puts our layers into its cache, and
proves afterward that every part took part."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache

from .. import compat
from ..decoder_layers import cached_windows
from ..errors import ModelError
from ..models import VideoFamily
from ..options import Options
from .cache import adopt, holds_packed, is_static, names_of_layers, sequence_of
from .encoder import GroupedEncoder
from .padding import check_mask, see_padding
from .passes import CURRENT, DecoderState, ForwardPass, broken, reads_others
from .rotary import ExtendedRotaryEmbedding
from .sequence import Sequence
from .stretch import Stretch
from .visual import VideoTokens, first_keys, number_frames, visual_tokens_before


class ProvenForward:
    """``forward`` of a multimodal module, as one :class:`ForwardPass`.

    Args:
        model: the whole model.
        family: of the model.
        options: how it is extended.
        decoder: what its attention layers share.
        stretch: its positions.
        rotary: the extended rotary embedding.
        encoder: of its videos.

    Attributes:
        cache_argument: what this transformers calls the cache of a forward pass.

    Raises:
        ModelError: a ``forward`` that takes no cache by a known name.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        family: VideoFamily,
        options: Options,
        decoder: DecoderState,
        stretch: Stretch,
        rotary: ExtendedRotaryEmbedding,
        encoder: GroupedEncoder,
    ) -> None:
        self._options, self._decoder, self._stretch = options, decoder, stretch
        self._rotary, self._encoder, self._family = rotary, encoder, family
        self._outer = family.multimodal_module(model)
        self._text = family.text_model(model)
        self._config = model.config
        own = {id(module) for module in decoder.layers}
        self._places = [
            place
            for place, layer in enumerate(self._text.layers)
            if id(getattr(layer, "self_attn", None)) in own and not reads_others(layer.self_attn)
        ]
        windows = enumerate(cached_windows(self._text.config))
        self._sliding = frozenset(place for place, window in windows if window is not None)
        self._parameters = tuple(inspect.signature(self._outer.forward).parameters)
        self.cache_argument = self._find_cache_argument()

    def _find_cache_argument(self) -> str:
        name = compat.cache_argument(self._outer.forward)
        if name is None:
            raise broken(
                f"{type(self._outer).__name__}.forward takes no cache by a known name, only "
                f"{', '.join(self._parameters)}"
            )
        return name

    def around(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """The module's own ``forward``, proven."""

        @functools.wraps(original)
        def forward(*args: Any, **kwargs: Any) -> Any:
            before = CURRENT.now
            undo = ExitStack()
            try:
                kwargs = self._begin(args, kwargs, undo)
                output = original(**kwargs)
                now = CURRENT.now
                if now is not None and now is not before:
                    now.finish(output, self._text.rotary_emb is self._rotary)
                    self._say_foreign_cache(now)
                    self._say_beyond(now)
            except BaseException:  # Ctrl-C too: layers must not differ in length
                undo.close()
                raise
            finally:
                CURRENT.now = before
            return output

        return forward

    def _begin(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], undo: ExitStack
    ) -> dict[str, Any]:
        """Make the pass current. Returns the arguments of the module's own forward."""
        if torch.compiler.is_exporting():
            raise ModelError(
                "torch.export of an extended model: a pass reads masks and positions, which cannot "
                "be exported; restore() first"
            )
        kwargs.update(zip(self._parameters, args, strict=False))
        ids, embeds = kwargs.get("input_ids"), kwargs.get("inputs_embeds")
        tokens = ids if ids is not None else embeds
        if tokens is None:
            return kwargs  # the model says what is missing
        rows = tokens.shape[1]
        encoded = (kwargs.get("mm_encoder_outputs") or {}).get(self._family.modality)
        has_pixels = kwargs.get(self._family.pixels) is not None
        has_video = encoded is not None or has_pixels
        replayed = self._is_checkpointed()
        cache = self._take_cache(kwargs, replayed)
        if cache is not None:
            undo.callback(setattr, cache, "layers", cache.layers)
        mask = kwargs.get("attention_mask")
        check_mask(mask)
        sequence = self._sequence_for(cache, mask, rows, has_video)
        own_layers = cache is not None and sequence.own_cache
        now = ForwardPass(self._decoder, sequence, cache, rows, own_layers, replayed)
        undo.callback(now.undo)
        see_padding(now, mask, self._options.kv_bits if holds_packed(cache) else None)
        sequence.has_video = sequence.has_video or has_video
        now.has_pixels = has_pixels
        if has_video or (rows > 1 and not sequence.has_video):  # it reads device memory
            self._count_features(now, ids, encoded, kwargs)
        if ids is None and self._decoder.needs_sequence:
            raise ModelError(
                'a window, span="visual", rope="dynamic_ntk" and rearrange="attention" find the '
                "video by its tokens: pass input_ids, not inputs_embeds"
            )
        if has_video and self._decoder.needs_visual:
            self._see_video(now, ids, encoded, kwargs)
        CURRENT.now = now
        return kwargs

    # ---- its cache ----

    def _is_checkpointed(self) -> bool:
        """Whether layers will be called again in the backward pass, as transformers decides it."""
        layers = self._text.layers
        asked = any(getattr(layer, "gradient_checkpointing", False) for layer in layers)
        return asked and self._text.training and torch.is_grad_enabled()

    def _take_cache(self, kwargs: dict[str, Any], replayed: bool) -> Cache | None:
        """The cache that was given, or the one that the decoder would make, in the arguments."""
        cache = compat.take_cache(kwargs)
        spoiled = getattr(cache, "intp_spoiled", None)
        if spoiled is not None and is_static(cache) and int(cache.get_seq_length()) == 0:
            cache.intp_spoiled = spoiled = None  # it was reset
        if spoiled is not None:
            raise ModelError(
                f"{self.cache_argument}: a pass over it failed, and its {spoiled} cannot go back "
                "to what it held before: begin with an empty cache"
            )
        use_cache = kwargs.get("use_cache")
        if use_cache is None:
            use_cache = self._config.get_text_config().use_cache
        if replayed:
            if cache is not None:
                raise ModelError(
                    f"gradient checkpointing calls layers twice, got {self.cache_argument}: pass "
                    "none"
                )
            use_cache = False
        if cache is None and use_cache:
            cache = DynamicCache(config=self._text.config)
        kwargs["use_cache"], kwargs[self.cache_argument] = use_cache, cache
        return cache

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
        rope, reach = self._stretch.of_sequence(mask, rows, has_video)
        factor = self._stretch.factor if self._options.span == "visual" else None
        sequence = Sequence(self._rotary.rope if rope is None else rope, factor, reach)
        sequence.own_cache = adopt(
            cache, sequence, self._places, self._sliding, len(self._text.layers), self._options
        )
        if cache is not None and not sequence.own_cache:
            cache.intp_sequence = sequence
            self._check_foreign_cache(cache)
        self._rotary.twin(sequence.rope)
        return sequence

    def _say_beyond(self, now: ForwardPass) -> None:
        """Positions beyond what was trained, or stretched to: said when the first one is used."""
        if torch.compiler.is_compiling():
            return
        reached = now.past + now.rows
        if self._family.mrope is not None:
            positions = now.position_ids
            if positions is None or (now.rows == 1 and positions.device.type != "cpu"):
                return  # a GPU is not waited for at every decoded token
            reached = int(positions.max()) + 1
        reached = self._family.rope_distance(self._config, reached)
        if reached > now.sequence.reach:
            self._decoder.say_once(
                f"the sequence grows beyond the {now.sequence.reach} positions that RoPE reaches "
                f"(trained: {self._stretch.trained}, factor {self._stretch.factor:.3f}): answers "
                "may get worse; extend with a larger factor, or with more frames"
            )

    def _check_foreign_cache(self, cache: Cache) -> None:
        if self._options.packed and not holds_packed(cache):
            raise ModelError(
                f"kv_bits={self._options.kv_bits} needs the default cache or a static one, got "
                f"{'an offloaded ' if getattr(cache, 'offloading', False) else ''}"
                f"{type(cache).__name__} of {names_of_layers(cache)}; extend without kv_bits to "
                "use it"
            )
        if self._options.rearrange == "attention":
            raise ModelError(
                f'rearrange="attention" needs the default cache, got {type(cache).__name__} of '
                f'{names_of_layers(cache)}; use rearrange="features" with it'
            )

    def _say_foreign_cache(self, now: ForwardPass) -> None:
        """Only after a pass that succeeded: beside an error it would look like a part of it."""
        if self._options.fused and now.cache is not None and not now.own_layers:
            self._decoder.say_once(
                f"{type(now.cache).__name__}: keys are rotated before they are cached, not by our "
                "cache layer"
            )

    # ---- its video ----

    @torch.compiler.disable
    def _count_features(
        self,
        now: ForwardPass,
        ids: torch.Tensor | None,
        encoded: Any | None,
        arguments: dict[str, Any],
    ) -> None:
        """What is to be merged, and the placeholders that it is to be merged into."""
        family = self._family
        now.merged = family.merged_rows(arguments)
        if encoded is not None:
            if not self._decoder.encoded:
                raise broken(
                    f"the video was encoded before this pass, not by the {family.encoder} that "
                    "groups frames"
                )
            now.features = len(family.rows_of(encoded)[0])
        if ids is None or family.shares_placeholder(arguments):
            return
        now.visual_tokens = int((ids == family.placeholder_id(self._config)).sum())
        if now.visual_tokens and encoded is None and not now.has_pixels:
            raise ModelError(
                f"{now.visual_tokens} visual tokens came without a video: pass {family.pixels} "
                "with them. In assisted generation the assistant model is not shown the video: "
                "restore() it, and extend the model it assists alone. Some releases of "
                "transformers lose the video of a prompt that is prefilled in chunks: update, or "
                "leave out prefill_chunk_size"
            )

    @torch.compiler.disable
    def _see_video(
        self, now: ForwardPass, ids: torch.Tensor, encoded: Any | None, arguments: dict[str, Any]
    ) -> None:
        sequence = now.sequence
        past = 0 if now.cache is None else int(now.cache.get_seq_length())
        is_visual = ids == self._family.placeholder_id(self._config)
        videos, whole = self._videos_of(now, encoded, arguments)
        if not videos:
            return  # the encoder says what is missing
        now.tokens_per_unit = [video.tokens_per_unit for video in videos]
        if self._options.rearrange == "attention":
            if sequence.visual is not None or past != 0 or not whole:
                raise ModelError(
                    'rearrange="attention" needs the whole prompt in one pass (no chunked prefill, '
                    'no video in a later turn); use rearrange="features"'
                )
            now.bring_in_order(self._encoder.residual_order(is_visual, videos))
        if self._family.text_between_frames:
            visual = number_frames(is_visual, past, sequence.visual, None)
        else:
            done = None if whole else sequence.tokens_done(videos, len(ids))
            visual = number_frames(is_visual, past, sequence.visual, videos, done)
        sequence.visual = visual
        now.visual_before = visual_tokens_before(visual, past)
        if self._decoder.window is not None:
            now.first_key = first_keys(visual, past, self._decoder.window)

    def _videos_of(
        self, now: ForwardPass, encoded: Any | None, arguments: dict[str, Any]
    ) -> tuple[list[VideoTokens], bool]:
        """The videos of the pass, and whether it shows them whole."""
        family, config = self._family, self._config
        if not now.has_pixels:
            return self._encoder.videos(encoded)
        units = family.units({family.pixels: arguments[family.pixels], **arguments})
        sizes = family.tokens_per_unit(config, arguments)
        if len(sizes) == 1:
            sizes = sizes * len(units)
        surplus = family.surplus_tokens(config)
        shown = zip(units, sizes, strict=True)
        return [VideoTokens(count, size, surplus) for count, size in shown if count], True
