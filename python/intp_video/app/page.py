"""What stands where on the page, and what a click does."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

# before gradio is imported, which reads it then: nothing here asks the network for anything
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr

from ..contact_sheet import MAX_SHEET_FRAMES
from ..options import KV_BITS, ROPE_KINDS
from ..reasons import in_one_line
from ..video import Part
from .answers import exchange_html, message_html
from .desk import Desk
from .exchange import Exchange
from .frames import frames_html, plan_html
from .showing import Choice, Projector, Shown

__all__ = ["Example", "Page", "launch", "make_page"]

log = logging.getLogger("intp_video")

_HERE = Path(__file__).parent
_EMPTY = (
    "<div class='iv-empty'><b>Drop a video on the left</b>"
    "<p>Its frames, their groups and what they will take appear here before anything runs.</p>"
    "</div>"
)
_WIDEST_WINDOW = 64
# the fields of Part, and what an empty one stands for
_PART = {"start": ("Start (s)", "first"), "end": ("End (s)", "last"), "fps": ("Frames/s", "even")}


@dataclass(frozen=True)
class Example:
    """A video that the page offers.

    Attributes:
        path: of the file.
        questions: that can be asked of it with a click.
    """

    path: str
    questions: Sequence[str]


@dataclass(frozen=True)
class Page:
    """What a page is made of.

    Attributes:
        desk: where questions are answered.
        projector: what reads videos and plans.
        model: its name and what is known of it, in a line.
        choice: what the page begins with.
        example: a video to try, or None.
    """

    desk: Desk
    projector: Projector
    model: str
    choice: Choice
    example: Example | None = None


def make_page(page: Page) -> gr.Blocks:
    """The page, not served yet."""
    first = page.choice
    with gr.Blocks(
        title="intp-video", analytics_enabled=False, delete_cache=(3600, 24 * 3600), fill_width=True
    ) as blocks:
        shown = gr.State(None)  # of this browser alone, as is what follows
        said = gr.State(())
        _html(_header(page.model))
        with gr.Row(elem_classes="iv-columns"):
            with gr.Column(scale=1, min_width=280, elem_classes="iv-left"):
                # no gr.Video, which calls what a browser cannot play an error
                video = gr.File(label="Video", type="filepath", height=150, elem_id="iv-video")
                if page.example is not None:
                    try_it = gr.Button("Try the example", size="sm", elem_id="iv-example")
                    try_it.click(lambda: page.example.path, outputs=video, show_progress="hidden")
                player = _html()
                frames = gr.Slider(
                    page.projector.per_group,
                    max(MAX_SHEET_FRAMES, first.frames),
                    first.frames,
                    step=page.projector.per_group,
                    label="Frames",
                    elem_id="iv-frames",
                )
                window = gr.Slider(
                    0,
                    max(_WIDEST_WINDOW, first.window or 0),
                    first.window or 0,
                    step=1,
                    label="Window (0: all)",
                    elem_id="iv-window",
                )
                opened = gr.Accordion("Part and rate", open=first.part != Part())
                with opened, gr.Row():
                    # no gr.Number, which takes an empty field for 0
                    part = [
                        gr.Textbox(
                            _told(getattr(first.part, name)),
                            label=label,
                            placeholder=blank,
                            max_lines=1,
                            min_width=60,
                            elem_id=f"iv-{name}",
                        )
                        for name, (label, blank) in _PART.items()
                    ]
                with gr.Accordion("Stretch and cache", open=False):
                    rope = gr.Dropdown(
                        list(ROPE_KINDS), value=first.rope, label="RoPE", elem_id="iv-rope"
                    )
                    kv_bits = gr.Dropdown(
                        list(KV_BITS), value=first.kv_bits, label="Cache bits", elem_id="iv-bits"
                    )
            with gr.Column(scale=3, min_width=320, elem_classes="iv-right"):
                message = _html()
                planned = _html()
                strip = _html(_EMPTY)
                with gr.Column(visible=False, elem_classes="iv-asking") as asking:
                    with gr.Row(elem_classes="iv-askrow"):
                        question = gr.Textbox(
                            placeholder="Ask about the video",
                            show_label=False,
                            container=False,
                            scale=5,
                            max_lines=3,
                            elem_id="iv-question",
                        )
                        ask = gr.Button("Ask", variant="primary", scale=0, elem_id="iv-ask")
                        stop = gr.Button("Stop", scale=0, visible=False, elem_id="iv-stop")
                    compare = gr.Checkbox(
                        True,
                        label=f"beside the stock model at {page.projector.per_group} frames",
                        container=False,
                        elem_id="iv-compare",
                    )
                chips: list[gr.Button] = []
                with gr.Row(visible=False, elem_classes="iv-chips") as offered:
                    for text in page.example.questions if page.example else ():
                        chips.append(gr.Button(text, size="sm", min_width=60, scale=0))
                answers = _html()

        showing = [shown, said, message, player, planned, strip, asking, offered, answers]

        def show(
            path: str | None,
            count: int,
            width: int,
            kind: str,
            bits: float,
            start: str,
            end: str,
            fps: str,
            before: Shown | None,
            earlier: tuple[str, ...],
        ) -> Iterator[tuple[Any, ...]]:
            nothing = "", "", _EMPTY, *[gr.update(visible=False)] * 2, ""
            if path is None:
                yield None, (), "", *nothing
                return
            try:
                shown_part = Part(*map(_number, _PART, (start, end, fps)))
                choice = Choice(int(count), int(width) or None, kind, bits, shown_part)
                if before is not None and (before.clip.path, before.choice) == (path, choice):
                    yield before, earlier, "", *[gr.skip()] * 6
                    return
                yield before, earlier, message_html("reading …", "note"), *[gr.skip()] * 6
                now = page.projector.show(path, choice, before)
                page.desk.check(len(now.clip), choice)
            except Exception as error:
                told = message_html(_reason(error).replace(path, Path(path).name))
                if before is not None and before.clip.path == path:
                    yield before, earlier, told, *[gr.skip()] * 6  # the page stays as it was
                else:
                    yield None, (), told, *nothing
                return
            same = before is not None and before.clip.path == path
            if not same:
                earlier = ()
            is_example = page.example is not None and _same_file(path, page.example.path)
            yield (
                now,
                earlier,
                "",
                gr.skip() if same else _player(path),
                plan_html(now),
                frames_html(now),
                gr.update(visible=True),
                gr.update(visible=is_example),
                _stacked(earlier),
            )

        chosen = [video, frames, window, rope, kv_bits, *part, shown, said]
        changes = [video.change, frames.release, window.release, rope.input, kv_bits.input]
        changes += [event for field in part for event in (field.submit, field.blur)]
        gr.on(
            changes,
            show,
            chosen,
            showing,
            show_progress="hidden",
            trigger_mode="always_last",
            api_visibility="private",
        )

        def answer(
            text: str, now: Shown | None, earlier: tuple[str, ...], stock: bool
        ) -> Iterator[tuple[Any, ...]]:
            waiting = gr.update(visible=False), gr.update(visible=True)
            ready = gr.update(visible=True), gr.update(visible=False)
            if now is None:
                yield earlier, message_html("drop a video first"), gr.skip(), *ready
                return
            latest: Exchange | None = None
            drawn = ""
            try:
                for latest in page.desk.ask(now, text, stock):
                    drawn = exchange_html(latest, now)
                    yield earlier, "", _stacked((drawn, *earlier)), *waiting
            except Exception as error:
                told = _reason(error)
                if latest is None:
                    yield earlier, message_html(told), gr.skip(), *ready
                    return
                drawn = exchange_html(replace(latest, error=told), now)
            earlier = (drawn, *earlier)
            yield earlier, "", _stacked(earlier), *ready

        answering = [said, message, answers, ask, stop]
        asked: dict[str, Any] = {
            "inputs": [question, shown, said, compare],
            "outputs": answering,
            "show_progress": "hidden",
            "concurrency_limit": None,  # the desk lets them take turns, and says so
            "concurrency_id": "ask",
            "trigger_mode": "once",
            "api_visibility": "private",
        }
        running = [gr.on([ask.click, question.submit], answer, **asked)]
        for chip in chips:
            filled = chip.click(
                lambda text=chip.value: text, outputs=question, show_progress="hidden"
            )
            running.append(filled.then(answer, **asked))
        stop.click(
            lambda earlier: (
                message_html("stopped", "note"),
                _stacked(earlier),
                gr.update(visible=True),
                gr.update(visible=False),
            ),
            said,
            [message, answers, ask, stop],
            cancels=running,
            show_progress="hidden",
            api_visibility="private",
        )
    return blocks


def launch(blocks: gr.Blocks, port: int | None) -> str:
    """Serve the page to this machine, in threads of its own; returns the address.

    Args:
        blocks: from :func:`make_page`.
        port: None for the first free one from 7860 on.

    Raises:
        OSError: the port is taken.
    """
    _, address, _ = blocks.launch(
        server_name="127.0.0.1",
        server_port=port,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        footer_links=[],
        enable_monitoring=False,
        ssr_mode=False,
        theme=_theme(),
        css_paths=_HERE / "page.css",
        head=f"<script>{(_HERE / 'page.js').read_text()}</script>",
    )
    return address


def _theme() -> gr.themes.Base:
    """System fonts: a page must not ask the network for letters."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.indigo,
        neutral_hue=gr.themes.colors.zinc,
        radius_size=gr.themes.sizes.radius_lg,
        font=("system-ui", "sans-serif"),
        font_mono=("ui-monospace", "monospace"),
    )


def _html(value: str = "") -> gr.HTML:
    """Without Gradio's style of texts, which would go before ours."""
    return gr.HTML(value, apply_default_css=False)


def _told(number: float | None) -> str:
    return "" if number is None else f"{number:g}"


def _number(name: str, text: str) -> float | None:
    """What stands in a field; None for an empty one."""
    try:
        return float(text) if text.strip() else None
    except ValueError:
        raise ValueError(f"app: {name}: expected a number, got {text!r}") from None


def _header(model: str) -> str:
    return (
        f"<header class='iv-header'><h1>intp<span>-video</span></h1><p>{escape(model)}</p>"
        "<button type='button' class='iv-theme' aria-label='Light or dark' title='Light or dark'>"
        "</button></header>"
    )


def _player(path: str) -> str:
    """The video itself, gone where the browser cannot play it (page.js)."""
    source = escape(f"/gradio_api/file={quote(path)}", quote=True)
    return f"<video class='iv-player' src='{source}' controls muted playsinline></video>"


def _stacked(drawn: tuple[str, ...]) -> str:
    """The newest first."""
    return f"<div class='iv-exchanges'>{''.join(drawn)}</div>" if drawn else ""


def _same_file(path: str, other: str) -> bool:
    """Gradio copies what it is given, and keeps the name and the content."""
    return Path(path).name == Path(other).name and os.path.getsize(path) == os.path.getsize(other)


def _reason(error: Exception) -> str:
    """What is wrong, in a line; a defect of this program goes to the log with its traceback."""
    if not isinstance(error, ValueError | TypeError | OSError | MemoryError):
        log.error("app: an error in this program", exc_info=error)
    return in_one_line(error)
