"""Ctrl-C and SIGTERM as something that can be waited for, where work has to be brought home."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["interrupts"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interrupts() -> Iterator[int]:
    """A file descriptor that can be read once one of them has come; after the block, and if one
    has come in it, KeyboardInterrupt. A signal that is ignored stays so.

    Without effect elsewhere than in the main thread, which alone has signals.
    """
    readable, writable = os.pipe()
    came = False

    def note(*_: object) -> None:
        nonlocal came
        if not came:
            came = True
            os.write(writable, b"\0")

    before = {}
    try:
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, note)
    except ValueError:  # not the main thread
        pass
    try:
        yield readable
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(readable)
        os.close(writable)
    if came:
        raise KeyboardInterrupt
