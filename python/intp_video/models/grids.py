"""Families whose encoder takes rows of patches and a grid: ``[rows, patch]``, ``[V, 3]``."""

from __future__ import annotations

from typing import Any

import torch

from .family import ASSUMED_SIDE, Layout, VideoFamily


class GridFamily(VideoFamily):
    """A grid of t x h x w patches for each video; ``merge x merge`` of them become one token."""

    text_per_unit = 0

    def _vision(self, config: Any) -> Any:
        return config.vision_config

    def frames_per_unit(self, config: Any) -> int:
        return getattr(self._vision(config), "temporal_patch_size", 1)

    def merge(self, config: Any) -> int:
        """Patches along one side of a token."""
        return self._vision(config).spatial_merge_size

    def layout(
        self, config: Any, frames: int, height: int = ASSUMED_SIDE, width: int = ASSUMED_SIDE
    ) -> Layout:
        side = self._vision(config).patch_size * self.merge(config)
        rows, columns = (max(1, round(pixels / side)) for pixels in (height, width))
        units = -(-frames // self.frames_per_unit(config))
        tokens = units * (rows * columns + self.text_per_unit)
        if self.mrope is None:
            positions = tokens
        elif self.text_between_frames:  # each unit begins after the one before it
            positions = units * (max(rows, columns) + self.text_per_unit)
        else:
            positions = units * self.positions_per_unit(config) + max(rows, columns)
        visual = units * rows * columns
        values = visual * side**2 * 3 * self.frames_per_unit(config)
        return Layout(rows * columns, visual, tokens, positions, values)

    def positions_per_unit(self, config: Any) -> int:
        """Steps along the axis of time from one unit to the next, for a second between them."""
        return 1

    def units(self, arguments: dict[str, Any]) -> list[int]:
        pixels, grid = self._pixels_and_grid(arguments)
        if not isinstance(grid, torch.Tensor) or grid.dim() != 2 or grid.shape[1] != 3:
            got = list(grid.shape) if isinstance(grid, torch.Tensor) else type(grid).__name__
            raise ValueError(f"video_grid_thw: expected [videos, 3], got {got}")
        rows = int(grid.prod(-1).sum())
        if pixels.dim() != 2 or len(pixels) != rows:
            raise ValueError(
                f"{self.pixels}: expected [{rows}, patch], the rows of video_grid_thw, got "
                f"{list(pixels.shape)}"
            )
        return grid[:, 0].tolist()

    def take(self, arguments: dict[str, Any], video: int, groups: torch.Tensor) -> dict[str, Any]:
        name = next(iter(arguments))
        pixels, grid = self._pixels_and_grid(arguments)
        units, rows, columns = grid[video].tolist()
        begin = int(grid[:video].prod(-1).sum())
        own = pixels[begin : begin + units * rows * columns].unflatten(0, (units, rows * columns))
        taken = own[groups.to(pixels.device)].flatten(0, 2)  # [g * n * h * w, patch]
        count, length = groups.shape
        group_grid = grid.new_tensor([[length, rows, columns]]).expand(count, -1)
        return {**arguments, name: taken, "video_grid_thw": group_grid}

    def tokens_per_unit(self, config: Any, arguments: dict[str, Any]) -> list[int]:
        area = self.merge(config) ** 2
        return [rows * columns // area for _, rows, columns in arguments["video_grid_thw"].tolist()]

    def _pixels_and_grid(self, arguments: dict[str, Any]) -> tuple[torch.Tensor, Any]:
        return next(iter(arguments.values())), arguments.get("video_grid_thw")
