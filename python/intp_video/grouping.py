"""Steps 1 to 3 of the method: group frames, encode each group, put tokens back into time order."""

from __future__ import annotations

from collections.abc import Callable

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


def encode_in_groups(
    encode: Callable[[torch.Tensor], torch.Tensor],
    frames: torch.Tensor,
    frames_per_group: int,
    grouping: str = "interleaved",
    groups_per_chunk: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> torch.Tensor:
    """Run a fixed encoder on groups of N frames, a few groups at a time.

    Memory beyond the result is bounded by one chunk of groups, however long the video.

    Args:
        encode: ``[g, N, 3, H, W] -> [g * N, P, C]``.
        frames: ``[V, M, 3, H, W]`` in time order, M a multiple of N.
        frames_per_group: N.
        grouping: "interleaved" (group g holds frames g, g+m, g+2m, ...) or "contiguous".
        groups_per_chunk: groups in one call of the encoder.
        progress: called with (groups done, groups in all) after each chunk.

    Returns:
        ``[V, M * P, C]`` in storage order: group after group.

    Source: INTP (arXiv 2409.12963), section 3.1.
    """
    videos, count = frames.shape[:2]
    groups = count // frames_per_group
    frame_at = encoder_order(count, frames_per_group, grouping).to(frames.device)
    frame_at = frame_at.view(groups, frames_per_group)
    per_video = []
    for video in range(videos):
        features = []
        for start in range(0, groups, groups_per_chunk):
            chunk = frame_at[start : start + groups_per_chunk]  # [g, N]
            features.append(encode(frames[video][chunk]))
            if progress is not None:
                progress(video * groups + start + len(chunk), videos * groups)
        per_video.append(torch.cat(features).flatten(0, 1))  # [M * P, C]
    return torch.stack(per_video)


def storage_order(
    frames: int, frames_per_group: int, tokens_per_frame: int, grouping: str
) -> torch.Tensor:
    """int32 ``[M * P]``: the storage row of the token at each time (``intp_ext.token_order``)."""
    return intp_ext.token_order(
        frames // frames_per_group, frames_per_group, tokens_per_frame, grouping
    )
