"""What each stage of a question cannot beat: its products, or the bytes that a token reads.

encode, prefill   multiply-adds of linear layers, convolutions, and attention between each query
                  and the keys that it sees, at the measured peak of multiply-adds
token             weights of the decoder, its head and the cache, at the measured peak of reads

torch's linear layers do not read their weights at that peak where they have one row. What is left
to everything else is their own time (one_row) and a read of the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from intp_video.models import family_for
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from intp_ext import reference

ROWS = 1024  # of queries whose visible keys are counted at a time


@dataclass(frozen=True)
class Work:
    """Of one question.

    Attributes:
        encode, prefill: floating-point operations, a multiply-add being two.
        token: bytes.
    """

    encode: int
    prefill: int
    token: int

    def seconds(self, peaks: dict[str, Any], dtype: torch.dtype) -> dict[str, float]:
        """At these peaks (machine.peaks), by stage."""
        name = {torch.float32: "fp32", torch.bfloat16: "bf16"}[dtype]
        arithmetic = peaks[f"peak_{name}_gflop_per_s"] * 1e9
        return {
            "encode": self.encode / arithmetic,
            "prefill": self.prefill / arithmetic,
            "token": self.token / (peaks["peak_read_gb_per_s"] * 1e9),
        }


def count(model: nn.Module, prefill: Callable[[], object], cached_bytes: int) -> Work:
    """Runs ``prefill``, which encodes a video and makes one token, and counts what it does."""
    family = family_for(model.config)
    decoder = family.text_model(model)
    encoded: list[int] = []
    counter = FlopCounterMode(display=False, custom_mapping=FORMULAS)

    def begins(*_: object) -> None:
        encoded.append(counter.get_total_flops())

    hook: RemovableHandle = decoder.register_forward_pre_hook(begins)
    try:
        with counter:
            prefill()
    finally:
        hook.remove()
    weights = [*decoder.layers.parameters(), model.get_output_embeddings().weight]
    read = sum(x.nbytes for x in weights)
    return Work(encoded[0], counter.get_total_flops() - encoded[0], read + cached_bytes)


def linears(model: nn.Module) -> list[Any]:
    """Those that a token of an answer goes through: of the decoder, and its head."""
    decoder = family_for(model.config).text_model(model)
    found = [x for x in decoder.layers.modules() if isinstance(x, nn.Linear)]
    return [*found, model.get_output_embeddings()]


def one_row(model: nn.Module) -> Callable[[], object]:
    """Runs these linear layers alone, each on a row of its own, as a token does."""
    layers = [(x, x.weight.new_ones(1, 1, x.in_features)) for x in linears(model)]
    return torch.no_grad()(lambda: [layer(row) for layer, row in layers])


def attention_flops(given: dict[str, Any]) -> int:
    """Of a call of our attention core, whose window may hide keys: two products for each query and
    each key that it sees."""
    q, v = given["q"], given.get("v", given.get("v_tail"))
    keys = given.get("length") or given["k"].shape[2]
    pairs = sum(
        int(
            reference.visible(
                given["bounds"],
                torch.arange(begin, min(begin + ROWS, q.shape[2])),
                torch.arange(keys),
                given["window"],
                given["block"],
                given["sink"],
                given["first_key"],
            ).sum()
        )
        for begin in range(0, q.shape[2], ROWS)
    )
    return 2 * pairs * q.shape[1] * (q.shape[3] + v.shape[3])


def _formula(operator: Any) -> Callable[..., int]:
    arguments = operator.default._schema.arguments

    def flops(*args: Any, out_val: object = None, **kwargs: Any) -> int:
        given = {x.name: x.default_value for x in arguments}
        names = (x.name for x in arguments)
        return attention_flops(given | dict(zip(names, args, strict=False)) | kwargs)

    flops._get_raw = True  # type: ignore[attr-defined]  # tensors, not their shapes
    return flops


def _encoder_attention(
    q: torch.Size, k: torch.Size, v: torch.Size, *_: object, **__: object
) -> int:
    """Of a tower, whose patches all see each other: torch has no formula for its CPU kernel."""
    return 2 * q[0] * q[1] * q[2] * k[2] * (q[3] + v[3])


_OPS = torch.ops.intp_ext
FORMULAS = {
    _OPS.attention_core_no_grad: _formula(_OPS.attention_core_no_grad),
    _OPS.kv_attention: _formula(_OPS.kv_attention),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _encoder_attention,
}
