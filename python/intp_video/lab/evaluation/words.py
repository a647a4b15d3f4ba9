"""Words of an answer, without what a reader overlooks: case, articles, punctuation, 2 or two."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

ARTICLES = ("a", "an", "the")
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBERS)}
_TYPED = str.maketrans({"\u2019": "'", "\u02bc": "'", "\u2212": "-"})  # apostrophes, minus
# Over one character a character, see _shape: a number with its sign, separators and unit (-5, 1.5,
# 10:30, 3D); a word with its apostrophes, or one that ends as C++ and C# do.
_WORD = re.compile(r"(?<![am0])-?0+(?:[.,:/]0+)*[am]*|a[am0]*(?:'[am0]+)*[+#]*")
_BESIDE_AN_ARTICLE = re.compile(r"[^\S\n]+[*_`\"\u201c\u2018(\[]*")


@dataclass(frozen=True)
class Word:
    """One word.

    Attributes:
        text: as it is compared.
        raw: as it was written.
        before, after: what stands between it and its neighbors.
    """

    text: str
    raw: str
    before: str
    after: str

    @property
    def is_article(self) -> bool:
        """An article stands before a word: the A of "vitamin A" and of "A, B" is none."""
        return self.text in ARTICLES and bool(_BESIDE_AN_ARTICLE.fullmatch(self.after))


def words_of(text: str) -> list[Word]:
    """All words, articles too."""
    text = unicodedata.normalize("NFKC", text).translate(_TYPED)
    spans = [match.span() for match in _WORD.finditer(_shape(text))]
    ends = [0, *(end for _, end in spans)]
    begins = [*(begin for begin, _ in spans), len(text)]
    gaps = [text[end:begin] for end, begin in zip(ends, begins, strict=True)]
    # the last word has no neighbor, so that no article can be the last
    gaps[-1] += "\n"
    return [
        Word(_compared(text[begin:end]), text[begin:end], gaps[i], gaps[i + 1])
        for i, (begin, end) in enumerate(spans)
    ]


def normalized(text: str) -> str:
    """The words that count, with single spaces between them, as question answering has scored since
    SQuAD (arXiv 1606.05250) and, for numbers, VQA (arXiv 1505.00468). A text without words ("+") is
    its punctuation."""
    found = [word.text for word in words_of(text) if not word.is_article]
    return " ".join(found) or unicodedata.normalize("NFKC", text).casefold().strip()


def same(one: str, other: str) -> bool:
    """Whether two texts say the same: "ice-cream" and "icecream" do, "1, 2" and "12" do not."""
    one, other = normalized(one), normalized(other)
    if not any(c.isdigit() for c in one + other):
        one, other = one.replace(" ", ""), other.replace(" ", "")
    return bool(one) and one == other


def _compared(word: str) -> str:
    word = word.casefold().replace("'", "")
    word = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", word)  # 1,000
    return _DIGITS.get(word, word)


def _shape(text: str) -> str:
    """Of each character: a letter a, a mark on one m, a digit 0; Python's \\w knows no marks."""
    return "".join(map(_kind, text))


def _kind(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Nd":
        return "0"
    if category[0] in "LN":
        return "a"
    if category[0] == "M":
        return "m"
    return character if character.isascii() else " "
