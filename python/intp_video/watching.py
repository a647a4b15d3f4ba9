"""A whole video, encoded and prefilled once for any number of questions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import LogitsProcessorList, PreTrainedModel

from .answering import ask
from .attention_mass import AttentionMass
from .cached_video import answer, empty_cache, layers_that_forget, prefill
from .errors import ModelError
from .generation import Scoring, generate
from .growing import GrowingVideo
from .hook import Handle, extend
from .models import family_for
from .preparation import Preparer, check_preparer
from .processing.prompt import History
from .streaming import Emit
from .video import Clip
from .viewer import Viewer


class WatchedVideo(Viewer):
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
        **options: of :func:`intp_video.extend`: rope, factor, window, on_encode, ...

    Attributes:
        shares_prefill: whether questions share one encode and one prefill.
        shows_attention: whether :meth:`watch_attention` can be used.

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
        check_preparer(preparer, "WatchedVideo")
        super().__init__(preparer)
        self._model, self._clip = model, clip
        self._frames = len(clip) if frames is None else frames
        self._options = options
        self._handle: Handle | None = None
        self._closed = False
        self._cache = empty_cache(model)
        self.shares_prefill = (
            not layers_that_forget(self._cache) and options.get("rope") != "dynamic_ntk"
        )
        self.shows_attention = False
        if self.shares_prefill:
            self._handle = self._extended()
            self.shows_attention = not self._handle.options.packed
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
        """Restore the model; an answer that is being streamed ends.

        Raises:
            ModelError: it is already closed.
        """
        self._check_ready("close")
        self._stop_streaming()
        self._closed = True
        if self._handle is not None:
            self._handle.restore()

    @property
    def extension(self) -> str:
        """How the model is extended, in words; empty where each question extends it anew."""
        return "" if self._handle is None else repr(self._handle)

    @torch.no_grad()
    def _answer(
        self, question: str, history: History, max_new_tokens: int, on_text: Emit | None
    ) -> str:
        if self._handle is None:
            return ask(
                self._model,
                self._preparer,
                self._clip,
                question,
                self._frames,
                max_new_tokens=max_new_tokens,
                history=history,
                on_text=on_text,
                **self._options,
            ).text
        return answer(
            self._handle, self._cache, self._video, question, max_new_tokens, history, on_text
        )

    @contextmanager
    def watch_attention(self) -> Iterator[AttentionMass]:
        """Which frames the answers look at that are given within the block. It costs about as much
        as attention in eager PyTorch.

        Raises:
            ModelError: it is closed; or questions do not share a prefill, or keys are packed or
                not rotated, so that there is nothing to look at.
        """
        if self._closed:
            raise ModelError("WatchedVideo.watch_attention: the video is closed already")
        if self._handle is None or not self.shows_attention:
            raise ModelError(
                "WatchedVideo.watch_attention: expected questions that share a prefill, "
                'kv_bits=16 and kv_rotate="on_write": other keys are not there to be multiplied'
            )
        mass = self._attention_mass()
        self._handle.on_attention = mass.add
        try:
            yield mass
        finally:
            self._handle.on_attention = None

    def _attention_mass(self) -> AttentionMass:
        """For the frames as they are shown; two that share their tokens are one place."""
        assert self._video.units is not None
        units, shown = self._video.units, self._video.shown()
        together = family_for(self._model.config).frames_per_unit(self._model.config)
        visual = (shown == self._preparer.video_token_id).nonzero()[:, 0]
        steps = torch.arange(0, units.frames, together)
        per_step = torch.tensor(units.tokens).repeat_interleave(units.frames_per_unit // together)
        per_step = per_step * together // units.frames_per_unit
        return AttentionMass(visual, steps.repeat_interleave(per_step[: len(steps)]), units.frames)

    @torch.no_grad()
    def score(self, question: str, answer_text: str) -> tuple[float, bool, int]:
        """How likely an answer to a question about the video is.

        Returns:
            The log-likelihood of its tokens in nats, whether they are the greedy ones, and how many
            they are. The end of the answer is none of them.

        Raises:
            TypeError, ValueError: a bad question, see :meth:`Preparer.check_question`, or an answer
                without tokens.
            ModelError: it is closed.
        """
        self._check_ready("score")
        question = self._preparer.check_question(question, "WatchedVideo.score")
        ids = self._preparer.tokenizer(
            answer_text.strip(), add_special_tokens=False, return_tensors="pt"
        )["input_ids"][0]
        if not len(ids):
            raise ValueError(f"WatchedVideo.score: answer: expected text, got {answer_text!r}")
        scoring = Scoring(ids)
        more: dict[str, Any] = {"logits_processor": LogitsProcessorList([scoring])}
        if self._handle is not None:
            answer(self._handle, self._cache, self._video, question, len(ids), **more)
        else:
            with self._extended():
                inputs = self._preparer(self._clip, question)
                generate(self._model, inputs, len(ids), **more)
        return scoring.log_likelihood, scoring.is_greedy, len(ids)

    def _extended(self) -> Handle:
        size = self._preparer.frame_size(self._clip)
        sized: dict[str, Any] = {} if size is None else {"frame_size": size}
        return extend(self._model, self._frames, **sized, **self._options)

    @torch.no_grad()
    def _watch(self) -> None:
        assert self._handle is not None
        clip = self._clip
        made = self._preparer.processing.frames(clip.frames, clip.timestamps, clip.covered)
        axes = 1 if family_for(self._model.config).mrope is None else 3
        self._video = GrowingVideo.whole(self._preparer, axes, made)
        ids = self._video.shown()
        positions = self._video.positions("?", self._handle.multimodal_module)[..., : len(ids)]
        prefill(self._handle, self._cache, ids, positions, made.tensors)

    def _check_ready(self, method: str) -> None:
        if self._closed:
            raise ModelError(f"WatchedVideo.{method}: the video is closed already")
