"""Draws the picture of the method at the top of the README: method.png and method_dark.png.

    python docs/figures/draw_method.py        needs matplotlib; writes beside itself

Twelve frames in three groups of four stand for M frames in m groups of N.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, PathPatch
from matplotlib.path import Path as Curve

GROUPS, PER_GROUP = 3, 4
FRAMES = GROUPS * PER_GROUP
TOKENS = 3  # drawn per frame
QUESTION = 3  # text tokens drawn after the video
WINDOW, SINK = 3, 1  # frames

WIDTH, HEIGHT = 1600, 1010
LEFT, PITCH, TILE = 375, 84, 66  # of a row of frames
GROUP_GAP = 22  # between groups; their frames stand closer, so that both rows end together
GROUP_COLORS = ("#3B7DED", "#F2922C", "#22A68B")


@dataclass(frozen=True)
class Theme:
    suffix: str
    page: str
    card: str
    ink: str
    soft: str  # captions
    line: str
    dark_box: str
    on_dark_box: str
    text_token: str
    beyond: str  # what was never trained


THEMES = (
    Theme("", "#FFFFFF", "#F4F6FA", "#1B2536", "#667085", "#D5DBE6", "#2B3648", "#FFFFFF",
          "#8A63D2", "#E5484D"),
    Theme("_dark", "#0D1117", "#161C26", "#E8ECF3", "#98A2B3", "#30394A", "#3A4659", "#FFFFFF",
          "#9B79EA", "#F2686C"),
)  # fmt: skip


class Drawing:
    def __init__(self, theme: Theme) -> None:
        self.theme = theme
        self.figure = plt.figure(figsize=(WIDTH / 100, HEIGHT / 100), facecolor=theme.page)
        self.ax = self.figure.add_axes((0, 0, 1, 1))
        self.ax.set(xlim=(0, WIDTH), ylim=(HEIGHT, 0), aspect="equal")
        self.ax.axis("off")

    def text(self, x, y, words, size=20, color=None, weight="normal", ha="left", **options):
        # font sizes are in the units of the canvas: 100 a inch, 72 points a inch
        self.ax.text(
            x, y, words, fontsize=size * 0.72, color=color or self.theme.ink, weight=weight, ha=ha,
            va="center", **options,
        )  # fmt: skip

    def box(self, x, y, width, height, color, radius=8, edge="none", **options):
        self.ax.add_patch(
            FancyBboxPatch(
                (x, y), width, height, boxstyle=f"round,pad=0,rounding_size={radius}",
                facecolor=color, edgecolor=edge, **options,
            )
        )  # fmt: skip

    def thread(self, x0, y0, x1, y1, color):
        """A frame's way from one row to the next."""
        middle = (y0 + y1) / 2
        curve = Curve(
            [(x0, y0), (x0, middle), (x1, middle), (x1, y1)], [Curve.MOVETO] + [Curve.CURVE4] * 3
        )
        self.ax.add_patch(
            PathPatch(curve, facecolor="none", edgecolor=color, lw=2.4, alpha=0.55, zorder=0)
        )

    def arrow(self, x0, y0, x1, y1, color=None):
        self.ax.add_patch(
            FancyArrowPatch(
                (x0, y0), (x1, y1), arrowstyle="-|>", mutation_scale=16, lw=1.8,
                color=color or self.theme.soft, shrinkA=0, shrinkB=0,
            )
        )  # fmt: skip

    def step(self, number, y, title, *lines, x=40):
        self.ax.add_patch(Circle((x + 16, y), 16, color=self.theme.ink))
        self.text(x + 16, y + 1, str(number), 19, self.theme.page, "bold", "center")
        self.text(x + 44, y, title, 25, weight="bold")
        for i, line in enumerate(lines):
            self.text(x + 44, y + 33 + 25 * i, line, 19, self.theme.soft)

    def frame(self, x, y, number):
        """A frame of a film in which a ball flies from left to right."""
        self.box(x, y, TILE, TILE, color_of(number))
        along = (number + 0.5) / FRAMES
        right = TILE * (0.15 + 0.7 * along)
        down = TILE * (0.62 - 0.42 * math.sin(math.pi * along))
        self.ax.add_patch(Circle((x + right, y + down), 7.5, color="white"))
        self.text(x + TILE / 2, y + TILE - 13, str(number), 16, "white", "bold", "center")

    def tokens(self, x, y, color, count=TOKENS, size=17, gap=4, **options):
        for i in range(count):
            self.box(x, y + i * (size + gap), size, size, color, 4, **options)


def color_of(frame: int) -> str:
    return GROUP_COLORS[frame % GROUPS]


def column(place: int) -> float:
    """Left edge of a frame in the row of time."""
    return LEFT + place * PITCH


def column_in_groups(place: int) -> float:
    """Left edge of a frame in the row of groups."""
    pitch = PITCH - GROUP_GAP * (GROUPS - 1) / (FRAMES - 1)
    return LEFT + place * pitch + place // PER_GROUP * GROUP_GAP


def place_in_groups(frame: int) -> int:
    """Where frame f = n * m + g stands when group follows group: g * N + n."""
    return frame % GROUPS * PER_GROUP + frame // GROUPS


def draw_frames_to_tokens(d: Drawing) -> None:
    """Steps 1 to 3: frames, groups and the encoder, tokens in time order."""
    theme, middle = d.theme, TILE / 2
    frames, groups, encoder, encoded, ordered = 40, 190, 290, 350, 480

    d.step(1, 58, "Sample", "M frames of a", "long video")
    d.step(2, 205, "Encode in groups", "every m-th frame together:", "each group spans the video",
           "and has the N frames that", "the encoder was trained on")  # fmt: skip
    d.step(3, 470, "Rearrange", "tokens go back into", "the order of time")

    for frame in range(FRAMES):
        x, grouped = column(frame), column_in_groups(place_in_groups(frame))
        d.frame(x, frames, frame)
        d.thread(x + middle, frames + TILE, grouped + middle, groups - 10, color_of(frame))
        d.frame(grouped, groups, frame)
        d.tokens(grouped + middle - 8.5, encoded, color_of(frame))
        d.thread(grouped + middle, encoded + 63, x + middle, ordered - 4, color_of(frame))
        d.tokens(x + middle - 8.5, ordered, color_of(frame))
    for group in range(GROUPS):
        first, last = (column_in_groups(group * PER_GROUP + i) for i in (0, PER_GROUP - 1))
        x, width = first - 9, last + TILE - first + 18
        d.box(x, groups - 9, width, TILE + 18, theme.card, 12, theme.line, lw=1.5, zorder=0.5)
        d.box(x, encoder - 8, width, 40, theme.dark_box, 10)
        d.text(x + width / 2, encoder + 12, "video encoder, frozen", 20, theme.on_dark_box,
               ha="center")  # fmt: skip
    after = column(FRAMES)
    for i in range(QUESTION):
        d.tokens(after + 20 + 32 * i, ordered + 42, theme.text_token, count=1)
    d.text(after + 60, ordered + 20, "the question", 19, theme.text_token, "bold", "center")
    d.arrow(LEFT, ordered + 84, after - 18, ordered + 84)
    d.text(after, ordered + 84, "time", 19, theme.soft)


def draw_rope(d: Drawing, x: float, y: float, width: float, height: float) -> None:
    """Step 4: positions beyond the trained context, and the same positions pulled inside."""
    theme = d.theme
    d.box(x, y, width, height, theme.card, 16)
    d.step(4, y + 36, "Stretch RoPE", x=x + 22)
    d.text(x + width - 24, y + 38, "linear, NTK, YaRN", 19, theme.soft, ha="right")
    begin, trained, pitch = x + 32, 250, 33
    top, bottom = y + 92, y + height - 44
    d.box(begin - 14, top, trained, bottom - top, GROUP_COLORS[2], 10, alpha=0.14)
    d.text(begin - 14 + trained / 2, bottom + 18, "trained context", 18, theme.soft, ha="center")
    rows = ((top + 62, pitch, "as it is"), (top + 170, pitch / 1.9, "stretched"))
    for y_row, step, words in rows:
        d.text(begin, y_row - 34, words, 19, theme.soft)
        for i in range(FRAMES + 1):
            inside = i * step < trained - 20
            color = (theme.text_token if i == FRAMES else color_of(i)) if inside else theme.beyond
            d.ax.add_patch(Circle((begin + i * step, y_row), 7, color=color))
    d.text(begin + 255, top + 28, "never trained", 19, theme.beyond)
    d.text(begin + 255, top + 158, "every position", 19, theme.soft)
    d.text(begin + 255, top + 183, "inside it (linear)", 19, theme.soft)


def draw_window(d: Drawing, x: float, y: float, width: float, height: float) -> None:
    """Step 5: who sees whom, a row a query."""
    theme = d.theme
    d.box(x, y, width, height, theme.card, 16)
    d.step(5, y + 36, "Window + sink", x=x + 22)
    cells, size = FRAMES + 2, 17.6
    left, top = x + 38, y + 80
    for query in range(cells):
        for key in range(query + 1):
            dense, sink = query >= FRAMES, key < SINK
            seen = dense or sink or query - key < WINDOW
            color = theme.line
            if seen:
                color = theme.text_token if dense else color_of(query)
            d.box(left + key * size, top + query * size, size - 3, size - 3, color, 3,
                  alpha=1 if seen else 0.45)  # fmt: skip
    edge = left + cells * size + 14
    d.text(left + 8.6 * size, top + 24, "a frame sees", 19, theme.soft)
    d.text(left + 8.6 * size, top + 49, "its window and", 19, theme.soft)
    d.text(left + 8.6 * size, top + 74, "the first tokens", 19, theme.soft)
    d.text(edge, top + 12.3 * size, "the question", 19, theme.text_token, "bold")
    d.text(edge, top + 13.7 * size, "sees everything", 19, theme.text_token, "bold")


def draw_answer(d: Drawing, x: float, y: float, width: float, height: float) -> None:
    """Step 6: the same language model, unchanged."""
    theme = d.theme
    d.box(x, y, width, height, theme.card, 16)
    d.step(6, y + 36, "Answer", x=x + 22)
    middle = x + width / 2
    d.box(x + 24, y + 88, width - 48, 62, theme.text_token, 14)
    d.text(middle, y + 119, "“What does the ball do?”", 21, "white", ha="center")
    d.arrow(middle, y + 156, middle, y + 186)
    d.box(x + 24, y + 190, width - 48, 52, theme.dark_box, 12)
    d.text(middle, y + 216, "language model, frozen", 21, theme.on_dark_box, ha="center")
    d.arrow(middle, y + 246, middle, y + 276)
    d.box(x + 24, y + 280, width - 48, 62, theme.page, 14, theme.line, lw=1.5)
    d.text(middle, y + 311, "“It flies to the right.”", 21, ha="center")


def draw(theme: Theme) -> Path:
    d = Drawing(theme)
    draw_frames_to_tokens(d)
    y, height = 612, 370
    draw_rope(d, 40, y, 500, height)
    draw_window(d, 564, y, 520, height)
    draw_answer(d, 1108, y, 452, height)
    path = Path(__file__).with_name(f"method{theme.suffix}.png")
    d.figure.savefig(path, dpi=110, facecolor=theme.page, metadata={"Software": None})
    plt.close(d.figure)
    return path


if __name__ == "__main__":
    for theme in THEMES:
        print(draw(theme))
