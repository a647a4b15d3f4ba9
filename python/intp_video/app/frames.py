"""The sampled frames as HTML: their groups, their order, what fits into training, the window."""

from __future__ import annotations

from html import escape
from pathlib import Path

from ..contact_sheet import clock_decimals, clock_time, group_colors
from ..planning import told_bytes
from .showing import Shown

__all__ = ["color_of", "frames_html", "plan_html", "stretch_told", "time_of"]


def plan_html(shown: Shown) -> str:
    """What the question will take, as tiles."""
    plan = shown.plan
    kept = plan.dtype if plan.kv_bits == 16 else f"packed to {plan.kv_bits} bits"
    tiles = (
        (
            "Context",
            f"{plan.total_tokens:,} tokens",
            f"{plan.visual_tokens:,} of the video, {plan.tokens_per_frame:g} a frame",
        ),
        (
            "RoPE",
            stretch_told(shown),
            f"{plan.positions:,} positions, {plan.trained_context:,} trained",
        ),
        ("KV cache", told_bytes(plan.kv_bytes), kept),
        ("Peak", told_bytes(plan.peak_bytes), f"estimate; weights {told_bytes(plan.weight_bytes)}"),
    )
    drawn = "".join(
        f"<div class='iv-tile'><dt>{name}</dt><dd>{value}</dd><p>{escape(told)}</p></div>"
        for name, value, told in tiles
    )
    return f"<dl class='iv-tiles'>{drawn}</dl>"


def frames_html(shown: Shown) -> str:
    """A ruler of all frames, and the frames."""
    clip, per_group = shown.clip, shown.plan.frames_per_group
    groups = shown.plan.groups
    told = f"{len(clip)} frames of {clip.extent}"
    if shown.groups_are_real:
        told += f", {groups} {'group' if groups == 1 else 'groups'} of {per_group}"
    notes = "".join(f"<p class='iv-note'>{escape(note)}</p>" for note in clip.notes)
    window = shown.choice.window or 0
    return (
        f"<section class='iv-strip' data-window='{window}' data-unit='{shown.frames_per_unit}'>"
        f"<header><div><h2>{escape(Path(clip.path).name)}</h2><p>{told}</p></div>"
        f"{_SWITCH if shown.groups_are_real and groups > 1 else ''}</header>"
        f"{_ruler(shown)}{notes}<ol class='iv-cells' style='--per-group:{per_group}'>"
        f"{''.join(_cell(shown, frame) for frame in range(len(clip)))}</ol></section>"
    )


_SWITCH = (
    "<div class='iv-switch' role='radiogroup' aria-label='Order of the frames'>"
    "<label><input type='radio' name='iv-order' value='time' checked>In time</label>"
    "<label><input type='radio' name='iv-order' value='encoded'>As encoded</label></div>"
)


def _ruler(shown: Shown) -> str:
    """All frames side by side: above, how many fit into training; below, what a frame sees."""
    count = len(shown.clip)
    if shown.fitting < count and shown.factor > 1:
        beyond = f"stretched x{shown.factor:.2f} to fit"
    else:
        beyond = "beyond training" if shown.fitting < count else ""
    budget = f"trained for {shown.fitting} frames" if beyond else "all of it fits into training"
    bars = "".join(
        f"<i data-f='{frame}'{'' if _seen_by_the_last(shown, frame) else _UNSEEN} "
        f"style='--c:{color_of(shown, frame)}'></i>"
        for frame in range(count)
    )
    return (
        f"<div class='iv-ruler'><div class='iv-budget'>"
        f"<b style='flex-basis:{100 * shown.fitting / count:.2f}%'></b><s></s></div>"
        f"<div class='iv-band'>{bars}</div>"
        f"<p><span class='iv-key-fits'>{budget}</span>"
        f"{f'<span class=iv-key-beyond>{beyond}</span>' if beyond else ''}"
        f"<span class='iv-sees' data-all='{_window_told(shown)}'>{_window_told(shown)}</span>"
        "</p></div>"
    )


_UNSEEN = " class='iv-unseen'"


def _seen_by_the_last(shown: Shown, frame: int) -> bool:
    """Whether the last frame attends to it: through the window, or as the first one."""
    unit, window = shown.frames_per_unit, shown.choice.window
    last, at = (len(shown.clip) - 1) // unit, frame // unit
    return window is None or at == 0 or at > last - window


def _window_told(shown: Shown) -> str:
    if shown.choice.window is None:
        return "every frame sees all before it"
    unit = "frames" if shown.frames_per_unit == 1 else f"steps of {shown.frames_per_unit} frames"
    return f"the last frame sees {shown.choice.window} {unit} and the first"


def _cell(shown: Shown, frame: int) -> str:
    time, group = time_of(shown, frame), shown.group_of[frame]
    beyond = " iv-beyond" if frame >= shown.fitting else ""
    tag = f"<em>g{group}</em>" if shown.groups_are_real else ""
    return (
        f"<li class='iv-cell{beyond}' data-f='{frame}' style='--c:{color_of(shown, frame)};"
        f"--time:{frame};--encoded:{shown.place_of[frame]}'>"
        f"<img src='{shown.thumbnails[frame]}' alt='frame {frame} at {time}'>{tag}"
        f"<span>f{frame}</span><time>{time}</time></li>"
    )


def stretch_told(shown: Shown) -> str:
    """How RoPE is stretched: ``yarn x7.15``."""
    if shown.choice.rope == "dynamic_ntk":
        return "dynamic_ntk"
    return "as trained" if shown.factor == 1 else f"{shown.choice.rope} x{shown.factor:.2f}"


def time_of(shown: Shown, frame: int) -> str:
    """When it is on screen: ``0:07.3``."""
    return clock_time(shown.clip.timestamps[frame], clock_decimals(shown.clip))


def color_of(shown: Shown, frame: int) -> str:
    """Of its group; one color where groups mean nothing."""
    if not shown.groups_are_real:
        return "var(--iv-accent)"
    red, green, blue = group_colors(shown.plan.groups)[shown.group_of[frame]]
    return f"#{red:02x}{green:02x}{blue:02x}"
