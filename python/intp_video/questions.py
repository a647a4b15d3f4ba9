"""A question is words only: tokens with another meaning to the model stay out of the prompt."""

from __future__ import annotations

import re
from typing import Any

_MARKUP = re.compile(r"<.*>|\[.*\]", re.DOTALL)


def checked_question(question: Any, tokenizer: Any, video_token_id: int, caller: str) -> str:
    """The question, without surrounding space.

    Text that the tokenizer turns into one of its special tokens is refused. It would end the
    prompt, pad it, or stand for an image, and no way to escape it works for every tokenizer.

    Args:
        question: as the user gave it.
        tokenizer: a Hugging Face tokenizer.
        video_token_id: the placeholder, which need not be special to the tokenizer.
        caller: the function that errors name.

    Raises:
        TypeError: it is not a string.
        ValueError: it is empty, is not Unicode text, or holds special tokens, which are named.
    """
    if not isinstance(question, str):
        raise TypeError(f"{caller}: question: expected a string, got {type(question).__name__}")
    if not question.strip():
        raise ValueError(f"{caller}: question: expected some text, got {question!r}")
    try:
        question.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{caller}: question: expected Unicode text, got half a character at {error.start}; "
            "decode it as UTF-8"
        ) from None
    found = _special_tokens(question, tokenizer, video_token_id)
    if found:
        one = len(found) == 1
        raise ValueError(
            f"{caller}: question: expected words, got {' and '.join(map(repr, found))}, "
            f"{'a special token' if one else 'special tokens'} of the tokenizer; leave "
            f"{'it' if one else 'them'} out, or put a space after the first character"
        )
    return question.strip()


def _special_tokens(question: str, tokenizer: Any, video_token_id: int) -> list[str]:
    special = {*tokenizer.all_special_ids, video_token_id}
    special |= {
        number
        for number, token in tokenizer.added_tokens_decoder.items()
        if token.special or _MARKUP.fullmatch(str(token))  # others are text: runs of spaces, words
    }
    ids = tokenizer(question, add_special_tokens=False).input_ids
    found = {number: str(tokenizer.convert_ids_to_tokens(number)) for number in ids}
    unknown = tokenizer.unk_token_id  # allowed: ordinary words that the tokenizer lacks give it
    return [
        name
        for number, name in found.items()
        if number in special and (number != unknown or name in question)
    ]
