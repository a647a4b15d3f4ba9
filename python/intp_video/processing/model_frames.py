"""A video as a model takes it, and what its text has to say about it."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Units:
    """The units of time of one video, in order: frames that its encoder looks at together.

    Attributes:
        frames: shown to the encoder; it repeats some where the last unit would not be whole.
        frames_per_unit: 1; 2 where patches have a depth of two frames; more where a tower does.
        tokens: placeholders of each unit.
        seconds: the time of each, as the family's text tells it.
        duration: seconds that the frames stand for; None: not known.
        grid: patches in time, height and width, for families that cut frames into patches.
    """

    frames: int
    frames_per_unit: int
    tokens: tuple[int, ...]
    seconds: tuple[float, ...]
    duration: float | None = None
    grid: tuple[int, int, int] | None = None


@dataclass(frozen=True, eq=False)
class ModelFrames:
    """One video, ready for the model.

    Attributes:
        tensors: what ``forward`` takes, by name.
        units: how its placeholders are spread over time.
    """

    tensors: dict[str, torch.Tensor]
    units: Units
