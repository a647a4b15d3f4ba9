"""Which tokens of a sequence show a video, what they see of it, and how far positions are
stretched for it: one rule for each token, however text and frames are mixed."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..errors import ModelError

TEXT = -1  # in place of the number of a frame


@dataclass(frozen=True)
class VisualTokens:
    """The visual tokens of each row of a batch.

    Attributes:
        frame: int32 ``[B, L]``, the frame (unit of time) that each of the first L tokens shows,
            counted from 0 over all videos of the row, or -1 for text and padding. Tokens after L
            are text.
        count: int32 ``[B]``, visual tokens of the row.
    """

    frame: torch.Tensor
    count: torch.Tensor

    @classmethod
    def of(cls, frame: torch.Tensor) -> VisualTokens:
        return cls(frame, (frame != TEXT).sum(-1, dtype=torch.int32))

    def index(self, rows: torch.Tensor) -> VisualTokens:
        rows = rows.to(self.frame.device)
        return VisualTokens(self.frame[rows], self.count[rows])

    def crop(self, length: int) -> VisualTokens:
        return VisualTokens.of(self.frame[:, :length])

    def to(self, device: torch.device) -> VisualTokens:
        return VisualTokens(self.frame.to(device), self.count.to(device))


@dataclass(frozen=True)
class VideoTokens:
    """The placeholders of one video, in a row without text between its units.

    Attributes:
        units: of time.
        tokens_per_unit: placeholders of each.
        surplus: placeholders behind them, which belong to the last unit.
    """

    units: int
    tokens_per_unit: int
    surplus: int = 0

    @property
    def count(self) -> int:
        return self.units * self.tokens_per_unit + self.surplus

    def begins(self) -> torch.Tensor:
        """bool ``[count]``: the first token of each unit."""
        index = torch.arange(self.count)
        first = index % self.tokens_per_unit == 0
        return first & (index < self.units * self.tokens_per_unit)


def number_frames(
    is_visual: torch.Tensor,
    past: int,
    before: VisualTokens | None,
    videos: list[VideoTokens] | None,
    done: torch.Tensor | None = None,
) -> VisualTokens:
    """The visual tokens after one more forward pass.

    Args:
        is_visual: bool ``[B, S]``: which of the new tokens stand for a video.
        past: tokens before them.
        before: what was visual among those.
        videos: in the order of the prompt, before each row was repeated (beams, several answers);
            None where text stands between frames, so that each run of visual tokens is a frame.
        done: int64 ``[B]``, where the pass is a chunk of the prompt: visual tokens of these videos
            in the passes before; None where it shows all of them.

    Raises:
        ModelError: frames of several videos that cannot be told apart.
    """
    batch = is_visual.shape[0]
    device = is_visual.device
    earlier = torch.full((batch, past), TEXT, dtype=torch.int32, device=device)
    if before is not None:
        known = min(past, before.frame.shape[1])
        earlier[:, :known] = before.frame[:, :known].to(device)
    frames = torch.zeros(batch, dtype=torch.long, device=device)
    goes_on = torch.zeros((batch, 1), dtype=torch.bool, device=device)
    if past:
        frames = earlier.amax(-1).long() + 1
        goes_on = earlier[:, -1:] != TEXT

    if videos is None:
        begins = is_visual & ~torch.cat((goes_on, is_visual[:, :-1]), dim=1)
    else:
        table = torch.cat([video.begins() for video in videos]).to(device)
        if done is None:
            index = _place_among(is_visual, videos)
        else:
            index = _place_after(is_visual, videos, done.to(device))
        begins = is_visual & table[index]
    frame = frames[:, None] + begins.cumsum(-1) - 1
    frame = torch.where(is_visual, frame, TEXT).int()
    return VisualTokens.of(torch.cat((earlier, frame), dim=1))


def _place_among(is_visual: torch.Tensor, videos: list[VideoTokens]) -> torch.Tensor:
    """int64 ``[B, S]``: which token of all videos stands at each place of a whole prompt."""
    repeats = repeats_of(is_visual, videos)
    rows = is_visual[::repeats]
    index = (rows.flatten().cumsum(0) - 1).clamp(min=0).view_as(rows)
    return index.repeat_interleave(repeats, dim=0)


def _place_after(
    is_visual: torch.Tensor, videos: list[VideoTokens], done: torch.Tensor
) -> torch.Tensor:
    """The same of a chunk of the prompt, after ``done [B]`` tokens of each row."""
    index = (done[:, None] + is_visual.cumsum(-1) - 1).clamp(min=0)
    if len(set(videos)) == 1:
        return index % videos[0].count
    if len(is_visual) > 1:
        sizes = sorted({video.tokens_per_unit for video in videos})
        raise ModelError(
            f"videos of {', '.join(map(str, sorted({video.units for video in videos})))} units of "
            f"time and frames of {', '.join(map(str, sizes))} tokens came in a chunk of a batch, "
            "where they cannot be told apart: leave out prefill_chunk_size, or ask one by one"
        )
    return index.clamp(max=sum(video.count for video in videos) - 1)


def repeats_of(is_visual: torch.Tensor, videos: list[VideoTokens]) -> int:
    """How often each row of a whole prompt was repeated since its videos were counted.

    Args:
        is_visual: bool ``[B, S]``.

    Raises:
        ModelError: the visual tokens are not those of the videos.
    """
    counts = is_visual.sum(-1)
    expected, got = sum(video.count for video in videos), int(counts.sum())
    repeats, rest = divmod(got, expected)
    if repeats and not rest and len(counts) % repeats == 0:
        by_row = counts.view(-1, repeats)
        if bool((by_row == by_row[:, :1]).all()):
            return repeats
    raise ModelError(
        f"expected {expected} visual tokens, of videos of "
        f"{', '.join(str(video.count) for video in videos)}, got {got}"
    )


def shows_one_video_a_row(is_visual: torch.Tensor, videos: list[VideoTokens]) -> bool:
    """Whether no row of a whole prompt ``[B, S]`` shows more than one of the videos.

    Raises:
        ModelError: the visual tokens are not those of the videos.
    """
    counts = is_visual.sum(-1)[:: repeats_of(is_visual, videos)].tolist()
    return [count for count in counts if count] == [video.count for video in videos]


def visual_tokens_before(visual: VisualTokens, past: int) -> torch.Tensor:
    """int64 ``[B, S]``: visual tokens before each token from ``past`` on."""
    is_visual = visual.frame != TEXT
    return (is_visual.cumsum(-1) - is_visual.long())[:, past:]


def first_keys(visual: VisualTokens, past: int, window: int) -> torch.Tensor:
    """int32 ``[B, S]``: the first key that each token from ``past`` on sees, besides the sink.

    A visual token of frame f sees the ``window`` frames f - window + 1 to f, and text between
    them; a frame begins with the text that stands between it and the frame before. That text sees
    what its frame sees. Text before the first frame and after the last one sees everything, and so
    do the frames that have fewer than ``window - 1`` before them.
    """
    frame = visual.frame.long()  # [B, L]
    is_visual = frame != TEXT
    index = torch.arange(frame.shape[1], device=frame.device)
    last = torch.where(is_visual, index, -1).cummax(-1).values  # last visual token up to here
    last = torch.cat((torch.full_like(last[:, :1], -1), last[:, :-1]), dim=1)  # before here
    of_last = frame.gather(1, last.clamp(min=0))
    begins = is_visual & ((last < 0) | (frame != of_last))
    start = torch.where(last < 0, index, last + 1)

    frames = int(frame.max()) + 1
    starts = torch.zeros((len(frame), frames + 1), dtype=torch.long, device=frame.device)
    starts.scatter_(1, torch.where(begins, frame, frames), start)

    # the frame that a token is part of: text belongs to the next one
    none = frames
    belongs = torch.where(is_visual, frame, none).flip(-1).cummin(-1).values.flip(-1)
    oldest = belongs - window + 1
    windowed = (belongs < none) & (oldest >= 0) & (is_visual | (last >= 0))
    first = torch.where(windowed, starts.gather(1, oldest.clamp(0, none)), 0)
    return first[:, past:].int()
