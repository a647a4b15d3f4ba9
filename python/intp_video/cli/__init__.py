"""The command line: ``intp-video``. One file a subcommand."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs ``intp-video`` and returns its exit code. `argv`: without the program's name."""
    with _interrupts_end_the_process():
        from . import dispatch  # most of a second
    return dispatch.main(argv)


@contextlib.contextmanager
def _interrupts_end_the_process() -> Iterator[None]:
    """Ctrl-C at once, without an exception: imports turn those into others, or print them."""
    handler = signal.getsignal(signal.SIGINT)
    if handler is not signal.default_int_handler:  # ignored, or somebody else's
        yield
        return
    try:
        signal.signal(signal.SIGINT, _interrupted)
    except ValueError:  # not the main thread, which is the one that Ctrl-C interrupts
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _interrupted(*_: object) -> None:
    if sys.stderr is not None:
        print("intp-video: interrupted", file=sys.stderr, flush=True)
    os._exit(128 + signal.SIGINT)
