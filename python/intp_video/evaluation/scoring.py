"""Is an answer right? Exact match of what remains after case, articles and punctuation are gone."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence


def normalized(text: str) -> str:
    """Lower case, no punctuation, no articles, single spaces: as question answering has scored
    since SQuAD (arXiv 1606.05250)."""
    text = text.lower().translate(str.maketrans("", "", string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def is_right(said: str, answer: str, options: Sequence[str] = ()) -> bool:
    """Whether the model said the answer.

    With options, its letter counts too ("B", "(b) red", for the second), and so does an answer that
    begins with the text of the right option and of no longer one. Otherwise both must be equal.

    >>> is_right("The red.", "red"), is_right("B", "red", ["blue", "red"])
    (True, True)
    """
    plain = normalized(said)
    if plain == normalized(answer):
        return True
    return bool(options) and chosen(said, options) == answer


def chosen(said: str, options: Sequence[str]) -> str | None:
    """The option that was said: its text, its letter, or the one that the answer begins with."""
    plain = normalized(said)
    for option in options:
        if plain == normalized(option):
            return option
    letter = re.match(r"^\s*\(?([A-Za-z])\s*(?:[).:]|$)", said)
    if letter:
        number = ord(letter.group(1).upper()) - ord("A")
        if number < len(options):
            return options[number]
    begun = [o for o in options if f"{plain} ".startswith(f"{normalized(o)} ") and normalized(o)]
    return max(begun, key=len) if begun else None
