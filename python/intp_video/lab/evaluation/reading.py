"""Which option an answer in words means, read as a careful person would: in doubt, none."""

from __future__ import annotations

from collections.abc import Sequence

from .mentions import Mention, mentions, texts_and_labels
from .words import same


def chosen(said: str, options: Sequence[str]) -> str | None:
    """The one option that was said, by its text, by its letter, or in a sentence.

    None where nothing, no option, or more than one was said, where letter and text contradict each
    other, and where an option is only mentioned to deny it.

    >>> [chosen(said, ("red", "blue")) for said in ("**B**", "It's blue.", "blue or red")]
    ['blue', 'blue', None]
    """
    if not said.strip():
        return None
    texts, labels = texts_and_labels(options)
    for equal in (_exactly, same):
        whole = [o for o, text in texts.items() if equal(said, o) or equal(said, text)]
        if whole:
            return whole[0] if len(whole) == 1 else None
    return _decided(mentions(said, texts, labels))


def _exactly(one: str, other: str) -> bool:
    return one.strip() == other.strip()


def _decided(named: Sequence[Mention]) -> str | None:
    """What is said to be the answer, else what the answer begins with, else the only option named;
    a letter must not be contradicted by the options in words."""
    stated = [mention for mention in named if not mention.denied]
    in_words = {mention.option for mention in stated if not mention.is_label}
    weighed = _cued(stated) or _leading(stated) or stated
    found = {mention.option for mention in weighed}
    if len(found) != 1:
        return None
    if all(mention.is_label for mention in weighed) and in_words and not found <= in_words:
        return None
    return found.pop()


def _cued(stated: Sequence[Mention]) -> list[Mention]:
    found: list[Mention] = []
    for mention in stated:
        if mention.cued or (found and found[-1].joined_to(mention)):
            found.append(mention)
    return found


def _leading(stated: Sequence[Mention]) -> list[Mention]:
    found = [mention for mention in stated[:1] if mention.leads]
    for mention in stated[1:] if found else ():
        if found[0].same_clause(mention) or found[-1].joined_to(mention):
            found.append(mention)
    return found
