"""A video as it was sampled, and what it will take, before the model is asked anything."""

from __future__ import annotations

import base64
import io
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image

from ..contact_sheet import MAX_SHEET_FRAMES
from ..grouping import encoder_order
from ..models import family_for
from ..planning import Plan, plan
from ..preparation import Preparer
from ..sampling import check_frames, repeat_to_groups, round_up_to_groups
from ..video import Clip, Part, read_video

_THUMBNAIL = 128  # pixels, the longer side


@dataclass(frozen=True)
class Choice:
    """What a page was asked to show, and how; most are fields of :class:`intp_video.Options`.

    Attributes:
        frames: M; with a rate in ``part``, the most.
        window: frames that a frame attends to; None for all.
        rope: how RoPE is stretched.
        kv_bits: of the cache.
        part: of the video, and the rate.
    """

    frames: int
    window: int | None
    rope: str
    kv_bits: float
    part: Part = field(default_factory=Part)

    def options(self) -> dict[str, Any]:
        """As :func:`intp_video.extend` takes them, beside ``frames``."""
        return {"window": self.window, "rope": self.rope, "kv_bits": self.kv_bits}


@dataclass(frozen=True, eq=False)
class Shown:
    """One video on one page; its identity is that of the prefill.

    Attributes:
        clip: M frames, in whole groups.
        short: the same part as the stock model sees it: N frames, as in training.
        choice: what was asked for.
        plan: tokens, positions and bytes.
        factor: how far RoPE is stretched: the given one, or the plan's.
        group_of: int64 ``[M]``, the group that each frame is encoded in.
        place_of: int64 ``[M]``, where each stands in the order of encoding.
        frames_per_unit: frames that a window counts as one.
        groups_are_real: the encoder looks across a group, so that grouping matters.
        fitting: frames that fit into the trained positions without a stretch.
        thumbnails: a data URI of each frame.
    """

    clip: Clip
    short: Clip
    choice: Choice
    plan: Plan
    factor: float
    group_of: np.ndarray
    place_of: np.ndarray
    frames_per_unit: int
    groups_are_real: bool
    fitting: int
    thumbnails: tuple[str, ...]


class Projector:
    """Makes :class:`Shown`; needs no weights.

    Args:
        config: of the model.
        preparer: of the model.
        dtype: of its weights.
        backend, sampling: see :func:`intp_video.read_video`.
        grouping, factor: of :func:`intp_video.extend`.
    """

    def __init__(
        self,
        config: Any,
        preparer: Preparer,
        dtype: Any = None,
        *,
        backend: str = "auto",
        sampling: str = "centers",
        grouping: str = "interleaved",
        factor: float | None = None,
    ) -> None:
        self._config, self._preparer, self._dtype = config, preparer, dtype
        self._backend, self._sampling = backend, sampling
        self._grouping, self._factor = grouping, factor
        self._family = family_for(config)
        self.per_group = self._family.frames_per_group(config)

    def show(self, path: str, choice: Choice, before: Shown | None = None) -> Shown:
        """Read the frames, and plan.

        Args:
            path: of the video.
            choice: what to show of it.
            before: what the page shows now, whose frames are used again where they are the same.

        Raises:
            VideoError: the video cannot be read, or does not have such a part.
            TypeError, ValueError: a number that is out of range.
        """
        check_frames(choice.frames, function="app")
        choice.part.check("app")
        frames = round_up_to_groups(choice.frames, self.per_group)
        if frames > MAX_SHEET_FRAMES:
            raise ValueError(
                f"app: frames: a page holds at most {MAX_SHEET_FRAMES}, got {choice.frames:,}"
            )
        if before is not None and self._same_frames(before, path, frames, choice.part):
            return self._planned(before.clip, before.short, before.thumbnails, choice)
        clip = self._read(path, frames, choice.part)
        short = self._read(path, self.per_group, replace(choice.part, fps=None))
        return self._planned(clip, short, tuple(map(_thumbnail, clip.frames)), choice)

    def _same_frames(self, shown: Shown, path: str, frames: int, part: Part) -> bool:
        before = shown.choice
        asked = shown.clip.path, round_up_to_groups(before.frames, self.per_group), before.part
        return asked == (path, frames, part)

    def _read(self, path: str, frames: int, part: Part) -> Clip:
        clip = read_video(path, frames, self._backend, sampling=self._sampling, **asdict(part))
        return clip.take(repeat_to_groups(len(clip), self.per_group))  # a rate fills no group

    def _planned(
        self, clip: Clip, short: Clip, thumbnails: tuple[str, ...], choice: Choice
    ) -> Shown:
        size = self._preparer.frame_size(clip)
        sized = {} if size is None else {"height": size[0], "width": size[1]}
        made = plan(self._config, len(clip), dtype=self._dtype, kv_bits=choice.kv_bits, **sized)
        place_of = encoder_order(len(clip), self.per_group, self._grouping).argsort().numpy()
        factor = 1.0 if choice.rope == "none" else self._factor or made.factor
        return Shown(
            clip=clip,
            short=short,
            choice=choice,
            plan=made,
            factor=factor,
            group_of=place_of // self.per_group,
            place_of=place_of,
            frames_per_unit=self._family.frames_per_unit(self._config),
            groups_are_real=self._family.groups_are_real,
            fitting=min(len(clip), made.trained_context * made.frames // made.positions),
            thumbnails=thumbnails,
        )


def _thumbnail(frame: np.ndarray) -> str:
    image = Image.fromarray(frame)
    image.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", quality=72)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
