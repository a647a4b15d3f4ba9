"""transformers' mask interface: a carrier where our kernels know the rule, an explicit mask where
they do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers.masking_utils import sdpa_mask

import intp_ext
from intp_ext.window import RowIndex

from .. import compat
from ..errors import ModelError, broken
from .carrier import make_carrier
from .fallback import say_instead
from .padding import padding_bounds, padding_has_holes, refuse_holes_on_the_device
from .rules import rule_of

# What transformers tells every mask function, beside what a MaskRequest reads.
IGNORED = frozenset(
    {
        "allow_is_causal_skip",
        "allow_is_bidirectional_skip",
        "allow_torch_fix",
        "config",
        "device",
        "dtype",
        "local_size",
        "use_vmap",
    }
)


@dataclass(frozen=True)
class MaskRequest:
    """What transformers asks a mask function for.

    Attributes:
        batch, queries, keys: sizes.
        q_offset: index of the first query, an int or a tensor ``[]``.
        kv_offset: index of the first key: a cache of a sliding window has dropped those before.
        rule: transformers' own mask function.
        padding: bool ``[B, K]``, True for what is not padding, of all tokens; or None.
        rows: ``queries`` and ``q_offset`` as this release has them.
        others: every other argument.
    """

    batch: int
    queries: int
    keys: int
    q_offset: int | torch.Tensor
    kv_offset: int
    rule: Callable[..., Any]
    padding: torch.Tensor | None
    rows: dict[str, Any]
    others: dict[str, Any]

    @classmethod
    def of(cls, arguments: dict[str, Any]) -> MaskRequest:
        """Raises ModelError unless they say which queries and keys are meant, and nothing
        unknown."""
        others = dict(arguments)
        rows = compat.mask_rows(others)
        names = ("batch_size", "kv_length", "kv_offset", "mask_function")
        batch, keys, kv_offset, rule = (others.pop(name, None) for name in names)
        padding = others.pop("attention_mask", None)
        if rows is None or None in (batch, keys, kv_offset, rule):
            raise broken("the mask function was not told which rows and keys it is asked for")
        for name in others.keys() - IGNORED:
            if others[name] is not None:
                raise ModelError(f"the masks of this model take {name}, which intp_video does not")
        return cls(
            batch, rows.number, keys, rows.first, kv_offset, rule, padding, rows.arguments, others
        )

    @property
    def device(self) -> torch.device:
        known = (self.padding, self.rows.get("cache_position"))
        device = next((x.device for x in known if x is not None), self.others.get("device"))
        return torch.empty(0, device=device).device

    def carrier(self, window: intp_ext.Window | None) -> torch.Tensor:
        """Ours, of causal attention within ``window``."""
        lo: RowIndex = 0
        hi: RowIndex = self.keys
        if self.padding is not None:
            lo, hi = padding_bounds(self.padding)
            if self.kv_offset:
                lo, hi = ((x - self.kv_offset).clamp(0, self.keys) for x in (lo, hi))
        q_end = self.q_offset + self.queries - self.kv_offset
        return make_carrier(window, lo, hi, q_end, self.batch, self.device)

    def explicit(self) -> torch.Tensor | None:
        """transformers' own bool ``[B, 1, Q, K]``; None where every query sees every key."""
        return sdpa_mask(
            batch_size=self.batch,
            kv_length=self.keys,
            kv_offset=self.kv_offset,
            mask_function=self.rule,
            attention_mask=self.padding,
            **self.rows,
            **self.others | {"allow_is_causal_skip": False},
        )


def intp_mask(**arguments: Any) -> torch.Tensor | None:
    """transformers' mask interface for a model that is not extended.

    Returns:
        The carrier; or, for a rule that is not known (:mod:`.rules`) and for padding between kept
        tokens, transformers' own mask, which goes to torch's attention.
    """
    request = MaskRequest.of(arguments)
    rule = rule_of(request.rule)
    if rule is None:
        name = getattr(request.rule, "__qualname__", repr(request.rule)).split(".")[0]
        say_instead(f"a mask by transformers' {name} is computed by torch's attention")
        return request.explicit()
    if request.padding is not None:
        if torch.compiler.is_compiling():
            refuse_holes_on_the_device(request.padding)
        elif padding_has_holes(request.padding)[0]:
            say_instead("padding between kept tokens is masked by torch's attention")
            return request.explicit()
    return request.carrier(rule.seen_from(request.kv_offset))
