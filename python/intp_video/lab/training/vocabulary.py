"""The words of a small model: one token each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model_directory import SPECIAL

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_UNKNOWN = "<unk>"


class Vocabulary:
    """``token_of``: the special tokens, the unknown one, then the words, numbered in that order."""

    def __init__(self, words: tuple[str, ...]) -> None:
        self.token_of = {token: number for number, token in enumerate((*SPECIAL, _UNKNOWN, *words))}

    def __len__(self) -> int:
        return len(self.token_of)

    def ids(self, text: str) -> list[int]:
        """What the tokenizer makes of a question or an answer, without the ``<s>``.

        Raises:
            KeyError: a word that the model does not know.
        """
        return [self.token_of[word] for word in text.lower().replace("?", " ").split()]

    def tokenizer(self) -> Tokenizer:
        from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

        tokenizer = Tokenizer(models.WordLevel(self.token_of, unk_token=_UNKNOWN))
        tokenizer.add_special_tokens([*SPECIAL, _UNKNOWN])
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Lowercase(), normalizers.Replace(Regex("[?.!,]"), " ")]
        )
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        return tokenizer
