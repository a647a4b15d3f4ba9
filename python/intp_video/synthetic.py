"""A small video that this project draws itself: coloured shapes that come, move and go.

What happens in it is known exactly, so questions about it have answers, and nobody has to download
anything. The same arguments give the same frames everywhere.
"""

import math
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .sampling import check_frames
from .video.writer import write_video

__all__ = ["COLORS", "SHAPES", "Event", "draw_frames", "make_story", "render_video"]

COLORS = {
    "red": (224, 60, 49),
    "orange": (245, 140, 35),
    "yellow": (250, 208, 44),
    "green": (52, 168, 83),
    "blue": (58, 122, 240),
    "purple": (150, 80, 200),
    "white": (240, 240, 240),
}
SHAPES = ("circle", "square", "triangle", "cross")

_SUPERSAMPLING = 2  # PIL draws without smoothing: draw larger, then shrink


@dataclass(frozen=True)
class Event:
    """One shape and its time on screen.

    Attributes:
        color: a key of `COLORS`.
        shape: one of `SHAPES`.
        start, end: seconds; it is on screen while ``start <= t < end``.
        path: its centre at the start and at the end, as fractions of width and height.
    """

    color: str
    shape: str
    start: float
    end: float
    path: tuple[tuple[float, float], tuple[float, float]]


def make_story(seconds: float, *, seed: int = 0) -> list[Event]:
    """What happens in a video of `seconds` seconds: an event every two seconds or so, overlapping.

    Neighbouring events differ in shape and in colour.
    """
    rng = random.Random(seed)
    count = max(2, round(seconds / 2))
    story: list[Event] = []
    for i in range(count):
        before = story[-1] if story else None
        color = rng.choice([c for c in COLORS if not before or c != before.color])
        shape = rng.choice([s for s in SHAPES if not before or s != before.shape])
        start = seconds * i / count
        end = min(seconds, start + seconds / count * rng.uniform(1.1, 1.8))
        path = tuple((rng.uniform(0.15, 0.85), rng.uniform(0.2, 0.7)) for _ in range(2))
        story.append(Event(color, shape, round(start, 3), round(end, 3), path))
    return story


def draw_frames(
    story: list[Event], seconds: float, *, fps: int = 12, size: tuple[int, int] = (320, 240)
) -> Iterator[np.ndarray]:
    """The frames of `story`, each uint8 ``[H, W, 3]`` RGB, with a clock and a progress bar.

    Args:
        size: width and height in pixels.
    """
    for i in range(max(1, round(seconds * fps))):
        yield _draw_frame(story, i / fps, seconds, size)


def render_video(
    path: str | os.PathLike,
    *,
    seconds: float = 16.0,
    fps: int = 12,
    size: tuple[int, int] = (320, 240),
    seed: int = 0,
) -> list[Event]:
    """Writes the video of `make_story` (H.264, MP4 or whatever the suffix of `path` says).

    Args:
        seconds: its length.
        fps: frames a second.
        size: width and height in pixels, even numbers.
        seed: another seed, another story.

    Returns:
        What happens in it, in order of start.

    Raises:
        TypeError, ValueError: an argument is out of range.
        VideoError: PyAV is not installed.
        OSError: the file cannot be written.
    """
    fps = check_frames(fps, function="render_video", name="fps")
    if not (math.isfinite(seconds) and seconds * fps >= 1):
        raise ValueError(f"render_video: seconds must hold at least one frame, got {seconds}")
    width, height = size
    if width % 2 or height % 2 or min(size) < 32:
        raise ValueError(f"render_video: size must be even and at least 32x32, got {size}")
    story = make_story(seconds, seed=seed)
    images = draw_frames(story, seconds, fps=fps, size=size)
    write_video(path, images, fps=fps, size=size, keyframe_every=fps)
    return story


def _draw_frame(story: list[Event], t: float, seconds: float, size: tuple[int, int]) -> np.ndarray:
    from PIL import Image, ImageDraw, ImageFont

    width, height = (_SUPERSAMPLING * n for n in size)
    canvas = Image.new("RGB", (width, height), (24, 28, 38))
    draw = ImageDraw.Draw(canvas)
    for event in story:
        if event.start <= t < event.end:
            _draw_shape(draw, event, t, width, height)
    draw.rectangle([0, round(height * 0.955), width, height], fill=(52, 58, 72))
    draw.rectangle([0, round(height * 0.955), round(width * t / seconds), height], fill="white")
    clock = f"{int(t) // 60:02d}:{t % 60:04.1f}"
    font = ImageFont.load_default(height / 12)
    draw.text((width * 0.97, height * 0.03), clock, fill="white", font=font, anchor="rt")
    return np.asarray(canvas.resize(size, Image.Resampling.BOX))


def _draw_shape(draw, event: Event, t: float, width: int, height: int) -> None:
    """Draws the shape where it is at `t`; it pops up and shrinks away in a fifth of a second."""
    (x0, y0), (x1, y1) = event.path
    progress = (t - event.start) / (event.end - event.start)
    eased = progress * progress * (3 - 2 * progress)
    x, y = width * (x0 + (x1 - x0) * eased), height * (y0 + (y1 - y0) * eased)
    popped = min(1.0, 0.4 + 3 * (t - event.start), 0.4 + 3 * (event.end - t))
    r = height * 0.15 * popped
    fill = COLORS[event.color]
    if event.shape == "circle":
        draw.ellipse([x - r, y - r, x + r, y + r], fill=fill)
    elif event.shape == "square":
        draw.rectangle([x - 0.9 * r, y - 0.9 * r, x + 0.9 * r, y + 0.9 * r], fill=fill)
    elif event.shape == "triangle":
        draw.polygon([(x, y - r), (x + r, y + 0.8 * r), (x - r, y + 0.8 * r)], fill=fill)
    else:
        arm = 0.32 * r
        draw.rectangle([x - r, y - arm, x + r, y + arm], fill=fill)
        draw.rectangle([x - arm, y - r, x + arm, y + r], fill=fill)
