"""The height and width that a family gives to a frame; each rule is a function of numbers."""

from __future__ import annotations

import math

Size = tuple[int, int]  # height, width

_MOST_UNEQUAL = 200  # one side over the other
_LONGEST_EDGE = 4096


def shortest_edge_size(height: int, width: int, edge: int) -> Size:
    """The shorter side becomes `edge`; the other follows, rounded down."""
    if height <= width:
        return edge, int(edge * width / height)
    return int(edge * height / width), edge


def longest_edge_size(height: int, width: int, edge: int) -> Size:
    """SmolVLM: the longer side becomes `edge`; the other follows and is made even."""
    edge = min(edge, _LONGEST_EDGE)
    ratio = width / height
    if width >= height:
        return max(_even(int(edge / ratio)), 1), edge
    return edge, max(_even(int(edge * ratio)), 1)


def smart_size(
    height: int, width: int, factor: int, least: int, most: int, frames: int = 1, whole: int = 1
) -> Size:
    """Qwen2-VL: sides divisible by `factor`, an area between `least` and `most` pixels.

    Args:
        height, width: of a frame.
        factor: pixels that become one token, in each direction.
        least, most: pixels of all that is counted.
        frames: how many frames count together; 1: each alone.
        whole: the same, in whole temporal patches.

    Raises:
        ValueError: one side is more than 200 times the other.
    """
    if max(height, width) > _MOST_UNEQUAL * min(height, width):
        raise ValueError(
            f"frames: expected no side above {_MOST_UNEQUAL} times the other, got {height} x "
            f"{width}"
        )
    high, wide = round(height / factor) * factor, round(width / factor) * factor
    if whole * high * wide > most:
        shrink = math.sqrt(frames * height * width / most)
        high = max(factor, math.floor(height / shrink / factor) * factor)
        wide = max(factor, math.floor(width / shrink / factor) * factor)
    elif whole * high * wide < least:
        grow = math.sqrt(least / (frames * height * width))
        high = math.ceil(height * grow / factor) * factor
        wide = math.ceil(width * grow / factor) * factor
    return high, wide


def smart_video_size(
    frames: int, height: int, width: int, temporal: int, factor: int, least: int, most: int
) -> Size:
    """Qwen3-VL, GLM-4V: as :func:`smart_size`, but the bounds are of all frames together.

    An odd number of frames counts as its neighbour divisible by four. transformers 5.0 to 5.10
    counted the next even one.

    Args:
        frames: of the video; fewer than one temporal patch count as one.
        temporal: frames in a temporal patch.
    """
    frames = max(frames, temporal)
    if height < factor or width < factor:
        grow = max(factor / height, factor / width)
        height, width = int(height * grow), int(width * grow)
    whole = round(frames / temporal) * temporal
    return smart_size(height, width, factor, least, most, frames, whole)


def patch_budget_size(height: int, width: int, patch: int, most: int, pool: int) -> Size:
    """Gemma 4: the largest size of the same shape with at most `most` patches.

    Args:
        patch: pixels of a patch, in each direction.
        most: patches.
        pool: patches that become one token, in each direction; sides are whole tokens.

    Raises:
        ValueError: no such size exists.
    """
    token = patch * pool
    scale = math.sqrt(most * patch**2 / (height * width))
    high, wide = (math.floor(scale * side / token) * token for side in (height, width))
    longest = most // pool**2 * token
    if high == 0 and wide > 0:
        high, wide = token, min(width // height * token, longest)
    elif wide == 0 and high > 0:
        high, wide = min(height // width * token, longest), token
    if not 0 < high * wide <= most * patch**2:
        raise ValueError(
            f"frames: expected at least a token's patches for {height} x {width}, got {most}"
        )
    return high, wide


def _even(pixels: int) -> int:
    return pixels + pixels % 2
