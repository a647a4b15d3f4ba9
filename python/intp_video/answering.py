"""Answer a question about a video: every step of the package in a row."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

from transformers import PreTrainedModel

from .generation import StageClock, generate
from .hook import check_extension, extend
from .preparation import Preparer, check_preparer
from .processing.prompt import History
from .sampling import check_frames, round_up_to_groups
from .streaming import AnswerStream, Emit, TextPieces
from .video import Clip, Part, read_video


@dataclass(frozen=True)
class Answer:
    """What the model said, and what was done for it.

    Attributes:
        text: the answer, without special tokens.
        token_ids: the generated tokens.
        frames: frames shown, in whole groups.
        prompt_tokens: tokens before the answer, including the video's.
        extension: how the model was extended, in words.
        factor: how far RoPE was stretched.
        seconds: of each stage: decode (unless a clip was given), prepare, encode, prefill,
            generate.
        clip: the frames, and notes on what was lost in reading them.
    """

    text: str
    token_ids: list[int]
    frames: int
    prompt_tokens: int
    extension: str
    factor: float
    seconds: dict[str, float]
    clip: Clip


@overload
def ask(
    model: PreTrainedModel,
    preparer: Preparer,
    video: str | Path | Clip,
    question: str,
    frames: int | None = None,
    *,
    stream: Literal[False] = False,
    **more: Any,
) -> Answer: ...
@overload
def ask(
    model: PreTrainedModel,
    preparer: Preparer,
    video: str | Path | Clip,
    question: str,
    frames: int | None = None,
    *,
    stream: Literal[True],
    **more: Any,
) -> AnswerStream[Answer]: ...
def ask(
    model: PreTrainedModel,
    preparer: Preparer,
    video: str | Path | Clip,
    question: str,
    frames: int | None = None,
    *,
    stream: bool = False,
    start: float | None = None,
    end: float | None = None,
    fps: float | None = None,
    history: History = (),
    max_new_tokens: int = 64,
    backend: str = "auto",
    on_stage: Callable[[str], None] | None = None,
    on_encode: Callable[[int, int], None] | None = None,
    on_token: Callable[[int], None] | None = None,
    on_text: Callable[[str], None] | None = None,
    **options: Any,
) -> Answer | AnswerStream[Answer]:
    """Decode, group, encode, rearrange, stretch RoPE, answer; leave the model as it was. Greedy.

    Args:
        model, preparer: from :func:`load`, or your own.
        video: a file, or a clip that has already been read.
        question: in words.
        frames: frames to show, rounded up to whole groups; None: 64 of a file, all of a clip. RoPE
            is stretched for this many, shown or not. With ``fps``, the most; None: no limit.
        stream: return at once, with an iterator over the pieces of the answer as they are decoded;
            its ``result`` is then the :class:`Answer`.
        start, end, fps: which part of a file, and how many frames a second of it, see
            :func:`read_video`; RoPE is stretched for as many frames as that gives.
        history: questions about the same video before this one, and their answers.
        max_new_tokens: the most tokens of the answer.
        backend: video decoder, see :func:`read_video`.
        on_stage: called with the name of each stage as it begins.
        on_encode: called with (groups done, groups in all).
        on_token: called with the number of tokens so far.
        on_text: called for each token with the piece of text that it adds, which may be empty.
        **options: of :func:`extend`: rope, factor, span, window, ...

    Raises:
        VideoError, ModelError, TypeError, ValueError: see :func:`read_video`, :func:`prepare`,
            :func:`extend`.
    """
    # report a bad question or bad options before minutes of decoding
    check_preparer(preparer, "ask")
    preparer.check_question(question, "ask")
    check_frames(max_new_tokens, function="ask", name="max_new_tokens")
    Part(start, end, fps).check("ask", video)
    if frames is None and isinstance(video, Clip):
        frames = len(video)
    elif frames is None and fps is None:
        frames = 64
    check_extension(model, 64 if frames is None else frames, **options)
    if stream and on_text is not None:
        raise ValueError("ask: on_text: expected without stream, which yields the same pieces")
    answer = functools.partial(
        _answer,
        model,
        preparer,
        video,
        question,
        frames,
        reading={"start": start, "end": end, "fps": fps, "backend": backend},
        history=history,
        max_new_tokens=max_new_tokens,
        on_stage=on_stage,
        on_encode=on_encode,
        on_token=on_token,
        options=options,
    )
    return AnswerStream(answer) if stream else answer(on_text)


def _answer(
    model: PreTrainedModel,
    preparer: Preparer,
    video: str | Path | Clip,
    question: str,
    frames: int | None,
    on_text: Emit | None,
    *,
    reading: dict[str, Any],
    history: History,
    max_new_tokens: int,
    on_stage: Callable[[str], None] | None,
    on_encode: Callable[[int, int], None] | None,
    on_token: Callable[[int], None] | None,
    options: dict[str, Any],
) -> Answer:
    clock = StageClock(on_stage)
    if not isinstance(video, Clip):
        clock.begin("decode")
        wanted = None if frames is None else round_up_to_groups(frames, preparer.frames_per_group)
        video = read_video(video, wanted, **reading)
        if wanted is None or reading["fps"] is not None:
            frames = len(video)
    assert frames is not None
    size = preparer.frame_size(video)
    sized: dict[str, Any] = {} if size is None else {"frame_size": size}
    with extend(model, frames, **sized, **options) as handle:
        clock.begin("prepare")
        inputs = preparer(video, question, history)

        def encoded(done: int, total: int) -> None:
            if on_encode is not None:
                on_encode(done, total)
            if done == total:
                clock.begin("prefill")

        def generated(count: int) -> None:
            if on_token is not None:
                on_token(count)
            if count == 1:
                clock.begin("generate")

        handle.on_encode = encoded
        clock.begin("encode")
        more = {} if on_text is None else {"streamer": TextPieces(preparer, on_text)}
        ids = generate(model, inputs, max_new_tokens, generated, **more)
        clock.end()
    return Answer(
        text=preparer.text_of(ids),
        token_ids=ids.tolist(),
        frames=round_up_to_groups(len(video), preparer.frames_per_group),
        prompt_tokens=inputs["input_ids"].shape[1],
        extension=repr(handle),
        factor=handle.factor,
        seconds=clock.seconds,
        clip=video,
    )
