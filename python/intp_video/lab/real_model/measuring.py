"""What fewer bits change. All values are means over blocks of :data:`BLOCK` tokens in a row: tokens
that stand together are not independent, so intervals are over blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from .reading import Reader
from .schemes import EXACT, Scheme

BLOCK = 64


def exact_log_probabilities(reader: Reader, ids: torch.Tensor, scored: int) -> torch.Tensor:
    """float32 ``[scored, V]`` over 16 bits: a gigabyte for 1024 tokens of this decoder."""
    return torch.cat(list(reader.log_probabilities(EXACT, ids, scored)))


def compare(
    exact: torch.Tensor, found: Iterable[torch.Tensor], ids: torch.Tensor
) -> dict[str, list[float]]:
    """Of every block: ``nll`` of the tokens in nats, ``more``: by how much that is above 16 bits',
    ``kl`` from 16 bits, in nats, and ``same``: how often the likeliest token is.

    Args:
        exact: log probabilities ``[n, V]`` over 16 bits.
        found: those over fewer, ``[n, V]`` in pieces.
        ids: the tokens ``[n]`` that came, n a multiple of the block.
    """
    columns = torch.cat(list(_judged(exact, found, ids)))  # [n, 4]
    blocks = columns.unflatten(0, (-1, BLOCK)).mean(1)
    names = ("nll", "more", "kl", "same")
    return {name: blocks[:, i].tolist() for i, name in enumerate(names)}


def _judged(
    exact: torch.Tensor, found: Iterable[torch.Tensor], ids: torch.Tensor
) -> Iterator[torch.Tensor]:
    begin = 0
    for piece in found:
        end = begin + len(piece)
        base, came = exact[begin:end], ids[begin:end, None]
        nll = -piece.gather(1, came)[:, 0]
        more = nll + base.gather(1, came)[:, 0]
        kl = (base.exp() * (base - piece)).sum(-1)
        same = (base.argmax(-1) == piece.argmax(-1)).float()
        yield torch.stack((nll, more, kl, same), dim=1).double()
        begin = end


def agreeing(first: torch.Tensor, second: torch.Tensor) -> int:
    """The tokens before the first one that differs."""
    return int((first == second).cumprod(0).sum())


def greedy_agreement(
    reader: Reader, scheme: Scheme, ids: torch.Tensor, expected: torch.Tensor
) -> int:
    """Of the tokens ``expected`` that follow the ids over 16 bits, those that are written alike."""
    return agreeing(reader.continuation(scheme, ids, len(expected)), expected)
