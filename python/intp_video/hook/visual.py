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


def number_frames(
    is_visual: torch.Tensor,
    past: int,
    before: VisualTokens | None,
    tokens_per_frame: list[int] | None,
) -> VisualTokens:
    """The visual tokens after one more forward pass.

    Args:
        is_visual: bool ``[B, S]``: which of the new tokens stand for a video.
        past: tokens before them.
        before: what was visual among those.
        tokens_per_frame: of each video of the pass, in the order of the prompt, before each row
            was repeated (beams, several answers); None where text stands between frames, so that
            each run of visual tokens is a frame.

    Raises:
        ModelError: frames of several sizes that cannot be told apart.
    """
    batch, rows = is_visual.shape
    device = is_visual.device
    earlier = torch.full((batch, past), TEXT, dtype=torch.int32, device=device)
    if before is not None:
        known = min(past, before.frame.shape[1])
        earlier[:, :known] = before.frame[:, :known].to(device)
    frames, trailing = _frames_and_open_run(earlier)

    index = torch.arange(rows, device=device)
    previous = torch.cat((trailing[:, None] > 0, is_visual[:, :-1]), dim=1)
    begins = is_visual & ~previous  # a run of visual tokens
    begun = torch.where(begins, index, -trailing[:, None]).cummax(-1).values
    within = index - begun  # place of a visual token in its run
    if tokens_per_frame is not None:
        begins = begins | (is_visual & (within % _sizes(begins, tokens_per_frame) == 0))
    frame = frames[:, None] + begins.cumsum(-1) - 1
    frame = torch.where(is_visual, frame, TEXT).int()
    return VisualTokens.of(torch.cat((earlier, frame), dim=1))


def _frames_and_open_run(frame: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """int64 ``[B]``: how many frames there are, and visual tokens at the end without text after."""
    if frame.shape[1] == 0:
        nothing = torch.zeros(len(frame), dtype=torch.long, device=frame.device)
        return nothing, nothing
    text = (frame == TEXT).flip(-1)
    open_run = torch.where(text.any(-1), text.int().argmax(-1), frame.shape[1])
    return frame.amax(-1).long() + 1, open_run


def _sizes(begins: torch.Tensor, tokens_per_frame: list[int]) -> int | torch.Tensor:
    """Tokens of a frame, at each token: one number, or that of the video whose run it stands in."""
    sizes = sorted(set(tokens_per_frame))
    if len(sizes) == 1:
        return sizes[0]
    runs = int(begins.sum())
    repeats, rest = divmod(runs, len(tokens_per_frame))
    if rest or not repeats or not _is_repeated(begins.sum(-1), repeats):
        raise ModelError(
            f"frames of {', '.join(map(str, sizes))} tokens stand in {runs} runs, not in one for "
            f"each of the {len(tokens_per_frame)} videos; pass videos of several sizes with text "
            "between them, in one pass"
        )
    of_row = begins[::repeats]
    run = (of_row.flatten().cumsum(0).view_as(of_row) - 1).repeat_interleave(repeats, dim=0)
    return torch.tensor(tokens_per_frame, device=begins.device)[run.clamp(min=0)]


def _is_repeated(runs: torch.Tensor, repeats: int) -> bool:
    """Whether each row has as many runs as the others that it was repeated to."""
    if len(runs) % repeats:
        return False
    by_row = runs.view(-1, repeats)
    return bool((by_row == by_row[:, :1]).all())


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
