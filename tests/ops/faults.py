"""Failures put between any two operators that a call runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch.utils._python_dispatch import TorchDispatchMode


class Fault(Exception):
    """What a FailAt raises."""


class FailAt(TorchDispatchMode):
    """Raises at operator number ``step`` of the block: before it runs, or after."""

    def __init__(self, step: int, *, after: bool) -> None:
        super().__init__()
        self.step, self.after, self.seen = step, after, 0

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        now = self.seen == self.step
        self.seen += 1
        if now and not self.after:
            raise Fault(operator)
        result = operator(*args, **(kwargs or {}))
        if now:
            raise Fault(operator)
        return result


def each_fault(call: Callable[[], object]) -> Iterator[str]:
    """Calls with a failure at its first operator, at the next one, and so on; yields the place of
    each. The last call, past its last operator, succeeds."""
    step = 0
    while True:
        for after in (False, True):
            try:
                with FailAt(step, after=after) as mode:
                    call()
            except Fault as fault:
                yield f"{'after' if after else 'before'} {fault}"
            else:
                assert mode.seen <= step
                return
        step += 1
