"""Questions and their answers as HTML."""

from __future__ import annotations

from html import escape

from .exchange import Exchange, Side
from .frames import color_of, stretch_told, time_of
from .showing import Shown

__all__ = ["exchange_html", "message_html"]

_MOST_LOOKED_AT = 4


def message_html(text: str, kind: str = "error") -> str:
    """A line of talk on the page; nothing for no text."""
    role = "alert" if kind == "error" else "status"
    return f"<p class='iv-message iv-{kind}' role='{role}'>{escape(text)}</p>" if text else ""


def exchange_html(exchange: Exchange, shown: Shown) -> str:
    """One question, and both answers side by side."""
    extended, stock = exchange.extended, exchange.stock
    longest = max(sum(side.seconds.values()) for side in (extended, stock or extended))
    sides = _side(extended, "Extended", _how(shown), longest, shown)
    if stock is not None:
        sides += _side(stock, "Stock", f"{stock.frames} frames, as trained", longest)
    error = message_html(exchange.error)
    return (
        f"<article class='iv-exchange'><h3>{escape(exchange.question)}</h3>"
        f"<div class='iv-sides'>{sides}</div>{error}</article>"
    )


def _how(shown: Shown) -> str:
    choice = shown.choice
    parts = [f"{len(shown.clip)} frames", f"RoPE {stretch_told(shown)}"]
    if choice.window is not None:
        parts.append(f"window {choice.window}")
    if choice.kv_bits != 16:
        parts.append(f"{choice.kv_bits} bits")
    return ", ".join(parts)


def _side(side: Side, name: str, how: str, longest: float, shown: Shown | None = None) -> str:
    kind = "extended" if shown is not None else "stock"
    looked = _looked(side, shown) if shown is not None and any(side.looked) else ""
    return (
        f"<section class='iv-side iv-{kind}'><header><b>{name}</b><span>{how}</span></header>"
        f"{_text(side)}{_stages(side, longest)}{looked}</section>"
    )


def _text(side: Side) -> str:
    if side.text or side.done:
        caret = "" if side.done else "<i class='iv-caret'></i>"
        return f"<p class='iv-text'>{escape(side.text) or '(no words)'}{caret}</p>"
    if not side.stage:
        return "<p class='iv-text iv-waiting'>next</p>"
    done, total = side.progress
    counted = f" {done} of {total}" if total else ""
    part = f"<progress max='{total}' value='{done}'></progress>" if total else ""
    return f"<p class='iv-text iv-waiting'>{side.stage}{counted} …</p>{part}"


def _stages(side: Side, longest: float) -> str:
    """A bar with a part for each stage, on one scale for both sides, and their seconds."""
    if not side.seconds:
        return ""
    parts = "".join(
        f"<i style='width:{100 * seconds / longest:.2f}%'></i>" for seconds in side.seconds.values()
    )
    told = "".join(
        f"<li>{name} <b>{seconds:.2f} s</b></li>" for name, seconds in side.seconds.items()
    )
    if side.reused:
        told = f"<li class='iv-reused'>video already in the cache</li>{told}"
    return f"<div class='iv-stages'>{parts}</div><ul class='iv-seconds'>{told}</ul>"


def _looked(side: Side, shown: Shown) -> str:
    """A bar for each frame, as high as its part of the attention, and the frames of the highest."""
    count, most = len(side.looked), max(side.looked)
    bars = "".join(
        f"<i style='height:{100 * part / most:.1f}%;--c:{color_of(shown, frame)}'></i>"
        for frame, part in enumerate(side.looked)
    )
    whole = sum(side.looked)
    top = sorted(sorted(range(count), key=lambda frame: -side.looked[frame])[:_MOST_LOOKED_AT])
    frames = "".join(
        f"<li style='--c:{color_of(shown, frame)}'><img src='{shown.thumbnails[frame]}' "
        f"alt='frame {frame}'><span>f{frame}, {time_of(shown, frame)}</span>"
        f"<b>{side.looked[frame] / whole:.0%}</b></li>"
        for frame in top
    )
    return (
        f"<div class='iv-looked'><h4>Looked at <span>{whole:.0%} of the attention went to the "
        f"video</span></h4><div class='iv-mass'>{bars}</div><ol>{frames}</ol></div>"
    )
