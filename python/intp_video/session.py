"""A video that grows: frames are added as they arrive, questions are asked in between."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicCache

from .generation import generate
from .hook import extend
from .hook.cache import PackedLayer, kv_cache_bytes
from .planning import text_reserve
from .preparation import Preparer
from .video import Clip


class Session:
    """Watches a growing video and answers, without a second prefill of old frames.

    Keys are cached unrotated (``kv_rotate="on_read"``). When the frames need a larger scaling
    factor, RoPE is stretched for everything that is cached: old and new keys stand at the positions
    a video of this length has.

    With a constant ``factor`` (given, or 1 while the video fits into the trained context), a
    session is one full forward pass in chunks, and equals it up to rounding at 16 bits. When the
    factor grows, all rotations and the first layer's keys and values still equal that pass. Those
    of deeper layers are an approximation: they come from hidden states that saw earlier tokens
    under the factor of that time. Frames are encoded in the groups in which they arrive
    ("contiguous"), which matters for encoders that attend over time. Questions and answers are
    forgotten: the next question sees only the video.

    Args:
        model: a Hugging Face Video-LLM; extended until :meth:`close`.
        preparer: see :func:`intp_video.load`.
        frames: the most frames it will watch.
        rope: "none", "linear", "ntk" or "yarn".
        factor: a fixed factor; None: ``max(1, (frames so far * P + reserve) / L0)``, which grows.
        kv_bits: 16, 8, 4 or 2.
        **options: of :func:`intp_video.extend`: window, sink, ...

    Attributes:
        frames: frames watched so far.
        factor: scaling factor in use.

    Raises:
        ModelError, TypeError, ValueError: see :func:`intp_video.extend`.

    Example::

        with intp_video.Session(model, preparer, frames=256, kv_bits=4) as session:
            session.add(first_clip)
            print(session.ask("What happens?"))
            session.add(next_clip)
            print(session.ask("And now?"))
    """

    def __init__(
        self,
        model: PreTrainedModel,
        preparer: Preparer,
        frames: int = 256,
        *,
        rope: str = "yarn",
        factor: float | None = None,
        kv_bits: int = 16,
        **options: Any,
    ) -> None:
        if rope == "dynamic_ntk":
            raise ValueError(
                'Session: rope: expected "none", "linear", "ntk" or "yarn", got "dynamic_ntk"; '
                '"ntk" grows with the video here'
            )
        for name in ("span", "rearrange", "grouping", "kv_rotate", "fused"):
            if name in options:
                raise ValueError(
                    f"Session: {name}: expected not to be given, got {options[name]!r}"
                )
        self._model, self._preparer = model, preparer
        self._grows = factor is None and rope != "none"
        self._handle = extend(
            model,
            frames,
            rope=rope,
            factor=1.0 if self._grows else factor,
            grouping="contiguous",
            kv_bits=kv_bits,
            kv_rotate="on_read",
            **options,
        )
        self._cache = DynamicCache(config=self._handle.text_config)
        self.frames = 0

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        if self._handle.active:
            self.close()

    def close(self) -> None:
        """Restore the model.

        Raises:
            ModelError: it is already closed.
        """
        self._handle.restore()

    @property
    def factor(self) -> float:
        return self._handle.factor

    @property
    def nbytes(self) -> int:
        """Bytes of keys and values in use, everything counted."""
        return kv_cache_bytes(self._cache)[0]

    @torch.no_grad()
    def add(self, clip: Clip | torch.Tensor) -> None:
        """Show the next frames: only they are encoded and prefilled.

        Args:
            clip: whole groups of N frames: a :class:`Clip`, or uint8 ``[M, height, width, 3]``.

        Raises:
            ValueError: the groups are not whole, or the session was made for fewer frames.

        A call that fails, or is interrupted, leaves the session as it was.
        """
        frames = torch.as_tensor(clip.frames if isinstance(clip, Clip) else clip)
        count, group = len(frames), self._preparer.frames_per_group
        if count == 0 or count % group:
            raise ValueError(
                f"Session.add: clip: expected whole groups of {group} frames, got {count}; keep "
                "the rest for the next call"
            )
        if self.frames + count > self._handle.frames:
            raise ValueError(
                f"Session.add: clip: expected at most {self._handle.frames} frames in all, got "
                f"{self.frames} and {count} more; open a Session with more frames"
            )
        pixels = self._preparer.frame_processor(frames)[None]
        prompt = self._preparer.prompt_ids("?", self.frames + count)[0]
        last = int((prompt == self._preparer.video_token_id).nonzero()[-1])
        begin = self._cache.get_seq_length()
        ids = prompt[None, begin : last + 1].to(self._model.device)
        factor = self.factor
        try:
            if self._grows:
                self._stretch(self.frames + count)
            self._handle.multimodal_module(
                input_ids=ids,
                pixel_values_videos=pixels.to(self._model.device, self._model.dtype),
                position_ids=torch.arange(begin, last + 1, device=ids.device)[None],
                use_cache=True,
                **{self._handle.cache_argument: self._cache},
            )
        except BaseException:  # the pass undoes itself
            if self.factor != factor:
                self._handle.restretch(self._cache, factor)
            raise
        self.frames += count

    def ask(self, question: str, *, max_new_tokens: int = 64) -> str:
        """The greedy answer to a question about the frames so far.

        Raises:
            TypeError, ValueError: a bad question, see :meth:`Preparer.check_question`.
            ValueError: no frames yet.
        """
        self._preparer.check_question(question, "Session.ask")
        if self.frames == 0:
            raise ValueError("Session.ask: expected frames first, got none; call add()")
        prompt = self._preparer.prompt_ids(question, self.frames)
        layers = (layer for layer in self._cache.layers if isinstance(layer, PackedLayer))
        packed = [layer.cache for layer in layers if layer.cache is not None]
        marks = [cache.mark() for cache in packed]
        try:
            inputs = {"input_ids": prompt, "attention_mask": torch.ones_like(prompt)}
            going_on = {self._handle.cache_argument: self._cache}
            ids = generate(self._model, inputs, max_new_tokens, **going_on)
        finally:
            for cache, mark in zip(packed, marks, strict=True):
                cache.rewind(mark)
        return self._preparer.text_of(ids)

    def _stretch(self, frames: int) -> None:
        trained = self._handle.text_config.max_position_embeddings
        per_frame = self._preparer.tokens_per_frame
        reserve = text_reserve(self._preparer.frames_per_group * per_frame, trained)
        self._handle.restretch(self._cache, max(1.0, (frames * per_frame + reserve) / trained))
