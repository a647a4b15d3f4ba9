"""What is being done at the moment, in one line on a terminal that is gone afterwards."""

import sys
from typing import Any

__all__ = ["Progress"]


class Progress:
    """Elsewhere than on a terminal, and with ``--quiet``, it shows nothing.

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
