"""A question and its answers, as they come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Side:
    """One answer: of the extended model, or of the stock model beside it.

    Attributes:
        frames: that it was shown.
        text: so far.
        stage: what is being done; "" before it begins and after it ends.
        progress: groups that are encoded, and in all; (0, 0) elsewhere.
        seconds: of each stage that has ended.
        reused: the video was in the cache already.
        looked: the part of all attention that went to each frame; () where it is not known.
        done: the answer is whole.
    """

    frames: int
    text: str = ""
    stage: str = ""
    progress: tuple[int, int] = (0, 0)
    seconds: dict[str, float] = field(default_factory=dict)
    reused: bool = False
    looked: tuple[float, ...] = ()
    done: bool = False


@dataclass(frozen=True)
class Exchange:
    """A question, and both answers; ``stock`` is None where nobody asked for it.

    Attributes:
        error: why there is no answer, or no whole one.
    """

    question: str
    extended: Side
    stock: Side | None = None
    error: str = ""

    @property
    def running(self) -> bool:
        return bool(self.extended.stage or (self.stock and self.stock.stage))


class Telling:
    """What happens to one exchange, told change by change.

    Args:
        exchange: as it begins.
        tell: called with the exchange after each change; it may raise to end the work.
    """

    def __init__(self, exchange: Exchange, tell: Callable[[Exchange], None]) -> None:
        self.exchange, self._tell = exchange, tell

    def change(self, side: str, **fields: Any) -> None:
        """Set fields of ``extended`` or ``stock``."""
        changed = replace(getattr(self.exchange, side), **fields)
        self.exchange = replace(self.exchange, **{side: changed})
        self._tell(self.exchange)
