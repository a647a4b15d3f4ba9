"""Shapes, dtypes and strides of the operators without running them (compile, meta tensors)."""

from __future__ import annotations

import torch


def _register(name: str):
    return torch.library.register_fake(f"intp_ext::{name}")


@_register("token_order")
def _token_order(groups, frames_per_group, tokens_per_frame, interleaved, *, out):
    return None


@_register("rearrange")
def _rearrange(features, order):
    batch, _, channels = features.shape
    return features.new_empty(batch, order.shape[-1], channels)


@_register("rearrange.out")
def _rearrange_out(features, order, *, out):
    return None


def _rope_output(x: torch.Tensor, order: torch.Tensor | None) -> torch.Tensor:
    """A transposed ``[B, S, H, D]`` gives its like, as in csrc/rope/rope_args.h."""
    batch, heads, rows, dim = x.shape
    length = rows if order is None else order.shape[-1]
    if x.stride(1) < x.stride(2):
        return x.new_empty(batch, length, heads, dim).transpose(1, 2)
    return x.new_empty(batch, heads, length, dim)


@_register("apply_rope")
def _apply_rope(
    q, k, positions, inv_freq, attention_scaling, sections, interleaved_sections, order
):
    return _rope_output(q, order), _rope_output(k, order)


@_register("apply_rope.out")
def _apply_rope_out(
    q, k, positions, inv_freq, attention_scaling, sections, interleaved_sections, order,
    *, out_q, out_k,
):  # fmt: skip
    return None


@_register("apply_rope.single")
def _apply_rope_single(
    x, positions, inv_freq, attention_scaling, sections, interleaved_sections, order
):
    return _rope_output(x, order)


@_register("apply_rope.single_out")
def _apply_rope_single_out(
    x, positions, inv_freq, attention_scaling, sections, interleaved_sections, order, *, out
):
    return None
