"""A whole video, encoded and prefilled once for any number of questions."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from .answering import ask
from .cached_video import answer, empty_cache, layers_that_forget, prefill
from .errors import ModelError
from .growing import GrowingVideo
from .hook import Handle, extend
from .models import family_for
from .preparation import Preparer
from .sampling import check_frames
from .video import Clip


class WatchedVideo:
    """Answers as :func:`ask` does, without a second decode, encode and prefill of the video.

    The video's part of the prompt stays cached; a question and its answer go behind it and are
    forgotten exactly. An answer is that of :func:`ask` up to the rounding of a prefill in two
    passes. With ``kv_bits`` below 16, the newest keys of the first pass are not packed yet when the
    second reads them, so that an answer may differ where :func:`ask` is of two minds.

    Some models cannot go back to the video: those whose cache has sliding or recurrent layers, and
    any with ``rope="dynamic_ntk"``, where a question decides the stretch. Each of their questions
    is a call of :func:`ask`, with an encode and a prefill of its own; ``shares_prefill`` says so.

    Args:
        model: a Hugging Face Video-LLM; extended until :meth:`close`.
        preparer: see :func:`intp_video.load`.
        clip: the video.
        frames: that RoPE is stretched for; None: those of the clip.
        **options: of :func:`intp_video.extend`: rope, factor, window, ...

    Attributes:
        shares_prefill: whether questions share one encode and one prefill.

    Raises:
        ModelError, TypeError, ValueError: see :func:`prepare`, :func:`extend`. The model is then as
            it was.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        preparer: Preparer,
        clip: Clip,
        frames: int | None = None,
        **options: Any,
    ) -> None:
        self._model, self._preparer, self._clip = model, preparer, clip
        self._frames = len(clip) if frames is None else frames
        self._options = options
        self._handle: Handle | None = None
        self._closed = False
        self._cache = empty_cache(model)
        self.shares_prefill = (
            not layers_that_forget(self._cache) and options.get("rope") != "dynamic_ntk"
        )
        if self.shares_prefill:
            size = preparer.frame_size(clip)
            sized: dict[str, Any] = {} if size is None else {"frame_size": size}
            self._handle = extend(model, self._frames, **sized, **options)
            try:
                self._watch()
            except BaseException:
                self._handle.restore()
                raise

    def __enter__(self) -> WatchedVideo:
        return self

    def __exit__(self, *error: object) -> None:
        if not self._closed:
            self.close()

    def close(self) -> None:
        """Restore the model.

        Raises:
            ModelError: it is already closed.
        """
        self._check_open("close")
        self._closed = True
        if self._handle is not None:
            self._handle.restore()

    @torch.no_grad()
    def ask(self, question: str, *, max_new_tokens: int = 64) -> str:
        """The greedy answer to a question about the video.

        Raises:
            TypeError, ValueError: a bad question, see :meth:`Preparer.check_question`, or a number
                of tokens out of range.
            ModelError: it is closed.
        """
        self._check_open("ask")
        question = self._preparer.check_question(question, "WatchedVideo.ask")
        check_frames(max_new_tokens, function="WatchedVideo.ask", name="max_new_tokens")
        if self._handle is None:
            return ask(
                self._model,
                self._preparer,
                self._clip,
                question,
                self._frames,
                max_new_tokens=max_new_tokens,
                **self._options,
            ).text
        ids = answer(self._handle, self._cache, self._video, question, max_new_tokens)
        return self._preparer.text_of(ids)

    @torch.no_grad()
    def _watch(self) -> None:
        assert self._handle is not None
        clip = self._clip
        made = self._preparer.processing.frames(clip.frames, clip.timestamps, clip.duration)
        axes = 1 if family_for(self._model.config).mrope is None else 3
        self._video = GrowingVideo.whole(self._preparer, axes, made)
        ids = self._video.shown()
        positions = self._video.positions("?", self._handle.multimodal_module)[..., : len(ids)]
        prefill(self._handle, self._cache, ids, positions, made.tensors)

    def _check_open(self, method: str) -> None:
        if self._closed:
            raise ModelError(f"WatchedVideo.{method}: the video is closed already")
