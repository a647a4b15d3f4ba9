"""One forward pass through an extended model: what its layers need, and the proof that every part
took part.

transformers looks up our cache, mask, frequencies and attention function by name. A release that
renames one of them drops ours silently. So each part leaves a trace in the current pass, and
:meth:`ForwardPass.finish` raises an error where one is missing. The traces are host facts
(identities, shapes and counts); they read no device memory.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch
from transformers.cache_utils import Cache

import intp_ext
from intp_ext.operators.apply_rope import rotate
from intp_ext.operators.rearrange import gather_tokens, inverse_order

from .. import compat
from ..backend.attention import as_autocast
from ..backend.carrier import bounds_of, limits_of
from ..errors import ModelError, broken
from .sequence import Sequence

UNTURNED = (
    "not what came out of apply_rotary_pos_emb, where fused RoPE would rotate them; extend with "
    "fused=False"
)


@dataclass(eq=False)
class DecoderState:
    """What the attention layers of one extended decoder share; hangs on each of them as ``intp``.

    Attributes:
        window: frames a visual token sees (its own included), or None.
        sink: first tokens of a row that everything sees; None for as many as a frame has.
        needs_visual: a pass must know which of its tokens show a video.
        needs_sequence: the whole model must be called, not the decoder alone.
        layers: the attention modules, in the order in which a pass calls them.
        angles: how often a pass asks for angles: once, or once for each type of layers.
        encoded: videos that the grouped encoder has encoded so far.
        on_attention: called with query, key and scaling of each layer that keeps its keys unpacked.
    """

    window: int | None
    sink: int | None
    needs_visual: bool
    needs_sequence: bool
    layers: list[Any]
    angles: int = 1
    encoded: int = 0
    on_attention: Callable[[torch.Tensor, torch.Tensor, float], None] | None = None
    said: set[str] = field(default_factory=set)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        """Refuses: copying or pickling a part of an extended model reaches this shared state."""
        kind = type(self.layers[0]).__name__ if self.layers else "it"
        raise ModelError(
            f"{kind} belongs to an extended model, which is not copied or pickled whole or in "
            "parts; restore() first"
        )

    def say_once(self, message: str) -> None:
        """Log a warning the first time; a compiled graph cannot log."""
        if message not in self.said and not torch.compiler.is_compiling():
            self.said.add(message)
            compat.log.warning(message)


class ForwardPass:
    """What the parts of one pass share, and what each has shown.

    Args:
        decoder: the decoder it goes through.
        sequence: what its cache continues.
        cache: the cache it was given, or None.
        rows: new tokens in each row of the batch.
        own_layers: keys go through our cache layers (and there is a cache).
        replayed: gradient checkpointing will call its layers again after the pass.

    Attributes:
        past: tokens in our cache layers before this pass; 0 in a cache without any.
        first_key: int32 ``[B, S]``, the first key each row sees beside the sink, or None.
        tokens_per_unit: tokens of a unit of time of each of its videos, where they must be known.
        visual_before: int64 ``[B, S]``, visual tokens before each row; None where all stand before.
        order: int32 ``[B, S]``: time -> row of the residual stream, or None; ``inverse`` is the way
            back.
        position_ids: as the model counts them.
        positions: ``[1 or B, S]``, or ``[3, 1 or B, S]`` with M-RoPE, in time order, where rotation
            is withheld.
        withheld: the model's own rotation lets q and k pass unrotated.
        rotates: they did so in the layer under way, so we rotate them; not in a layer without RoPE.
        kv_bounds: int32 ``[B, 2]``: the keys that are not padding.
        masks: every mask that attention may be given in this pass.
        has_padding_mask: it was given one, which the mask function must see.
        holes: its padding lies between kept keys.
        has_pixels: it was given a video to encode.
        features: rows of video features, or None.
        merged: rows of them that are merged, where a mask drops some; None for all.
        visual_tokens: placeholders to merge them into, or None if only embeddings are known.
    """

    def __init__(
        self,
        decoder: DecoderState,
        sequence: Sequence,
        cache: Cache | None,
        rows: int,
        own_layers: bool,
        replayed: bool = False,
    ) -> None:
        self.decoder, self.sequence = decoder, sequence
        self.cache: Any = cache
        self.rows, self.own_layers = rows, own_layers
        self.replayed, self.over = replayed, False
        self._before = sequence.state()
        self._layers = [x for x in getattr(cache, "layers", ()) if hasattr(x, "undo")]  # ours
        self.past = int(self._layers[0].get_seq_length()) if self._layers else 0
        self.rope = sequence.rope
        self.first_key: torch.Tensor | None = None
        self.tokens_per_unit: list[int] = []
        self.visual_before: torch.Tensor | None = None
        self.order: torch.Tensor | None = None
        self.inverse: torch.Tensor | None = None
        self.position_ids: torch.Tensor | None = None
        self.positions: torch.Tensor | None = None
        self.withheld = self.rotates = False
        self.kv_bounds: torch.Tensor | None = None
        self.masks: list[torch.Tensor] = []
        self.has_padding_mask = False
        self.holes = False
        self.has_pixels = False
        self.features: int | None = None
        self.merged: int | None = None
        self.visual_tokens: int | None = None
        self._mask: torch.Tensor | None = None  # the one that attention was given last
        self._bounds: dict[int | None, tuple[Any, int, Any]] = {}  # by sliding window
        self._rotary_calls = 0
        self._turned: tuple[Any, Any] = (None, None)  # q and k of this layer, from the guard
        self._handed: Any = None  # what our cache layer returned for this layer's keys
        self._attended: list[Any] = []
        self._unrotated: list[Any] = []

    # ---- what the parts do ----

    def window(self) -> intp_ext.Window | None:
        if self.first_key is None:
            return None  # text after the video sees everything
        sink = self.decoder.sink
        if sink is None:
            sink = max(self.tokens_per_unit, default=0)
        return intp_ext.Window(first_key=self.first_key, sink=sink)

    def bounds(
        self, carrier: torch.Tensor, queries: int, sliding_window: int | None = None
    ) -> intp_ext.Bounds:
        """What the last ``queries`` rows see, made once for the layers of one kind and device.

        Raises:
            ModelError: the carrier was not made for layers with that sliding window.
        """
        made = self._bounds.get(sliding_window)
        if made is None or made[0] is not carrier or made[1] != queries:
            window = self.window() if sliding_window is None else intp_ext.Window(sliding_window)
            limits = limits_of(window)
            asked = getattr(carrier, "intp_limits", limits)[0]  # not of one that was moved
            if asked != limits[0]:
                raise broken(
                    f"a layer with sliding_window={sliding_window} was given a mask of "
                    f"{'no window' if asked is None else f'a window of {asked}'}"
                )
            made = carrier, queries, bounds_of(carrier, queries, limits)
            self._bounds[sliding_window] = made
        return made[2]

    def bring_in_order(self, order: torch.Tensor) -> None:
        """The residual stream is in another order than time: ``order [B, S]``, time -> row."""
        self.order, self.inverse = order, inverse_order(order)

    def prepare_queries(self, query: torch.Tensor) -> torch.Tensor:
        """``[B, Hq, S, D]`` as the attention core wants them: in time order, rotated."""
        self.follow(query.device)
        query = as_autocast(query)
        if self.rotates:
            assert self.positions is not None
            return rotate(query, self.positions, self.rope, self.order)
        return query if self.order is None else gather_tokens(query, self.order)

    def prepare_keys(
        self, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The new k and v ``[B, Hkv, S, D]`` as they are cached: in time order, keys rotated."""
        self.follow(key.device)
        key, value = (as_autocast(x) for x in (key, value))
        if self.rotates:
            assert self.positions is not None
            key = rotate(key, self.positions, self.rope, self.order)
        elif self.order is not None:
            key = gather_tokens(key, self.order)
        return key, value if self.order is None else gather_tokens(value, self.order)

    def pack_keys(self, cache: intp_ext.KVCache, key: torch.Tensor, value: torch.Tensor) -> None:
        """The same into a cache of ours, which brings them in order and rotates them itself."""
        positions = self.positions if self.rotates else None
        key, value = (as_autocast(x) for x in (key, value))
        cache.append(key, value, positions, order=self.order, kv_bounds=self.kv_bounds)

    def restore_rows(self, output: torch.Tensor) -> torch.Tensor:
        """``[B, Hq, S, D]`` from time order back to the rows of the residual stream: the last act
        of a layer."""
        self.rotates = False
        return output if self.inverse is None else gather_tokens(output, self.inverse)

    def follow(self, device: torch.device) -> None:
        """Layers of one model may lie on several devices."""
        if self.rope.inv_freq.device == device:
            return
        self.rope = self.rope.to(device)
        self.positions = None if self.positions is None else self.positions.to(device)
        if self.order is not None:
            self.bring_in_order(self.order.to(device))
        if self.first_key is not None:
            self.first_key = self.first_key.to(device)
        self.kv_bounds = None if self.kv_bounds is None else self.kv_bounds.to(device)

    def see_positions(self, position_ids: torch.Tensor) -> torch.Tensor:
        """The positions of the pass as they are rotated by."""
        self.position_ids = position_ids
        return self.sequence.stretch(position_ids, self.visual_before)

    # ---- the traces they leave ----

    def saw_mask(
        self,
        mask: torch.Tensor,
        padding: torch.Tensor | None,
        kv_length: int,
        offset: int | torch.Tensor,
    ) -> None:
        """Our mask function made this one from the padding of the batch."""
        if self.has_padding_mask and padding is None:
            raise broken("the mask function was not given the padding of the batch")
        if self.own_layers and not torch.compiler.is_compiling():  # it would compile every length
            self._compare_lengths(kv_length, offset)
        self.allow_mask(mask)

    def _compare_lengths(self, kv_length: int, offset: int | torch.Tensor) -> None:
        known = isinstance(offset, int) or offset.device.type == "cpu"
        if kv_length != self.past + self.rows or (known and int(offset) != self.past):
            raise broken(
                f"the mask function was asked for {kv_length} keys and for rows from {offset} on, "
                f"in a pass of {self.rows} rows after {self.past}"
            )

    def allow_mask(self, mask: torch.Tensor) -> None:
        """Attention may be given this mask."""
        self.masks.append(mask)
        self.remember_in(mask)

    def remember_in(self, argument: torch.Tensor) -> None:
        """A layer that is called again is given the same argument, and finds its pass in it.

        Not in every pass: the cycle would keep a cache alive until it is collected.
        """
        if self.replayed:
            argument.intp_pass = self  # type: ignore[attr-defined]

    def saw_rotary(self) -> None:
        """Our rotary module gave this pass its angles, or withheld them."""
        self._rotary_calls += 1

    def saw_rotation(self, query: torch.Tensor, key: torch.Tensor) -> None:
        """q and k went unrotated through the model's own rotation, on the way to ours: what we
        rotate must be them, or something is done to them that has its place after the rotation."""
        self._turned, self.rotates = (query, key), True

    def saw_update(self, key: torch.Tensor, states: Any) -> None:
        """Our cache layer was given these keys, and returned all that it has for them."""
        if self.rotates and key is not self._turned[1]:
            raise broken(f"a layer caches keys that are {UNTURNED}")
        self._handed = states

    def saw_attention(
        self, module: Any, query: torch.Tensor, key: Any, mask: torch.Tensor | None
    ) -> None:
        """A layer attends: to the keys that our cache returned, under a mask of this pass."""
        if self.over:
            return
        if self.own_layers and not reads_others(module):
            if key is not self._handed:
                raise broken(
                    f"{self._name(module)} attends to keys that its cache layer did not return"
                )
            self._handed = None
        if self.rotates:
            turned = self._turned
            if query is not turned[0] or (key is not turned[1] and not self.own_layers):
                raise broken(f"{self._name(module)} attends by q and k that are {UNTURNED}")
            self._turned = None, None
        elif self.withheld:
            self._unrotated.append(module)
        if query.size(2) != self.rows and not reads_others(module):
            raise broken(
                f"{self._name(module)} asks for {query.size(2)} rows in a pass of {self.rows}"
            )
        if mask is None or (mask is not self._mask and not self._is_ours(mask)):
            raise broken(
                f"{self._name(module)} was given a mask that was not made for this pass "
                f"({_told(mask)}): the mask function of attn_implementation "
                f'"{module.config._attn_implementation}" was not asked for it'
            )
        self._attended.append(module)

    def _is_ours(self, mask: torch.Tensor) -> bool:
        """A mask of this pass, or one moved to the device of a later layer, or its last rows."""
        for made in self.masks:
            if mask.device == made.device:
                ours = mask is made or _share_memory(mask, made)
            else:
                ours = (mask.shape, mask.dtype) == (made.shape, made.dtype)
            if ours:
                self._mask = mask
                return True
        return False

    def undo(self) -> None:
        """The sequence and our cache layers as they were before this pass, which failed.

        Other layers (a sliding window, a recurrent state) keep what the pass did to them, so that
        their cache is of no use any more.
        """
        self.sequence.set_state(self._before)
        for layer in self._layers:
            layer.undo(self.past)
        others = [layer for layer in getattr(self.cache, "layers", ()) if layer not in self._layers]
        if others and self._rotary_calls:  # the first layer has begun
            self.cache.intp_spoiled = type(others[0]).__name__

    # ---- the proof ----

    def finish(self, output: Any, frequencies_are_ours: bool) -> None:
        """Prove that every part took part.

        Raises:
            ModelError: what did not happen, and the version of transformers.
        """
        self.over = True
        if self._attended != self.decoder.layers:
            self._say_other_implementation()
            raise broken(self._who_did_not_attend())
        if not frequencies_are_ours or self._rotary_calls != self.decoder.angles:
            raise broken(
                f"the decoder asked the extended rotary embedding {self._rotary_calls} times for "
                f"its angles, not {self.decoder.angles or 'once'}"
                if frequencies_are_ours
                else "the decoder's rotary_emb is not the extended one"
            )
        if self._unrotated:
            self._prove_unrotated()
        if self.cache is not None:
            self._prove_cache(output)
        merged = self.features if self.merged is None else self.merged
        if merged != self.visual_tokens and None not in (merged, self.visual_tokens):
            raise broken(f"{merged} video features stand for {self.visual_tokens} visual tokens")
        if self.has_pixels and self.features is None:
            raise broken("the video was not encoded by the method that groups frames")

    def _prove_unrotated(self) -> None:
        """Some layers have no RoPE: then all of their kind have none, and others have it."""
        kinds = {_kind(module) for module in self._unrotated}
        rest = [module for module in self._attended if module not in self._unrotated]
        same = next((module for module in rest if _kind(module) in kinds), None)
        if same is not None or not rest:
            raise broken(
                f"{self._name(self._unrotated[0])} was not rotated by apply_rotary_pos_emb, and "
                + ("no other was" if same is None else f"{self._name(same)}, which is like it, was")
                + "; extend with fused=False"
            )

    def _prove_cache(self, output: Any) -> None:
        returned = compat.cache_of(output)
        if returned is not self.cache:
            got = "none" if returned is None else "another one"
            raise broken(f"the pass was given a {type(self.cache).__name__} and returned {got}")
        held = int(self._layers[0].get_seq_length()) if self._layers else 0
        if self._layers and held != self.past + self.rows:
            raise broken(
                f"the cache held {self.past} tokens, was given {self.rows} and holds {held}"
            )

    def _say_other_implementation(self) -> None:
        names = {module.config._attn_implementation for module in self.decoder.layers}
        if names != {"intp"}:
            raise ModelError(
                f"the attention implementation of the extended model was set to "
                f"{', '.join(sorted(names))}, which knows nothing of the extension: restore() first"
            )

    def _who_did_not_attend(self) -> str:
        layers = self.decoder.layers
        calls = [sum(module is seen for seen in self._attended) for module in layers]
        wrong = [
            f"{self._name(x)}: {n} times" for x, n in zip(layers, calls, strict=True) if n != 1
        ]
        return (
            f'not every decoder layer called the attention function "intp" once: '
            f"{', '.join(wrong[:4]) or 'the layers were called in another order'}"
            + (f" and {len(wrong) - 4} more" if len(wrong) > 4 else "")
        )

    def _name(self, module: Any) -> str:
        index = next((i for i, x in enumerate(self.decoder.layers) if x is module), None)
        return f"layer {'?' if index is None else index}"


def _kind(module: Any) -> tuple:
    """What tells the layers of a decoder apart, beside their weights and their place."""
    plain = (bool, int, float, str, type(None))
    return tuple(
        sorted(
            (name, repr(value))
            for name, value in vars(module).items()
            if isinstance(value, plain) and name != "layer_idx"
        )
    )


def reads_others(module: Any) -> bool:
    """Whether it reads the keys of an earlier layer, and then perhaps for the last rows alone."""
    return getattr(module, "is_kv_shared_layer", False)


def _share_memory(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


def _told(mask: torch.Tensor | None) -> str:
    return "none" if mask is None else f"{mask.dtype} {list(mask.shape)}"


class _Current(threading.local):
    """The pass under way in this thread (torch.compile traces a threading.local, no ContextVar)."""

    now: ForwardPass | None = None


CURRENT = _Current()


def pass_of(argument: torch.Tensor | None) -> ForwardPass | None:
    """The pass under way, or the one that left this argument to a layer that is called again."""
    return CURRENT.now or getattr(argument, "intp_pass", None)


def saw_features(rows: int) -> None:
    """The videos of the pass under way, if there is one, were encoded to so many rows of features.

    For whatever stands in front of the grouped encoder and changes what it returns, or remembers
    it.
    """
    if CURRENT.now is not None:
        CURRENT.now.features = rows
