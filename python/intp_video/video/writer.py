"""Drawn frames into a video file, the same bytes every time."""

from __future__ import annotations

import os
from collections.abc import Iterable
from fractions import Fraction

import numpy as np

from ..errors import VideoError

__all__ = ["write_video"]


def write_video(
    path: str | os.PathLike,
    images: Iterable[np.ndarray],
    *,
    fps: int,
    size: tuple[int, int],
    keyframe_every: int,
) -> None:
    """Writes ``images`` as H.264; the suffix of ``path`` chooses the container.

    Args:
        images: uint8 ``[H, W, 3]`` RGB each.
        fps: frames a second.
        size: width and height in pixels, even numbers.
        keyframe_every: frames; many keyframes make seeks cheap.

    Raises:
        VideoError: PyAV is not installed.
        OSError: the file cannot be written.
    """
    try:
        import av
    except ImportError as error:
        raise VideoError("writing a video needs PyAV (pip install av)") from error

    # An absolute path: in any other, FFmpeg takes what is before a colon for a protocol.
    with av.open(os.path.abspath(path), "w") as container:
        # x264's macroblock tree reads memory that it never wrote (core 165, AVX-512): about one
        # file in a hundred came out a few bytes different.
        stream = container.add_stream("h264", rate=fps, options={"mbtree": "0"})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        # Several threads place B-frames, and divide the work, as they happen to run.
        stream.codec_context.thread_count = 1
        stream.codec_context.max_b_frames = 0
        stream.codec_context.gop_size = keyframe_every
        stream.codec_context.time_base = Fraction(1, fps)
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
