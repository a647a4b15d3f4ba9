"""A picture of a clip: its frames, their groups, and what rearranging them does.

Two bands. The first shows the frames in time order, each framed in the color of its group. The
second shows them as the encoder sees them, group after group, with a line from each to its place
in time. What the model's center crop cuts off is faded in the first band and left out of the
second.
"""

import colorsys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .grouping import encoder_order
from .lettering import legible
from .video import Clip

__all__ = ["MAX_SHEET_FRAMES", "clock_decimals", "clock_time", "contact_sheet", "group_colors"]

MAX_SHEET_FRAMES = 512

_MARGIN = 40
_GUTTER = 104  # for the names of the two rows of the second band
_SUPERSAMPLING = 3
_PAPER, _INK, _GREY = (255, 255, 255), (28, 32, 42), (108, 114, 128)


def contact_sheet(
    clip: Clip,
    frames_per_group: int = 8,
    grouping: str = "interleaved",
    seen: tuple[float, float, float, float] | None = None,
) -> Image.Image:
    """Draws the picture.

    Args:
        clip: its number of frames M is a multiple of `frames_per_group`, as `Clip.take` with
            `repeat_to_groups` makes it.
        frames_per_group: N, how many frames the encoder takes at a time.
        grouping: ``"interleaved"`` or ``"contiguous"``.
        seen: left, top, right, bottom of what the model sees of a frame, in its pixels
            (`FrameProcessor.seen`); None: all.

    Raises:
        TypeError, ValueError: as `encoder_order`, and for more than `MAX_SHEET_FRAMES` frames.
    """
    if len(clip) > MAX_SHEET_FRAMES:
        raise ValueError(
            f"contact_sheet: at most {MAX_SHEET_FRAMES} frames can be told apart, got {len(clip):,}"
        )
    order = encoder_order(len(clip), frames_per_group, grouping).numpy()
    sheet = _Sheet.lay_out(clip, order.reshape(-1, frames_per_group), grouping, seen)
    return sheet.draw()


@dataclass
class _Sheet:
    clip: Clip
    groups: np.ndarray  # [m, N], frame numbers
    grouping: str
    group_of: np.ndarray  # [M], by frame number
    colors: list[tuple[int, int, int]]  # [m]
    columns: int
    cell: int  # width of a cell of the grid, pixels
    thumbnail: tuple[int, int]
    width: int
    decimals: int  # of the seconds shown
    seen: tuple[float, float, float, float]  # pixels of the clip

    @classmethod
    def lay_out(
        cls,
        clip: Clip,
        groups: np.ndarray,
        grouping: str,
        seen: tuple[float, float, float, float] | None,
    ) -> "_Sheet":
        count, (m, per_group) = len(clip), groups.shape
        group_of = np.empty(count, dtype=np.int64)
        group_of[groups.ravel()] = np.repeat(np.arange(m), per_group)
        columns = _columns(count, m if grouping == "interleaved" else per_group)
        cell = min(190, max(112, 1560 // columns))
        height, width = clip.frames.shape[1:3]
        scale = min((cell - 16) / width, (cell - 16) / height)  # upright frames stay in their cell
        return cls(
            clip=clip,
            groups=groups,
            grouping=grouping,
            group_of=group_of,
            colors=group_colors(m),
            columns=columns,
            cell=cell,
            thumbnail=(max(1, round(width * scale)), max(1, round(height * scale))),
            width=max(columns * cell, 1240) + 2 * _MARGIN,
            decimals=clock_decimals(clip),
            seen=seen or (0, 0, width, height),
        )

    def draw(self) -> Image.Image:
        """Draws on a sheet with room to spare, and cuts that off."""
        rows = -(-len(self.clip) // self.columns)
        room = 900 + rows * (self.thumbnail[1] + 60) + 100 * len(self.clip.notes)
        self.image = Image.new("RGB", (self.width, room), _PAPER)
        self.pen = ImageDraw.Draw(self.image)
        y = self._title(_MARGIN - 4)
        y = self._time_band(y + 26)
        y = self._encoder_band(y + 30)
        y = self._notes(y + 16)
        return self.image.crop((0, 0, self.width, y + _MARGIN - 10))

    def _title(self, y: int) -> int:
        count, (m, per_group) = len(self.clip), self.groups.shape
        self._text(_MARGIN, y, self._fitting(Path(self.clip.path).name, 34), 34, _INK)
        groups = f"{m} groups of {per_group}, {self.grouping}" if m > 1 else f"1 group of {count}"
        summary = f"{count} frames from {self.clip.extent} of video    {groups}"
        self._text(_MARGIN, y + 46, summary, 20, _GREY)
        return y + 74

    def _time_band(self, y: int) -> int:
        m, per_group = self.groups.shape
        if m == 1:
            rule = "One group holds them all."
        elif self.grouping == "interleaved":
            rule = f"Group g takes every {_ordinal(m)} frame, from frame g on."
        else:
            rule = f"Group g takes {per_group} frames in a row."
        y = self._heading(
            y,
            "1   Frames in time order",
            f"What is on screen in the middle of each of {len(self.clip)} equal segments. "
            f"The color is the group that a frame is encoded in. {rule}",
        )
        if self._is_cropped:
            note = "Faded: what the model's center crop cuts off."
            self._text(_MARGIN, y - 12, note, 17, _GREY)
            y += 22
        step = self.thumbnail[1] + 42
        for frame in range(len(self.clip)):
            row, column = divmod(frame, self.columns)
            self._frame(frame, _MARGIN + column * self.cell, y + row * step)
        rows = -(-len(self.clip) // self.columns)
        return y + rows * step

    def _frame(self, frame: int, x: int, y: int) -> None:
        """One cell of the grid: number and time, and the picture in its group's color."""
        group = self.group_of[frame]
        color = self.colors[group]
        width, height = self.thumbnail
        x += (self.cell - width) // 2
        size = 15 if self.cell >= 150 else 12
        self._text(x - 3, y + 16, f"f{frame}", size, _INK, anchor="ls")
        seconds = clock_time(self.clip.timestamps[frame], self.decimals)
        self._text(x + width + 3, y + 16, seconds, size, _GREY, anchor="rs")
        self.pen.rectangle([x - 4, y + 22, x + width + 3, y + 29 + height], fill=color)
        self.image.paste(self._thumbnail(frame), (x, y + 26))
        tag = f"g{group}"
        box = self.pen.textbbox((0, 0), tag, font=ImageFont.load_default(size))
        self.pen.rectangle([x - 4, y + 22, x + 4 + box[2], y + 30 + size], fill=color)
        self._text(x, y + 24, tag, size, _on(color))

    def _encoder_band(self, y: int) -> int:
        count, (m, per_group) = len(self.clip), self.groups.shape
        straight = m == 1 or self.grouping == "contiguous"
        fate = (
            "That is time order already: there is nothing to rearrange."
            if straight
            else "Rearranging puts the tokens of each frame back where they belong in time."
        )
        y = self._heading(
            y,
            "2   From encoder order back to time order",
            f"The encoder takes {per_group} frames at a time; "
            f"its output stands group after group. {fate}",
        )
        # Two rows of slots: top[i] for place i in encoder order, with a gap after each group, and
        # bottom[f] for frame f.
        left, right, gap = _MARGIN + _GUTTER, self.width - _MARGIN, 8 if m > 1 else 0
        ratio = self.thumbnail[1] / self.thumbnail[0]
        slot = min((right - left - gap * (m - 1)) / count, self.cell, 110 / ratio)
        top = [left + i * slot + i // per_group * gap for i in range(count)]
        wide = slot + gap * (m - 1) / count
        bottom = [left + f * wide for f in range(count)]
        height = max(26, round(slot * ratio))
        numbers = 20 if slot >= 24 else 0
        top_y = y + 24
        curves_y = top_y + height + 12 + numbers
        bottom_y = curves_y + (90 if straight else 190)

        for group, color in enumerate(self.colors):
            begin, end = top[group * per_group], top[(group + 1) * per_group - 1] + slot
            label = f"group {group}" if end - begin >= 70 else f"g{group}"
            self._text((begin + end) / 2, top_y - 8, label, 14, _darker(color), anchor="ms")
        links = []
        for place, frame in enumerate(self.groups.ravel()):
            self._slot(frame, top[place], slot, top_y, height, numbers)
            self._slot(frame, bottom[frame], wide, bottom_y, height, numbers)
            color = self.colors[self.group_of[frame]]
            links.append((top[place] + slot / 2, bottom[frame] + wide / 2, color))
        self._curves(links, curves_y, bottom_y - 6)
        self._text(_MARGIN, top_y + height / 2, "as encoded", 15, _INK, anchor="lm")
        self._text(_MARGIN, bottom_y + height / 2, "in time", 15, _INK, anchor="lm")
        return bottom_y + height + 8 + numbers

    def _curves(self, links: list[tuple[float, float, tuple]], y0: int, y1: int) -> None:
        """A smooth line for each (x at y0, x at y1, color). PIL smooths nothing: shrink."""
        k = _SUPERSAMPLING
        band = Image.new("RGB", (self.width * k, (y1 - y0) * k), _PAPER)
        pen = ImageDraw.Draw(band)
        for x0, x1, color in links:
            points = _curve((x0 * k, 0), (x1 * k, (y1 - y0) * k))
            pen.line(points, fill=color, width=2 * k if len(links) <= 64 else k, joint="curve")
        self.image.paste(band.resize((self.width, y1 - y0), Image.Resampling.BOX), (0, y0))

    def _slot(
        self, frame: int, left: float, slot: float, y: int, height: int, numbers: int
    ) -> None:
        """A frame in a row: a sliver of its picture, a bar in its group's color, its number."""
        x0, x1 = round(left), round(left + slot)
        width = max(2, x1 - x0 - 2)
        color = self.colors[self.group_of[frame]]
        self.image.paste(self._picture(frame, (width, height)), (x0 + 1, y))
        self.pen.rectangle([x0 + 1, y + height, x0 + width, y + height + 5], fill=color)
        if numbers:
            self._text((x0 + x1) / 2, y + height + numbers, str(frame), 13, _GREY, anchor="ms")

    def _notes(self, y: int) -> int:
        letters = (self.width - 2 * _MARGIN) // 8
        for note in self.clip.notes:
            for line in textwrap.wrap(f"Note: {note}", letters, subsequent_indent="    "):
                self._text(_MARGIN, y + 22, line, 15, _GREY, anchor="ls")
                y += 24
        return y

    def _heading(self, y: int, title: str, text: str) -> int:
        self.pen.line([_MARGIN, y, self.width - _MARGIN, y], fill=(222, 225, 232), width=2)
        self._text(_MARGIN, y + 18, title, 24, _INK)
        self._text(_MARGIN, y + 52, text, 17, _GREY)
        return y + 86

    def _text(self, x: float, y: float, text: str, size: int, fill, anchor: str = "la") -> None:
        font, text = legible(text, size)
        self.pen.text((x, y), text, fill=fill, font=font, anchor=anchor)

    def _fitting(self, text: str, size: int) -> str:
        """`text`, or its two ends, so that it fits between the margins."""
        kept = len(text)
        shown = text
        while kept > 1:
            font, drawn = legible(shown, size)
            if font.getlength(drawn) <= self.width - 2 * _MARGIN:
                break
            kept -= 1
            shown = f"{text[: -(-kept // 2)]}...{text[len(text) - kept // 2 :]}"
        return shown

    @property
    def _is_cropped(self) -> bool:
        height, width = self.clip.frames.shape[1:3]
        return self.seen != (0, 0, width, height)

    def _thumbnail(self, frame: int) -> Image.Image:
        """The whole frame; what the model does not see of it is faded."""
        image = Image.fromarray(self.clip.frames[frame])
        image = image.resize(self.thumbnail, Image.Resampling.LANCZOS, reducing_gap=2.0)
        if not self._is_cropped:
            return image
        scale = self.thumbnail[0] / self.clip.frames.shape[2]
        box = tuple(round(edge * scale) for edge in self.seen)
        faded = Image.blend(image, Image.new("RGB", image.size, _PAPER), 0.7)
        faded.paste(image.crop(box), box[:2])
        return faded

    def _picture(self, frame: int, size: tuple[int, int]) -> Image.Image:
        """What the model sees, cut to the shape of `size` around its middle, and scaled to it."""
        left, top, right, bottom = self.seen
        scale = min((right - left) / size[0], (bottom - top) / size[1])
        width, height = size[0] * scale, size[1] * scale
        x, y = (left + right - width) / 2, (top + bottom - height) / 2
        return Image.fromarray(self.clip.frames[frame]).resize(
            size, Image.Resampling.LANCZOS, box=(x, y, x + width, y + height), reducing_gap=2.0
        )


def _columns(count: int, period: int) -> int:
    """8 to 16 columns, so that the groups stand under each other where that is possible."""
    for columns in (*(period * k for k in range(1, 17)), *(period // k for k in range(2, 9))):
        if 8 <= columns <= 16 and columns % min(period, columns) == 0:
            return min(columns, count)
    return min(count, 12)


def group_colors(count: int) -> list[tuple[int, int, int]]:
    """Hues around the circle; neighbors also differ in lightness when there are many."""
    colors = []
    for i in range(count):
        lightness = 0.52 if count <= 8 or i % 2 == 0 else 0.38
        red, green, blue = colorsys.hls_to_rgb((i / count + 0.58) % 1, lightness, 0.72)
        colors.append((round(red * 255), round(green * 255), round(blue * 255)))
    return colors


def _luminance(color: tuple[int, int, int]) -> float:
    return (0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]) / 255


def _on(color: tuple[int, int, int]) -> tuple[int, int, int]:
    """Ink that can be read on `color`."""
    return _INK if _luminance(color) > 0.6 else _PAPER


def _darker(color: tuple[int, int, int]) -> tuple[int, int, int]:
    """`color`, dark enough to be read on paper."""
    factor = min(1.0, 0.5 / max(_luminance(color), 0.01))
    red, green, blue = (round(channel * factor) for channel in color)
    return red, green, blue


def _curve(start: tuple[float, float], end: tuple[float, float]) -> list[tuple[float, float]]:
    """A line that leaves and arrives upright."""
    points = []
    for i in range(33):
        t = i / 32
        eased = t * t * (3 - 2 * t)
        points.append((start[0] + (end[0] - start[0]) * eased, start[1] + (end[1] - start[1]) * t))
    return points


def clock_decimals(clip: Clip) -> int:
    """Decimals of seconds that tell the frames of a clip apart."""
    return 1 if clip.covered / len(clip) >= 0.1 else 2


def clock_time(seconds: float, decimals: int) -> str:
    """7.34 -> "0:07.3", 3723.5 -> "1:02:03"."""
    if seconds >= 3600:
        minutes, whole = divmod(round(seconds), 60)
        return f"{minutes // 60}:{minutes % 60:02d}:{whole:02d}"
    ticks = 10**decimals
    minutes, rest = divmod(round(seconds * ticks), 60 * ticks)
    return f"{minutes}:{rest / ticks:0{3 + decimals}.{decimals}f}"


def _ordinal(number: int) -> str:
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number % 100 in (11, 12, 13) else suffix}"
