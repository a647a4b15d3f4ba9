"""What is being done at the moment, and how far it is."""

import sys
import time
from typing import Any

__all__ = ["Bar", "Progress"]


class Progress:
    """One line on a terminal that is gone afterwards; elsewhere, and with ``--quiet``, nothing.

    progress.begin("encode")
    progress.update(3, 8, "group")  # a bar, from the moment when it is known how much there is
    progress.end()
    """

    def __init__(self, quiet: bool) -> None:
        self._shown = not quiet and sys.stderr.isatty()
        self._name = ""
        self._bar: Any = None

    def begin(self, name: str) -> None:
        self.end()
        self._name = name
        self._write(f"{name} ...")

    def update(self, done: int, total: int, unit: str) -> None:
        if not self._shown:
            return
        if self._bar is None:
            from tqdm import tqdm

            self._clear()
            self._bar = tqdm(
                desc=self._name,
                total=total,
                unit=unit,
                file=sys.stderr,
                leave=False,
                dynamic_ncols=True,
                bar_format="{desc} {n_fmt}/{total_fmt} |{bar}| {elapsed}",
            )
        self._bar.update(done - self._bar.n)
        if done == total:
            self._bar.refresh()  # tqdm shows ten states a second, and this one is the last

    def end(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        elif self._name:
            self._clear()
        self._name = ""

    def _clear(self) -> None:
        self._write(" " * len(f"{self._name} ..."))
        self._write("")

    def _write(self, text: str) -> None:
        if self._shown:
            print(f"\r{text}", end="", file=sys.stderr, flush=True)


class Bar:
    """How much of a long list is done, at which rate, and the time left: a bar on a terminal.

    Args:
        quiet: show nothing.
        unit: what is counted.
        line_every: seconds between lines where there is no terminal; None: nothing is shown there.
    """

    def __init__(self, quiet: bool, unit: str = "it", line_every: float | None = None) -> None:
        self._on_terminal = not quiet and sys.stderr.isatty()
        self._unit, self._every = unit, None if quiet or self._on_terminal else line_every
        self._first: int | None = None  # done when it began
        self._began = self._last = 0.0
        self._bar: Any = None

    def __call__(self, done: int, total: int, what: str = "") -> None:
        if self._first is None:
            self._first, self._began = done, time.monotonic()
            self._last = self._began
        if self._on_terminal:
            self._draw(done, total, what)
        elif self._every is not None and time.monotonic() - self._last >= self._every:
            self._last = time.monotonic()
            self._say(done, total, what)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _draw(self, done: int, total: int, what: str) -> None:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=total,
                initial=done,  # not at the rate of this run
                unit=self._unit,
                file=sys.stderr,
                dynamic_ncols=True,
            )
        self._bar.set_description(what, refresh=False)
        self._bar.update(done - self._bar.n)

    def _say(self, done: int, total: int, what: str) -> None:
        from tqdm import tqdm

        line = tqdm.format_meter(
            done,
            total,
            time.monotonic() - self._began,
            initial=self._first,
            unit=self._unit,
            prefix=what and f"{what}: ",
            bar_format="{desc}{n_fmt}/{total_fmt}, {rate_fmt}, {remaining} left",
        )
        print(line, file=sys.stderr, flush=True)
