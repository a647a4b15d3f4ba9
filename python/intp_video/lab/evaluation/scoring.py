"""Is an answer right?"""

from __future__ import annotations

from collections.abc import Sequence

from .reading import chosen
from .words import same


def is_right(said: str, answer: str, options: Sequence[str] = ()) -> bool:
    """Whether the model said the answer.

    With options, the one that was said, by its text or letter or in a sentence, see :func:`chosen`.
    Otherwise both must be equal up to case, articles and punctuation.

    >>> is_right("The red.", "red"), is_right("Option B", "red", ["blue", "red"])
    (True, True)
    """
    return chosen(said, options) == answer if options else same(said, answer)
