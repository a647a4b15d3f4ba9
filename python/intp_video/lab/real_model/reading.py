"""A text read as generation would read it, but in chunks: every token is given ("teacher forcing"),
and is scored by what was read before it.

A cache packs tokens when enough newer ones have come. So a token of a long chunk may find packed,
or not yet packed, what it would have found otherwise had it come alone. Chunks of ``key_group``
tokens that end right before an append that packs have no such token: between two of these appends
nothing is packed, and every token reads exactly the pages and the rows that it would read token by
token. `tests/lab/test_real_model.py` proves it. QuantizedCache packs by another rule
of its own; it is read in chunks of 64, whose own tokens it leaves in full precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from ... import compat
from .layers import NAME, empty_cache
from .rope import stretched
from .schemes import Scheme


def chunk_ends(tokens: int, scheme: Scheme) -> list[int]:
    """Where the chunks of a text end: one token before a cache packs a group, and at its end."""
    group = scheme.key_group
    first = group if scheme.quanto else scheme.recent + group - 1
    return [*range(first, tokens, group), tokens]


class Reader:
    """A model whose attention reads our caches.

    Args:
        model: a decoder of transformers; its attention stays ours.
        progress: called with the tokens of every chunk that was read.
    """

    def __init__(self, model: Any, progress: Callable[[int], object] = lambda tokens: None) -> None:
        model.set_attn_implementation(NAME)
        self.model, self.progress = model, progress
        self._cache_argument = compat.cache_argument(model.forward) or "past_key_values"

    def _chunks(
        self, scheme: Scheme, cache: Any, ids: torch.Tensor, scored: int
    ) -> Iterator[torch.Tensor]:
        """Logits ``[n, V]`` after each of the last ``scored`` of the ids ``[S]``."""
        begin, first = 0, len(ids) - scored
        for end in chunk_ends(len(ids), scheme):
            kept = max(0, end - max(begin, first))
            result = self.model(
                input_ids=ids[None, begin:end],
                use_cache=True,
                logits_to_keep=max(kept, 1),
                **{self._cache_argument: cache},
            )
            self.progress(end - begin)
            if kept:
                yield result.logits[0]
            begin = end

    def _cache(self, scheme: Scheme) -> Any:
        return empty_cache(scheme, self.model.config)

    @torch.inference_mode()
    def log_probabilities(
        self, scheme: Scheme, ids: torch.Tensor, scored: int
    ) -> Iterator[torch.Tensor]:
        """Of the last ``scored`` of the ids ``[S]``: float32 ``[n, V]``, chunk by chunk, of what
        each of them could have been."""
        with stretched(self.model, scheme.rope, len(ids)):
            for logits in self._chunks(scheme, self._cache(scheme), ids[:-1], scored):
                yield logits.float().log_softmax(-1)

    @torch.inference_mode()
    def continuation(self, scheme: Scheme, ids: torch.Tensor, tokens: int) -> torch.Tensor:
        """The ``[tokens]`` likeliest ones after the ids ``[S]``, one after another."""
        cache = self._cache(scheme)
        with stretched(self.model, scheme.rope, len(ids) + tokens):
            (logits,) = self._chunks(scheme, cache, ids, 1)
            written = [logits.argmax(-1)]
            for _ in range(tokens - 1):
                result = self.model(
                    input_ids=written[-1][None], use_cache=True, **{self._cache_argument: cache}
                )
                written.append(result.logits[0].argmax(-1))
                self.progress(1)
        return torch.cat(written)
