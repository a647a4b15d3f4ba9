"""Where an answer in words names an option, by its text or its letter, and what is said of it."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from .words import Word, words_of

_SAID_FOR = {"yeah": "yes", "yep": "yes", "yup": "yes", "nope": "no", "nah": "no"}
# "no" that answers nothing: no idea, no way to tell; and what "no doubt" denies is the doubt
_NO_ANSWER = {"idea", "clue", "way", "answer", "comment", "opinion", "information", "doubt"}
_NOT = re.compile(r"not|cannot|(is|was|are|were|do|does|did|ha[sd]|have|ca|wo|(c|w|sh)ould)nt")
_DENIES_NEXT = {"no", "never", "neither", "nor", "without", "rather", "instead"}
_WRONG = {"wrong", "incorrect", "false"}
_BE = {"is", "was", "are", "were", "be"}
_CUES = {"answer", "option", "choice", "letter", "alternative"}
_BESIDE_A_CUE = re.compile(
    r"is|was|be|would|should|could|must|will|may|might|to|this|that|the|question|its?|probably"
    r"|definitely|most|likely|clearly|therefore"
)
_JOINTS = {"or", "and", "then", "but", "also", "maybe", "perhaps", "possibly", "either", "both"}
_BREAKS = {"but", "because", "since", "although", "so"}
_CLAUSE_END = re.compile(r"[,.;:!?()\n\u2013\u2014]|\s-\s")
_SENTENCE_END = re.compile(r"[.;!?\n]")
_LABELLED = re.compile(r"\s*[(\[]?([A-Za-z])[)\].:]\s+(\S.*)", re.DOTALL)


def texts_and_labels(options: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """By option, what it says; by letter, the option it stands for: the letters that the options
    bring along ("B. blue"), those that they are ("B"), or else the alphabet."""
    labelled = [_LABELLED.fullmatch(option) for option in options]
    own = {m.group(1).upper(): option for m, option in zip(labelled, options, strict=True) if m}
    if len(own) == len(options):
        return {option: m.group(2) for m, option in zip(labelled, options, strict=True) if m}, own
    letters = {option.strip().upper(): option for option in options if _is_letter(option)}
    return {o: o for o in options}, letters or dict(
        zip(string.ascii_uppercase, options, strict=False)
    )


def _is_letter(option: str) -> bool:
    return len(option.strip()) == 1 and option.strip() in string.ascii_letters


@dataclass(frozen=True)
class Mention:
    """Words ``begin`` to ``end`` name an option."""

    option: str
    is_label: bool
    begin: int
    end: int
    words: Sequence[Word]

    @property
    def denied(self) -> bool:
        """By what stands around it in its clause: "not red", "red is wrong"."""
        for i in range(self.begin - 1, -1, -1):
            if _clause_ends(self.words, i):
                break
            if _NOT.fullmatch(self.words[i].text) or self.words[i].text in _DENIES_NEXT:
                return True
        if _clause_ends(self.words, self.end - 1):
            return False
        following = [word.text for word in self.words[self.end : self.end + 2]]
        said_of_it = following[1:] if set(following[:1]) & _BE else following[:1]
        return any(_NOT.fullmatch(text) or text in _WRONG for text in said_of_it)

    @property
    def cued(self) -> bool:
        """Whether "the answer is", "option" or the like stands right before it."""
        for word in reversed(self.words[: self.begin]):
            if word.text in _CUES:
                return True
            if not _BESIDE_A_CUE.fullmatch(word.text):
                return False
        return False

    @property
    def leads(self) -> bool:
        return all(word.is_article for word in self.words[: self.begin])

    def joined_to(self, other: Mention) -> bool:
        """Said in one breath: "red or blue", "red, blue", "B. blue"."""
        between = self.words[self.end : other.begin]
        if not all(word.text in _JOINTS or word.is_article for word in between):
            return False
        gaps = [self.words[self.end - 1].after, *(word.after for word in between)]
        new_sentence = any(map(_SENTENCE_END.search, gaps))
        return not new_sentence or bool(_CLAUSE_END.search(self.words[other.end - 1].after))

    def same_clause(self, other: Mention) -> bool:
        return not any(_clause_ends(self.words, i) for i in range(self.end - 1, other.begin))


def _clause_ends(words: Sequence[Word], index: int) -> bool:
    """After the word, or with it."""
    return words[index].text in _BREAKS or bool(_CLAUSE_END.search(words[index].after))


def _without_idioms(words: list[Word]) -> list[Word]:
    dropped: set[int] = set()
    for i, (one, next_one) in enumerate(pairwise(words)):
        if one.text == "no" and next_one.text in _NO_ANSWER:
            dropped |= {i, i + 1}
    return [word for i, word in enumerate(words) if i not in dropped]


def mentions(said: str, texts: dict[str, str], labels: dict[str, str]) -> list[Mention]:
    """Every option's text, the longest where several begin, and every letter outside of them."""
    words = _without_idioms(words_of(said))
    spelled = {
        option: [_spoken(word) for word in words_of(text) if not word.is_article]
        for option, text in texts.items()
        if not _is_letter(text)
    }
    found, taken = [], 0
    for begin, word in enumerate(words):
        if begin < taken or word.is_article:
            continue
        ends = {o: _end_of(words, begin, wanted) for o, wanted in spelled.items() if wanted}
        option = max(ends, key=lambda option: ends[option], default=None)
        if option is not None and ends[option]:
            taken = ends[option]
            found.append(Mention(option, False, begin, taken, words))
    covered = {i for mention in found for i in range(mention.begin, mention.end)}
    found += _letters(words, labels, covered)
    return sorted(found, key=lambda mention: mention.begin)


def _spoken(word: Word) -> str:
    return _SAID_FOR.get(word.text, word.text)


def _end_of(words: Sequence[Word], begin: int, wanted: Sequence[str]) -> int:
    """Where `wanted`, said from `begin` on, ends; 0 if something else is said."""
    at = begin
    for text in wanted:
        while at < len(words) and words[at].is_article:
            at += 1
        if at == len(words) or _spoken(words[at]) != text:
            return 0
        at += 1
    return at


def _letters(words: Sequence[Word], labels: dict[str, str], covered: set[int]) -> Iterator[Mention]:
    shouted = any(len(word.raw) > 1 for word in words) and not _has_lower(words)
    for i, word in enumerate(words):
        letter = word.raw.upper()
        if i not in covered and letter in labels and _is_label(words, i, shouted):
            yield Mention(labels[letter], True, i, i + 1, words)


def _has_lower(words: Sequence[Word]) -> bool:
    return any(character.islower() for word in words for character in word.raw)


def _is_label(words: Sequence[Word], index: int, shouted: bool) -> bool:
    """Whether a single letter stands for an option and is no article, pronoun or part of a word."""
    word = words[index]
    last, first = index == len(words) - 1, index == 0
    if not last and word.after in ("-", "&"):  # C-shaped
        return False
    closed = last or bool(re.match(r"[)\].:,*`_]|\n|\s-\s", word.after))
    before = "" if first else words[index - 1].text
    introduced = first or before in _CUES | _BE | {"its"} or word.before.endswith(("(", "["))
    if word.raw.islower() or shouted:
        return closed and introduced
    if word.raw not in "AI":
        return True
    if closed:
        return introduced or word.raw == "A"
    if first:
        return word.raw == "A" and words[1].text in _BE | _BREAKS | {"or", "and"}
    return word.raw == "A" or before in _CUES
