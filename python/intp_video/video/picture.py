"""Turns a frame that PyAV decodes into the picture that a player shows, and notes what was done.

A file says how to show its pictures: turned or mirrored, with pixels that are not square, in two
fields, in a high dynamic range. FFmpeg's command line applies the first of these by default and has
filters for the others.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import av

__all__ = ["Pictures", "Traits"]

_HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics, as ITU-T H.273 numbers them
_WIDEST_PIXEL = 10  # real ones reach 4 to 1: anamorphic lenses, two views side by side

_Steps = tuple[tuple[str, str], ...]  # filters and their arguments, one after the other

_DEINTERLACE: _Steps = (("estdif", "mode=frame:deint=interlaced"),)  # looks at no other frame
_TONE_MAP: _Steps = (
    # It differs from frame to frame, and for each the table of colors would be made anew.
    ("sidedata", "mode=delete:type=DYNAMIC_HDR_PLUS"),
    ("scale", "out_transfer=bt709:out_primaries=bt709:out_color_matrix=bt709:intent=perceptual"),
)


@dataclass(frozen=True)
class Traits:
    """How a frame is to be shown.

    Attributes:
        matrix: a, b, c, d: the pixel at x, y is shown at a x + c y, b x + d y.
        pixel: width over height of a pixel.
        interlaced: whether its rows are two fields, of two moments.
        hdr: "PQ", "HLG" or None.
    """

    matrix: tuple[int, int, int, int]
    pixel: Fraction
    interlaced: bool
    hdr: str | None

    @classmethod
    def of(
        cls,
        frame: av.VideoFrame,
        stream: av.video.stream.VideoStream,
        pixel: Fraction | None = None,
    ) -> Traits:
        """Of a frame just decoded; `pixel` None: what the stream as a whole declares."""
        return cls(
            matrix=_display_matrix(frame),
            pixel=Fraction(pixel or stream.sample_aspect_ratio or 1),
            interlaced=bool(frame.interlaced_frame),
            hdr=_HDR.get(stream.codec_context.color_trc),
        )

    @property
    def believable(self) -> bool:
        """Whether there are cameras with such pixels."""
        return 1 / _WIDEST_PIXEL <= self.pixel <= _WIDEST_PIXEL

    def ignored_by(self, name: str) -> list[str]:
        """A sentence for each trait that the decoder `name` takes no notice of."""
        a, b, c, d = self.matrix
        notes = []
        if a * d - b * c < 0:
            notes.append(f"{name} does not mirror the picture as its metadata say")
        if self.pixel != 1 and self.believable:
            notes.append(
                f"{name} does not stretch pixels that are not square ({_ratio(self.pixel)})"
            )
        if self.interlaced:
            notes.append(f"{name} does not deinterlace")
        if self.hdr:
            notes.append(f"{name} does not map high dynamic range ({self.hdr}): colors are pale")
        return notes


class Pictures:
    """Turns the frames of one stream into arrays of one size: that of the first."""

    def __init__(self) -> None:
        self._shape: tuple[int, int] | None = None  # height and width of every picture
        self._stored: dict[str, None] = {}  # the sizes met, in order
        self._pixels: dict[Fraction, None] = {}  # and the shapes of pixels
        self._stretched: dict[str, None] = {}
        self._said: dict[str, None] = {}
        self._tone_mappers: dict[tuple[int, int, str], av.filter.Graph] = {}  # seconds to make

    def show(self, frame: av.VideoFrame, traits: Traits) -> np.ndarray:
        """uint8 ``[H, W, 3]``, RGB, upright, with square pixels."""
        self._stored[f"{frame.width}x{frame.height}"] = None
        self._pixels[traits.pixel] = None
        if traits.interlaced:
            frame = self._try(
                self._deinterlaced,
                frame,
                done="the video is interlaced: each frame was deinterlaced by itself",
                failed="the video is interlaced and this FFmpeg cannot deinterlace it: moving "
                "edges are combs",
            )
        if traits.hdr:
            hdr = f"high dynamic range ({traits.hdr})"
            frame = self._try(
                self._tone_mapped,
                frame,
                done=f"{hdr} was mapped to the range of a screen",
                failed=f"{hdr}: this FFmpeg cannot map it, colors are pale",
            )
        width, height = self._size(frame, traits)
        image = frame.to_ndarray(format="rgb24", width=width, height=height)
        image = self._turn(image, traits.matrix)
        if self._shape is None:
            self._shape = image.shape[:2]
        return image if image.shape[:2] == self._shape else _fit(image, *self._shape)

    def notes(self) -> list[str]:
        """One sentence for everything that was done, or could not be."""
        notes = list(self._said)
        height, width = self._shape or (0, 0)
        if len(self._pixels) == 1:
            notes += self._stretched
        elif self._pixels:
            notes.append(
                f"the stream changes the shape of its pixels ("
                f"{', '.join(map(_ratio, self._pixels))}): every frame is shown with square ones "
                f"at {width}x{height}"
            )
        if len(self._stored) > 1:
            notes.append(
                f"the stream changes its resolution ({', '.join(self._stored)}): every frame is "
                f"shown at {width}x{height}"
            )
        return notes

    def _say(self, note: str) -> None:
        self._said[note] = None

    def _try(
        self,
        step: Callable[[av.VideoFrame], av.VideoFrame],
        frame: av.VideoFrame,
        done: str,
        failed: str,
    ) -> av.VideoFrame:
        import av

        try:
            frame = step(frame)
        except (av.FFmpegError, ValueError, LookupError):  # a filter or option is not there
            self._say(failed)
        else:
            self._say(done)
        return frame

    def _deinterlaced(self, frame: av.VideoFrame) -> av.VideoFrame:
        graph = _graph(frame, _DEINTERLACE)
        graph.push(frame)
        graph.push(None)  # it gives a frame when it has the next one, or the end
        return graph.pull()

    def _tone_mapped(self, frame: av.VideoFrame) -> av.VideoFrame:
        key = frame.width, frame.height, frame.format.name
        if key not in self._tone_mappers:
            self._tone_mappers[key] = _graph(frame, _TONE_MAP)
        self._tone_mappers[key].push(frame)
        return self._tone_mappers[key].pull()

    def _size(self, frame: av.VideoFrame, traits: Traits) -> tuple[int, int]:
        """Width and height with square pixels; neither gets smaller."""
        width, height, pixel = frame.width, frame.height, traits.pixel
        if not traits.believable:
            self._say(
                f"its metadata tell pixels of {_ratio(pixel)}, which no camera has: not followed"
            )
        elif pixel > 1:
            width = round(width * pixel)
        elif pixel < 1:
            height = round(height / pixel)
        if (width, height) != (frame.width, frame.height):
            stored = f"{frame.width}x{frame.height}"
            self._stretched[
                f"pixels are not square ({_ratio(pixel)}): the picture of {stored} is shown as "
                f"{width}x{height}"
            ] = None
        return width, height

    def _turn(self, image: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
        """Turns and mirrors by the nearest of the eight ways without a slant."""
        a, b, c, d = matrix
        if min(abs(a), abs(b)) > 0.02 * max(abs(a), abs(b)):
            degrees = abs(round(math.degrees(math.atan2(b, a))))
            self._say(
                f"its metadata turn the picture by {degrees} degrees: it is shown in the nearest "
                "quarter turn"
            )
        if abs(b) > abs(a):
            image, a, d = image.transpose(1, 0, 2), c, b
        if a < 0:
            image = image[:, ::-1]
        if d < 0:
            image = image[::-1]
        return image


def _display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
            return a, b, c, d
    return 1, 0, 0, 1


def _graph(frame: av.VideoFrame, steps: _Steps) -> av.filter.Graph:
    """Filters for frames like this one."""
    import av

    graph = av.filter.Graph()
    nodes = [
        graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format,
            time_base=frame.time_base,
        ),
        *(graph.add(name, arguments) for name, arguments in steps),
        graph.add("buffersink"),
    ]
    for node, following in itertools.pairwise(nodes):
        node.link_to(following)
    graph.configure()
    return graph


def _fit(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scales to fill `height` x `width` without a change of shape, on black."""
    import av

    scale = min(height / image.shape[0], width / image.shape[1])
    h, w = (round(side * scale) for side in image.shape[:2])
    # Rounding to whole pixels alone is no reason for a margin.
    h, w = height if height - h <= 1 else h, width if width - w <= 1 else w
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    result = np.zeros((height, width, 3), dtype=np.uint8)
    top, left = (height - h) // 2, (width - w) // 2
    result[top : top + h, left : left + w] = frame.to_ndarray(format="rgb24", width=w, height=h)
    return result


def _ratio(pixel: Fraction) -> str:
    return f"{pixel.numerator}:{pixel.denominator}"
