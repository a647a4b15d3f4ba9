"""A picklable callable that answers rows, wherever it is sent."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from ..checkpoint import Checkpoint
from ..errors import ModelError
from ..options import DTYPES, LOAD_IN
from ..preparation import Preparer
from ..reasons import in_one_line
from ..sampling import check_frames, round_up_to_groups
from ..video import Part, check_reading, read_video
from ..watching import WatchedVideo
from .rows import (
    Row,
    answered,
    failed,
    is_columns,
    part_of,
    questions_of,
    rows_of,
    to_columns,
    video_of,
)

log = logging.getLogger("intp_video")


class VideoAnswerer:
    """Answers questions about videos, row by row: for ``map_batches`` of Ray Data and its like.

    It is pickled without its model, which every process loads at its first call. A row that cannot
    be answered costs itself: ``error`` says why. What is wrong with the model or the options is
    raised, as no row could be answered.

    The last video stays encoded and prefilled, so that the next row may ask about it as well: rows
    about one video belong together, or its questions into one row. Memory is that of the model and
    of one video (:func:`intp_video.plan`), however many rows there are.

    Args:
        model: a Hugging Face directory or hub id.
        frames: to show of each video, in whole groups; with ``fps``, the most.
        device: "cpu", "cuda", ...; None: a GPU if there is one where it runs.
        dtype: of the weights, one of ``DTYPES``; None for the checkpoint's own.
        load_in: "4bit" or "8bit", see :meth:`Checkpoint.model`.
        folder: that relative paths of videos start from; None: the working directory.
        fps: frames to show of each second, see :func:`read_video`.
        max_new_tokens: the most tokens of an answer.
        backend, sampling: see :func:`read_video`.
        **options: of :func:`intp_video.extend`: rope, window, kv_bits, ...

    Raises:
        TypeError, ValueError: a dtype, ``load_in``, ``backend`` or ``sampling`` of another name, or
            a bad ``fps`` or ``max_new_tokens``.

    Example::

        answerer = VideoAnswerer(model_directory, frames=64, kv_bits=4)
        answerer({"id": 1, "video": "a.mp4", "question": "What happens?"})
        # {"id": 1, "video": "a.mp4", "question": "What happens?",
        #  "prediction": "...", "error": None, "note": None}
    """

    def __init__(
        self,
        model: str | Path,
        frames: int = 64,
        *,
        device: str | None = None,
        dtype: str | None = None,
        folder: str | Path | None = None,
        load_in: str | None = None,
        fps: float | None = None,
        max_new_tokens: int = 64,
        backend: str = "auto",
        sampling: str = "centers",
        **options: Any,
    ) -> None:
        if dtype not in (None, *DTYPES):
            raise ValueError(
                f"VideoAnswerer: dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}"
            )
        if load_in not in (None, *LOAD_IN):
            raise ValueError(
                f"VideoAnswerer: load_in: expected one of {', '.join(LOAD_IN)}, got {load_in!r}"
            )
        Part(fps=fps).check("VideoAnswerer")
        check_reading(backend, sampling, "VideoAnswerer")
        check_frames(max_new_tokens, function="VideoAnswerer", name="max_new_tokens")
        self.model, self.frames, self.fps = str(model), frames, fps
        self.device, self.dtype, self.folder = device, dtype, folder
        self.load_in = load_in
        self.max_new_tokens = max_new_tokens
        self.backend, self.sampling = backend, sampling
        self.options = options
        self._loaded: tuple[PreTrainedModel, Preparer] | None = None
        self._shown: _Shown | None = None
        self._said = False

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_loaded": None, "_shown": None}

    def load(self) -> None:
        """Load the model now rather than at the first call.

        Raises:
            ModelError, TypeError, ValueError: no such model, or options that it cannot have.
        """
        if self._loaded is not None:
            return
        checkpoint = Checkpoint(self.model)
        preparer = checkpoint.preparer()
        frames = round_up_to_groups(self.frames, preparer.frames_per_group)
        checkpoint.check_options(frames, **self.options)
        device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
        dtype = None if self.dtype is None else getattr(torch, self.dtype)
        self._loaded = (
            checkpoint.model(dtype=dtype, device=device, load_in=self.load_in),
            preparer,
        )

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """One row, or columns of rows, with what was said.

        Args:
            batch: ``video``, a path, and ``question``, or ``questions`` about that one video; if
                you like ``start`` and ``end``, the seconds of it to show, and ``fps``. Anything
                else is passed through, ``id`` among it. As columns: a list or an array for
                each name.

        Returns:
            The same, and ``prediction`` (one text, or a list for ``questions``), ``error``, and
            ``note``: what was lost of the video. Each is None where there is none; in columns,
            which have one type, an empty text.

        Raises:
            ModelError, TypeError, ValueError: see :meth:`load`, or columns of different lengths.
        """
        self.load()
        if not is_columns(batch):
            return self._answer(dict(batch))
        return to_columns(batch, [self._answer(row) for row in rows_of(batch)])

    def score(self, row: Row, answer: str) -> tuple[float, bool, int]:
        """How likely an answer to a row's one question is, see :meth:`WatchedVideo.score`.

        Raises:
            VideoError, ModelError, TypeError, ValueError: what would be the ``error`` of a row, or
                see :meth:`load`.
        """
        self.load()
        path = video_of(row, self.folder)
        shown = self._show(path, part_of(row, self.fps))
        return shown.video.score(row["question"], answer)

    def close(self) -> None:
        """Forget the last video and the model; the next call loads it again."""
        self._forget()
        self._loaded = None

    def _answer(self, row: Row) -> Row:
        assert self._loaded is not None
        preparer = self._loaded[1]
        try:
            path = video_of(row, self.folder)
            questions = [preparer.check_question(q, "batch") for q in questions_of(row)]
            shown = self._show(path, part_of(row, self.fps))
            said = [shown.video.ask(q, max_new_tokens=self.max_new_tokens) for q in questions]
            return answered(row, said, shown.note)
        except (ModelError, torch.AcceleratorError):  # after the latter no row can be answered
            raise
        except Exception as error:  # whatever is wrong with one video must not cost the others
            self._forget()
            return failed(row, in_one_line(error))

    def _show(self, path: str, part: Part) -> _Shown:
        """The part of a video, which may be the last one still."""
        assert self._loaded is not None
        file = *_identity(path), part
        if self._shown is None or self._shown.file != file:
            self._forget()  # before there is another one in memory
            model, preparer = self._loaded
            frames = round_up_to_groups(self.frames, preparer.frames_per_group)
            clip = read_video(
                path, frames, self.backend, sampling=self.sampling, **dataclasses.asdict(part)
            )
            stretched = frames if part.fps is None else None  # then for as many as there are
            video = WatchedVideo(model, preparer, clip, stretched, **self.options)
            if not video.shares_prefill and not self._said:
                self._said = True
                log.warning(
                    "batch: each question takes an encode and a prefill of its own: such a model, "
                    "or such options, cannot go back to the end of the video"
                )
            self._shown = _Shown(file, video, "; ".join(clip.notes) or None)
        return self._shown

    def _forget(self) -> None:
        if self._shown is not None:
            self._shown.video.close()
            self._shown = None


@dataclass(frozen=True)
class _Shown:
    """The video that was shown last: which part of which file, and what was lost of it."""

    file: tuple[Any, ...]
    video: WatchedVideo
    note: str | None


def _identity(path: str) -> tuple[Any, ...]:
    """Changes when the file does; of no file, the path alone."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return (path,)
    return path, found.st_ino, found.st_size, found.st_mtime_ns
