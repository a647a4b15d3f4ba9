"""Ways to cache keys and values in fewer bits: those of intp_ext.KVCache, and others, simulated.

A simulated cache quantizes whole groups with the one definition (intp_ext/reference_kv.py) and
hands out what they become; tests/benchmarks/test_kv_accuracy.py holds it to KVCache to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import intp_video
import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from intp_ext import KVCache, reference_kv


@dataclass(frozen=True)
class Scheme:
    """Bits of keys and of values, and their groups; values "token": a scale for each token over
    ``value_group`` channels, "channel": for each channel over ``key_group`` tokens, like keys. What
    stays exact is what KVCache leaves so at the fewer of these bits."""

    key_bits: int
    value_bits: int
    key_group: int = 64
    value_group: int = 64
    values: str = "token"
    rotate: str = "on_write"

    @property
    def name(self) -> str:
        """Bits, and what differs from KVCache's defaults."""
        keys, values = self.key_bits, self.value_bits
        parts = [f"{keys} bits" if keys == values else f"keys {keys}, values {values}"]
        parts += ["values per channel"] if self.values == "channel" else []
        parts += [f"key groups of {self.key_group} tokens"] if self.key_group != 64 else []
        parts += [f"value groups of {self.value_group}"] if self.value_group != 64 else []
        parts += ["unrotated keys"] if self.rotate == "on_read" else []
        return ", ".join(parts)

    @property
    def simulated(self) -> bool:
        """``extend(kv_bits=..., kv_rotate=...)`` does not have it."""
        return self != Scheme(self.key_bits, self.key_bits, rotate=self.rotate)

    @property
    def kept(self) -> dict[str, int]:
        """``recent`` and ``sink`` of KVCache."""
        like = KVCache(min(self.key_bits, self.value_bits))
        return {"recent": like.recent, "sink": like.sink}

    def packed(self, tokens: int) -> int:
        """Tokens in whole groups that are old enough."""
        if self.key_bits == self.value_bits == 16:
            return 0
        return reference_kv.packed_tokens(tokens, self.key_group, self.kept["recent"])

    def share_of_16_bits(self, head_dim: int, ranges: bool = True) -> float:
        """Bytes of a packed token over those of 16 bits; without ``ranges`` of its codes alone."""
        of_channel = 4 * head_dim / self.key_group  # 16 bits of scale, 16 of zero
        of_token = 4 * -(-head_dim // self.value_group)
        keys, values = (head_dim * bits / 8 for bits in (self.key_bits, self.value_bits))
        if ranges and self.key_bits < 16:
            keys += of_channel
        if ranges and self.value_bits < 16:
            values += of_channel if self.values == "channel" else of_token
        return (keys + values) / (4 * head_dim)

    def round_keys(self, k: torch.Tensor, kept: torch.Tensor | None = None) -> torch.Tensor:
        """``[B, H, S, D]`` of whole groups, as they come back from the cache; kept bool ``[1, S]``:
        what takes part in ranges."""
        return _per_channel(k, self.key_bits, self.key_group, kept)

    def round_values(self, v: torch.Tensor, kept: torch.Tensor | None = None) -> torch.Tensor:
        if self.values == "channel":
            return _per_channel(v, self.value_bits, self.key_group, kept)
        if self.value_bits == 16:
            return v
        codes, ranges = reference_kv.quantize_values(v, self.value_bits, self.value_group)
        return reference_kv.dequantize_values(codes, ranges, self.value_group).to(v.dtype)

    @contextmanager
    def applied(self, model: Any, frames: int) -> Iterator[Callable[[], DynamicCache]]:
        """The model extended to so many frames; yields what makes an empty cache."""
        options = {} if self.simulated else {"kv_bits": self.key_bits, "kv_rotate": self.rotate}
        config = model.config.get_text_config()

        def empty() -> DynamicCache:
            cache = DynamicCache(config=config)
            if self.simulated:
                cache.layers = [SimulatedLayer(self) for _ in range(config.num_hidden_layers)]
            return cache

        with intp_video.extend(model, frames, **options):
            yield empty


def _per_channel(x: torch.Tensor, bits: int, group: int, kept: torch.Tensor | None) -> torch.Tensor:
    if bits == 16:
        return x
    codes, ranges = reference_kv.quantize_keys(x, bits, group, kept)
    return reference_kv.dequantize_keys(codes, ranges, group).to(x.dtype)


class SimulatedLayer(DynamicLayer):
    """An ordinary cache layer whose whole groups went through a scheme. Batch 1, no padding."""

    def __init__(self, scheme: Scheme) -> None:
        super().__init__()
        self.scheme, self.rounded = scheme, 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        super().update(key_states, value_states, *args, **kwargs)
        new = slice(self.rounded, self.scheme.packed(self.keys.shape[2]))
        if new.stop > new.start:
            tokens = torch.arange(new.start, new.stop, device=self.keys.device)
            kept = (tokens >= self.scheme.kept["sink"])[None]
            for x, rounded in (
                (self.keys, self.scheme.round_keys), (self.values, self.scheme.round_values),
            ):  # fmt: skip
                part = x[:, :, new]
                x[:, :, new] = rounded(part, kept).where(kept[:, None, :, None], part)
            self.rounded = new.stop
        return self.keys, self.values
