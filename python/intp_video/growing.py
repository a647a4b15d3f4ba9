"""The prompt of a video that grows, and the positions of its tokens."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from typing import Any

import torch

from .errors import ModelError
from .preparation import Preparer
from .processing.model_frames import ModelFrames, Units
from .processing.prompt import History


@dataclass(frozen=True, eq=False)
class GrowingVideo:
    """What has been shown of a video; a chunk makes another one.

    Attributes:
        preparer: makes the prompt.
        axes: of positions: 1, or 3 with M-RoPE.
        units: of all chunks; None before the first.
        unit_seconds: float32 ``[1]``, of families whose positions follow seconds; None elsewhere.
    """

    preparer: Preparer
    axes: int
    units: Units | None = None
    unit_seconds: torch.Tensor | None = None

    @classmethod
    def whole(cls, preparer: Preparer, axes: int, made: ModelFrames) -> GrowingVideo:
        """One that will not grow: its prompt may tell its length before its frames."""
        return cls(preparer, axes, made.units, _seconds(made))

    def grown(self, made: ModelFrames) -> GrowingVideo:
        """With one more chunk.

        Raises:
            ValueError: frames of another size, or at another distance, than those before.
            ModelError: the family's prompt cannot grow, and why.
        """
        seconds = _seconds(made)
        if self.units is None:
            first = replace(self, units=made.units, unit_seconds=seconds)
            first._check_goes_on(replace(self, units=_joined(made.units, made.units)))
            return first
        if made.units.tokens[0] != self.units.tokens[0] or _side(made.units) != _side(self.units):
            raise ValueError(
                f"Session.add: clip: expected frames of {self.units.tokens[0]} tokens a unit as "
                f"before, got {made.units.tokens[0]}: all frames of a video have one size"
            )
        before = self.unit_seconds
        if before is not None and seconds is not None and not seconds.allclose(before, rtol=0.05):
            raise ValueError(
                f"Session.add: clip: expected {before.item():.3f} seconds a unit as before, got "
                f"{seconds.item():.3f}: positions of this family have one step for all"
            )
        grown = replace(self, units=_joined(self.units, made.units))
        self._check_goes_on(grown)
        return grown

    def prompt(
        self, question: str, history: History = ()
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """int64 ``[1, S]``, and what the family's model takes about it."""
        assert self.units is not None
        made = ModelFrames({}, self.units)
        return self.preparer.processing.text(made, question, self.preparer.tokenizer, history)

    def shown(self) -> torch.Tensor:
        """int64 ``[S]``: the prompt up to the last visual token."""
        ids = self.prompt("?")[0][0]
        last = int((ids == self.preparer.video_token_id).nonzero()[-1])
        return ids[: last + 1]

    def positions(self, question: str, module: Any, history: History = ()) -> torch.Tensor:
        """``[1, S]``, or ``[3, 1, S]`` as the model itself counts them, of the whole prompt.

        Args:
            module: the multimodal module, whose ``get_rope_index`` knows.
        """
        ids, more = self.prompt(question, history)
        if self.axes == 1:
            return torch.arange(ids.shape[1])[None]
        assert self.units is not None
        known = {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "video_grid_thw": torch.tensor([self.units.grid]),
            "second_per_grid_ts": self.unit_seconds,
            "second_per_grids": self.unit_seconds,  # the Omni thinkers
            **more,
        }
        taken = inspect.signature(module.get_rope_index).parameters
        moved = {
            name: x.to(module.device)
            for name, x in known.items()
            if name in taken and x is not None
        }
        return module.get_rope_index(**moved)[0]

    def _check_goes_on(self, longer: GrowingVideo) -> None:
        mine, theirs = self.shown(), longer.shown()
        if not torch.equal(theirs[: len(mine)], mine):
            raise ModelError(
                f"Session: {type(self.preparer.processing).__name__} tells the length of a video "
                "before its frames, so what is cached would have to change with every chunk; use "
                "intp_video.ask"
            )


def _seconds(made: ModelFrames) -> torch.Tensor | None:
    named = (x for name, x in made.tensors.items() if "second_per_grid" in name)
    return next(named, None)


def _side(units: Units) -> tuple[int, ...]:
    return () if units.grid is None else units.grid[1:]


def _joined(a: Units, b: Units) -> Units:
    grid = None
    if a.grid is not None and b.grid is not None:
        grid = (a.grid[0] + b.grid[0], *a.grid[1:])
    return Units(
        frames=a.frames + b.frames,
        frames_per_unit=a.frames_per_unit,
        tokens=a.tokens + b.tokens,
        seconds=a.seconds + b.seconds,
        grid=grid,
    )
