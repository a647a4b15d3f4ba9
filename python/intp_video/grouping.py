"""Steps 1 to 3 of the method: group frames, encode each group, put tokens back into time order."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

import intp_ext

from .sampling import check_frames


def encoder_order(
    frames: int, frames_per_group: int, grouping: str = "interleaved"
) -> torch.Tensor:
    """The frame at each place when all groups are encoded one after another.

    Returns:
        int64 ``[M]``, a permutation; row g of its ``[m, N]`` view is group g. The inverse of
        :func:`intp_ext.token_order` with one token per frame.

    Raises:
        TypeError, ValueError: M is not a multiple of N, or the grouping is unknown.
    """
    check_frames(frames, function="encoder_order")
    check_frames(frames_per_group, function="encoder_order", name="frames_per_group")
    if frames % frames_per_group:
        raise ValueError(
            "encoder_order: frames must be a multiple of frames_per_group, "
            f"got {frames} and {frames_per_group}"
        )
    return intp_ext.token_order(frames // frames_per_group, frames_per_group, 1, grouping).argsort()


def chunks_of_groups(
    units: torch.Tensor, per_group: int, groups_per_chunk: int
) -> Iterator[torch.Tensor]:
    """Units in the order in which they are encoded, int64 ``[M]``, as chunks ``[g, n]`` of groups.

    Groups have ``per_group`` units; what is left over is a last, shorter group of its own.
    """
    whole = len(units) // per_group * per_group
    if whole:  # of nothing, split() makes one empty chunk
        yield from units[:whole].view(-1, per_group).split(groups_per_chunk)
    if whole < len(units):
        yield units[None, whole:]


def encode_in_groups(
    encode: Callable[[torch.Tensor], list[torch.Tensor]],
    units: torch.Tensor,
    per_group: int,
    groups_per_chunk: int = 1,
    progress: Callable[[int], None] | None = None,
) -> list[torch.Tensor]:
    """Run a fixed encoder on groups of units of time, a few groups at a time.

    Memory beyond the result is bounded by one chunk of groups, however long the video.

    Args:
        encode: units int64 ``[g, n]`` -> rows of features ``[g * n * P, C]``, one tensor for each
            kind of features.
        units: int64 ``[M]``, all units in the order in which they are encoded.
        per_group: units in a group.
        groups_per_chunk: groups in one call of the encoder.
        progress: called after each chunk, with its number of groups.

    Returns:
        ``[M * P, C]`` of each kind, in the order of ``units``.

    Source: INTP (arXiv 2409.12963), section 3.1.
    """
    parts: list[list[torch.Tensor]] = []
    for chunk in chunks_of_groups(units, per_group, groups_per_chunk):
        parts.append(encode(chunk))
        if progress is not None:
            progress(len(chunk))
    return [torch.cat(kind) for kind in zip(*parts, strict=True)]


def storage_order(
    frames: int, frames_per_group: int, tokens_per_frame: int, grouping: str
) -> torch.Tensor:
    """int32 ``[M * P]``: the storage row of the token at each time (``intp_ext.token_order``)."""
    return intp_ext.token_order(
        frames // frames_per_group, frames_per_group, tokens_per_frame, grouping
    )
