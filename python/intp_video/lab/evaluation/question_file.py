"""Questions about videos: a JSON lines file, or the held-out worlds of the shapes task."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...records.files import write_whole
from ...sampling import sample_indices
from .folder import exclusive

SHAPES_FRAMES = 512  # of the files that are written; a multiple of every number of frames asked


@dataclass(frozen=True)
class VideoQuestion:
    """One line.

    Attributes:
        id: unique in the file; its line number if it names none.
        video: the file.
        question, answer: in words.
        options: all possible answers, or none: what the model says is then compared with the
            answer alone.
        kind: accuracy is also reported by kind.
        observer: by number of frames, how often somebody is right who sees just those frames
            perfectly (see :func:`intp_video.lab.shapes.observer_accuracy`); empty if nobody knows.
    """

    id: str
    video: str
    question: str
    answer: str
    options: tuple[str, ...] = ()
    kind: str = ""
    observer: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class BadLine:
    """A line that is no question: its number, from 1, and what is wrong with it."""

    number: int
    reason: str

    def __str__(self) -> str:
        return f"line {self.number}: {self.reason}"


def read_questions(
    path: str | Path, check: Callable[[VideoQuestion], object] | None = None
) -> tuple[list[VideoQuestion], list[BadLine]]:
    """Reads a question file: one JSON object a line with ``video`` (relative to the file),
    ``question``, ``answer``, and if you like ``options``, ``kind``, ``id``.

    Other keys are ignored, and so are empty lines.

    Args:
        path: of the file.
        check: raises a ValueError for a question that cannot be asked; its line is then bad.

    Returns:
        The questions, and the lines that are none.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no text, or holds no question at all.
    """
    path = Path(path)
    questions: list[VideoQuestion] = []
    bad: list[BadLine] = []
    seen: dict[str, int] = {}
    try:
        # JSON keeps the line separators of Unicode inside of its strings: splitlines() splits there
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            question = _parse(line, number, path.parent)
            if question.id in seen:
                raise ValueError(f"id {question.id!r} stands in line {seen[question.id]} already")
            if check is not None:
                check(question)
        except ValueError as error:
            bad.append(BadLine(number, str(error)))
            continue
        seen[question.id] = number
        questions.append(question)
    if not questions:
        reason = f"; {bad[0]}" if bad else ""
        raise ValueError(f"{path}: no question in it{reason}")
    return questions, bad


def _parse(line: str, number: int, folder: Path) -> VideoQuestion:
    try:
        values = json.loads(line)
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"expected an object, got {type(values).__name__}")
    try:
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"expected Unicode text, got {error.object[error.start]!a}") from None
    texts = {}
    for name in ("video", "question", "answer"):
        texts[name] = _text(values, name)
    kind = _text(values, "kind") if "kind" in values else ""
    options = values.get("options") or ()
    if not isinstance(options, list | tuple) or not all(isinstance(o, str) for o in options):
        raise ValueError("options: expected a list of strings")
    if options and texts["answer"] not in options:
        raise ValueError(f"answer: {texts['answer']!r} is none of the options")
    observer = values.get("observer") or {}
    if not isinstance(observer, dict) or not all(
        isinstance(v, int | float) and 0 <= v <= 1 for v in observer.values()
    ):
        raise ValueError("observer: expected numbers from 0 to 1 by number of frames")
    return VideoQuestion(
        id=str(values.get("id", number)),
        video=str(folder / texts["video"]),
        question=texts["question"],
        answer=texts["answer"],
        options=tuple(options),
        kind=kind,
        observer={str(frames): float(value) for frames, value in observer.items()},
    )


def _text(values: dict[str, Any], name: str) -> str:
    if name not in values:
        raise ValueError(f"no {name!r}")
    text = values[name]
    if isinstance(text, int | float) and not isinstance(text, bool) and name == "answer":
        text = str(text)
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{name}: expected some text, got {text!r}")
    return text


def shapes_questions(
    folder: str | Path,
    videos: int,
    event_length: float,
    frames: Sequence[int],
    first: int = 0,
    progress: Any = None,
) -> list[VideoQuestion]:
    """Held-out worlds as files, and ``questions.jsonl`` beside them; what is there is kept.

    Args:
        folder: made if need be.
        videos: how many held-out seeds.
        event_length: how much of its video an event lasts, as ``1/32``.
        frames: numbers of frames that will be shown, for what an observer would see.
        first: held-out seed to begin at; others than those a choice was made on confirm it.
        progress: called with (videos done, videos in all).

    Raises:
        ValueError: more videos than there are held-out seeds.
        ModelError: somebody else is writing into the folder.
    """
    from ..shapes import HELD_OUT_SEEDS

    if first not in HELD_OUT_SEEDS:
        raise ValueError(f"eval: first: expected 0 to {len(HELD_OUT_SEEDS) - 1}, got {first}")
    seeds = HELD_OUT_SEEDS[first:]
    if not 1 <= videos <= len(seeds):
        raise ValueError(f"eval: videos: expected 1 to {len(seeds)}, got {videos}")
    folder = Path(folder)
    with exclusive(folder):
        asked = []
        for done, seed in enumerate(seeds[:videos], start=1):
            asked += _questions_about(seed, event_length, frames, folder)
            if progress is not None:
                progress(done, videos)
        lines = [asdict(q) | {"video": Path(q.video).name} for q in asked]
        write_whole(folder / "questions.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    return asked


def _questions_about(
    seed: int, event_length: float, frames: Sequence[int], folder: Path
) -> list[VideoQuestion]:
    """Of one held-out world, whose file is written if it is not there."""
    from ..shapes import held_out_world, observer_accuracy, write_world

    world, questions = held_out_world(seed, event_length)
    path = folder / f"shapes-{round(1 / event_length)}-{seed:03d}.mp4"
    if not path.exists():
        draft = path.with_name(f"part-{path.name}")
        write_world(draft, world, frames=SHAPES_FRAMES)
        draft.replace(path)
    times = {n: (sample_indices(SHAPES_FRAMES, n) + 0.5) / SHAPES_FRAMES for n in frames}
    return [
        VideoQuestion(
            id=f"{seed}-{number}",
            video=str(path),
            question=question.text,
            answer=question.answer,
            options=question.options,
            kind=question.kind,
            observer={str(n): observer_accuracy(world, 0, question, at) for n, at in times.items()},
        )
        for number, question in enumerate(questions)
    ]
