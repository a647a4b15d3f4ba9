"""Answer a question about a video: every step of the package in a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from .generation import StageClock, generate
from .hook import check_extension, extend
from .preparation import Preparer
from .sampling import check_frames, round_up_to_groups
from .video import Clip, read_video


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


def ask(
    model: PreTrainedModel,
    preparer: Preparer,
    video: str | Path | Clip,
    question: str,
    frames: int | None = None,
    *,
    max_new_tokens: int = 64,
    backend: str = "auto",
    on_stage: Callable[[str], None] | None = None,
    on_encode: Callable[[int, int], None] | None = None,
    on_token: Callable[[int], None] | None = None,
    **options: Any,
) -> Answer:
    """Decode, group, encode, rearrange, stretch RoPE, answer; leave the model as it was. Greedy.

    Args:
        model, preparer: from :func:`load`, or your own.
        video: a file, or a clip that has already been read.
        question: in words.
        frames: frames to show, rounded up to whole groups; None: 64 of a file, all of a clip. RoPE
            is stretched for this many, shown or not.
        max_new_tokens: the most tokens of the answer.
        backend: video decoder, see :func:`read_video`.
        on_stage: called with the name of each stage as it begins.
        on_encode: called with (groups done, groups in all).
        on_token: called with the number of tokens so far.
        **options: of :func:`extend`: rope, factor, span, window, ...

    Raises:
        VideoError, ModelError, TypeError, ValueError: see :func:`read_video`, :func:`prepare`,
            :func:`extend`.
    """
    clock = StageClock(on_stage)
    # report a bad question or bad options before minutes of decoding
    preparer.check_question(question, "ask")
    check_frames(max_new_tokens, function="ask", name="max_new_tokens")
    if frames is None:
        frames = len(video) if isinstance(video, Clip) else 64
    check_extension(model, frames, **options)
    if not isinstance(video, Clip):
        clock.begin("decode")
        wanted = round_up_to_groups(frames, preparer.frames_per_group)
        video = read_video(video, wanted, backend=backend)
    size = preparer.frame_size(video)
    sized: dict[str, Any] = {} if size is None else {"frame_size": size}
    with extend(model, frames, **sized, **options) as handle:
        clock.begin("prepare")
        inputs = preparer(video, question)

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
        ids = generate(model, inputs, max_new_tokens, generated)
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
