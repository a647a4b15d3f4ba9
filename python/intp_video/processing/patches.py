"""Pixels cut into the rows that a Conv3d patch embedding takes."""

import torch


def patchify(pixels: torch.Tensor, patch: int, merge: int, temporal: int) -> torch.Tensor:
    """``[T, C, H, W]`` -> rows ``[n, C * temporal * patch * patch]``, one for each patch.

    Patches that become one token, ``merge * merge`` of them, stand together: rows go by temporal
    patch, row and column of the token, then row and column inside it.

    Args:
        pixels: T divisible by `temporal`, H and W by ``patch * merge``.
        patch, merge, temporal: pixels in a patch and patches in a token, in each direction, and
            frames in a patch.
    """
    frames, channels, height, width = pixels.shape
    rows, columns = height // (patch * merge), width // (patch * merge)
    pixels = pixels.reshape(
        frames // temporal, temporal, channels, rows, merge, patch, columns, merge, patch
    )
    pixels = pixels.permute(0, 3, 6, 4, 7, 2, 1, 5, 8)
    return pixels.reshape(-1, channels * temporal * patch * patch)
