"""Texts longer than the decoder was trained on: RoPE of its layers of full attention, stretched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import intp_ext

from ... import compat
from ...hook.rotary import with_frequencies


@contextmanager
def stretched(model: Any, kind: str | None, tokens: int) -> Iterator[None]:
    """While it lasts, ``tokens`` of them fit into the context of training, if they did not before.

    Args:
        model: a decoder of transformers. Layers with a sliding window never look further than in
            training, and stay as they are.
        kind: of :func:`intp_ext.rope_frequencies`, or None: nothing is stretched.
    """
    trained = model.config.max_position_embeddings
    if kind is None or tokens <= trained:
        yield
        return
    decoder = model.model
    own = decoder.rotary_emb
    rope = intp_ext.rope_frequencies(
        kind,
        model.config.head_dim,
        base=compat.rope_theta(model.config),
        factor=tokens / trained,
        original_max_position=trained,
        length=tokens,
    )
    decoder.rotary_emb = with_frequencies(own, rope)
    try:
        yield
    finally:
        decoder.rotary_emb = own
