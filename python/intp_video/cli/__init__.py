"""The command line: ``intp-video``. One file a subcommand.

Until :func:`main` runs, Ctrl-C is Python's, with a traceback: nothing is imported here, or in the
package around it, that Python and pip's script have not imported before.
"""

import os
import signal
import sys

TYPE_CHECKING = False  # as type checkers know it, without the module
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["main"]


def main(argv: "Sequence[str] | None" = None) -> int:
    """Runs ``intp-video`` and returns its exit code. `argv`: without the program's name."""
    undo = _end_at_interrupts()
    try:
        from . import dispatch  # most of a second
    finally:
        undo()
    return dispatch.main(argv)


def _end_at_interrupts() -> "Callable[[], object]":
    """Ctrl-C at once, without an exception: imports turn those into others, or print them.

    Returns what makes it as it was.
    """
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:  # else ignored, or somebody else's
        try:
            signal.signal(signal.SIGINT, _interrupted)
        except ValueError:  # not the main thread, which is the one that Ctrl-C interrupts
            pass
        else:
            return lambda: signal.signal(signal.SIGINT, handler)
    return lambda: None


def _interrupted(*_: object) -> None:
    if sys.stderr is not None:
        print("intp-video: interrupted", file=sys.stderr, flush=True)
    os._exit(128 + signal.SIGINT)
