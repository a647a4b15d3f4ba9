"""Rotary frequencies and the ways to stretch them over a context longer than the trained one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ._scalars import count, flag, integer, number

ROPE_KINDS = ("none", "linear", "ntk", "dynamic_ntk", "yarn")


@dataclass(frozen=True)
class Rope:
    """Rotary position embedding (RoFormer, Su et al., arXiv 2104.09864).

    Channel pair d of a head is turned by ``position * inv_freq[d]``.

    Args:
        inv_freq: float32 ``[D_rot/2]``, radians per position; ``D_rot <= head_dim`` (partial
            rotary: the channels beyond ``D_rot`` pass through).
        attention_scaling: factor on cos and sin (YaRN's temperature); 1 for every other kind.
        sections: M-RoPE (Qwen2-VL): how many of the frequencies take their position from the
            temporal, height and width axis; three ints that sum to ``D_rot/2``. None: one position
            per token.
        interleaved_sections: the axes alternate (Qwen3-VL: t h w t h w ... t t) instead of
            following one another (Qwen2-VL, Qwen2.5-VL: t..t h..h w..w).

    Raises:
        TypeError: ``inv_freq`` is not a float32 tensor, or another argument has the wrong type.
        ValueError: wrong shape, a non-finite scaling, or sections that do not sum to ``D_rot/2``.
    """

    inv_freq: torch.Tensor
    attention_scaling: float = 1.0
    sections: Sequence[int] | None = None
    interleaved_sections: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.inv_freq, torch.Tensor) or self.inv_freq.dtype != torch.float32:
            got = getattr(self.inv_freq, "dtype", type(self.inv_freq).__name__)
            raise TypeError(f"Rope: inv_freq: expected a float32 tensor, got {got}")
        if self.inv_freq.dim() != 1:
            raise ValueError(
                f"Rope: inv_freq: expected shape [D_rot/2], got {list(self.inv_freq.shape)}"
            )
        number("Rope", "attention_scaling", self.attention_scaling)
        flag("Rope", "interleaved_sections", self.interleaved_sections)
        if self.sections is not None:
            if not isinstance(self.sections, Sequence):
                raise TypeError(
                    f"Rope: sections: expected three ints, got {type(self.sections).__name__}"
                )
            sections = tuple(integer("Rope", "sections", x) for x in self.sections)
            object.__setattr__(self, "sections", sections)
            if len(sections) != 3 or min(sections) < 0 or sum(sections) != self.inv_freq.numel():
                raise ValueError(
                    "Rope: sections: expected three counts that sum to D_rot/2 = "
                    f"{self.inv_freq.numel()}, got {list(sections)}"
                )

    @property
    def rotary_dim(self) -> int:
        """D_rot: how many channels of a head are turned."""
        return 2 * self.inv_freq.numel()

    def to(self, device: torch.device | str) -> Rope:
        """The same frequencies on another device."""
        return Rope(
            self.inv_freq.to(device),
            self.attention_scaling,
            self.sections,
            self.interleaved_sections,
        )


def rope_frequencies(
    kind: str,
    head_dim: int,
    base: float = 10000.0,
    factor: float = 1.0,
    original_max_position: int | None = None,
    length: int | None = None,
    *,
    rotary_dim: int | None = None,
    beta_fast: float = 32.0,
    beta_slow: float = 1.0,
    truncate: bool = True,
    attention_factor: float | None = None,
    sections: Sequence[int] | None = None,
    interleaved_sections: bool = False,
    device: torch.device | str | None = None,
) -> Rope:
    """The frequencies of one way to stretch RoPE by ``factor`` (s), over d rotary channels.

    ===========  ===============================================  ============================
    kind         theta_i                                          source
    ===========  ===============================================  ============================
    none         base^(-2i/d)                                     RoFormer
    linear       base^(-2i/d) / s                                 PI, arXiv 2306.15595
    ntk          (base * s^(d/(d-2)))^(-2i/d)                     NTK-aware (bloc97)
    dynamic_ntk  ntk with s * length/L0 - (s - 1) in place of s,  transformers' "dynamic"
                 once length > L0
    yarn         none above, linear below, a ramp between;        YaRN, arXiv 2309.00071
                 and a temperature
    ===========  ===============================================  ============================

    Equal to the functions of the same kind in ``transformers.modeling_rope_utils`` (which has no
    static NTK).

    Args:
        kind: one of ``ROPE_KINDS``.
        head_dim: channels of a head.
        base: rope_theta.
        factor: s, at least 1; the context grows from L0 to s * L0.
        original_max_position: L0, the context the model was trained on (dynamic_ntk, yarn).
        length: tokens in the whole sequence (dynamic_ntk).
        rotary_dim: channels that are turned; None for all of ``head_dim``.
        beta_fast, beta_slow: yarn: rotations over L0 above which a frequency is left alone, and
            below which it is interpolated.
        truncate: yarn: round the ramp's ends to whole frequencies.
        attention_factor: yarn: the factor on cos and sin; None for ``0.1 ln(s) + 1``.
        sections, interleaved_sections: M-RoPE, see :class:`Rope`.

    Returns:
        A :class:`Rope`, its ``inv_freq`` float32 ``[D_rot/2]`` on ``device``.

    Raises:
        TypeError: a dimension or length is not an int, or another argument has the wrong type.
        ValueError: the kind is unknown, a dimension is not even and positive, a factor is not
            finite or is below 1, or an argument that the kind needs is missing or out of range.
    """
    dim = head_dim if rotary_dim is None else rotary_dim
    _check_arguments(kind, head_dim, dim, base, factor, original_max_position, length)
    _check_yarn(beta_fast, beta_slow, truncate, attention_factor)

    exponents = torch.arange(0, dim, 2, dtype=torch.float32, device=device) / dim  # [D_rot/2]
    scaling = 1.0
    if kind == "ntk":
        base = _stretched(base, factor, dim)
    elif kind == "dynamic_ntk":
        assert length is not None and original_max_position is not None  # checked above
        stretch = factor * max(length, original_max_position) / original_max_position - (factor - 1)
        base = _stretched(base, stretch, dim)
    inv_freq = 1.0 / (base**exponents)

    if kind == "linear":
        inv_freq = inv_freq / factor
    elif kind == "yarn":
        assert original_max_position is not None
        keep = 1 - _yarn_ramp(dim, base, original_max_position, beta_fast, beta_slow, truncate)
        keep = keep.to(inv_freq.device)
        inv_freq = 1.0 / (factor * base**exponents) * (1 - keep) + inv_freq * keep
        scaling = 0.1 * math.log(factor) + 1.0 if attention_factor is None else attention_factor

    return Rope(inv_freq, scaling, sections, interleaved_sections)


def _stretched(base: float, stretch: float, dim: int) -> float:
    """The base at which the slowest frequency is interpolated by ``stretch``."""
    try:
        stretched = base * stretch ** (dim / (dim - 2))
    except OverflowError:
        stretched = math.inf
    if stretched > torch.finfo(torch.float32).max:
        raise ValueError(
            "rope_frequencies: factor: expected one whose base is a float32, got a stretch of "
            f"{stretch} of base {base} over {dim} channels"
        )
    return stretched


def _yarn_ramp(
    dim: int, base: float, trained: int, beta_fast: float, beta_slow: float, truncate: bool
) -> torch.Tensor:
    """float32 ``[dim/2]``: 0 keeps a frequency, 1 interpolates it (YaRN, eq. 18-23)."""

    def frequency_with(rotations: float) -> float:
        """The (fractional) index of the frequency that makes this many turns over L0."""
        return dim * math.log(trained / (rotations * 2 * math.pi)) / (2 * math.log(base))

    low, high = frequency_with(beta_fast), frequency_with(beta_slow)
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    if low == high:
        high += 0.001
    return ((torch.arange(dim // 2, dtype=torch.float32) - low) / (high - low)).clamp(0, 1)


def _check_arguments(
    kind: str,
    head_dim: int,
    dim: int,
    base: float,
    factor: float,
    original_max_position: int | None,
    length: int | None,
) -> None:
    where = "rope_frequencies"
    if kind not in ROPE_KINDS:
        raise ValueError(f"{where}: kind: expected one of {', '.join(ROPE_KINDS)}, got {kind!r}")
    integer(where, "head_dim", head_dim)
    integer(where, "rotary_dim", dim)
    number(where, "base", base)
    number(where, "factor", factor)
    if dim <= 0 or dim % 2 or dim > head_dim:
        raise ValueError(
            f"{where}: rotary_dim: expected an even number of channels up to head_dim {head_dim}, "
            f"got {dim}"
        )
    if kind in ("ntk", "dynamic_ntk") and dim <= 2:
        raise ValueError(f"{where}: rotary_dim: {kind} needs more than 2 channels, got {dim}")
    if not 1 < base <= torch.finfo(torch.float32).max:
        raise ValueError(f"{where}: base: expected a float32 above 1, got {base}")
    if factor < 1:
        raise ValueError(f"{where}: factor: expected a finite number of at least 1, got {factor}")
    needs = {"dynamic_ntk": ("original_max_position", "length"), "yarn": ("original_max_position",)}
    given = {"original_max_position": original_max_position, "length": length}
    for name, value in given.items():
        if value is None and name in needs.get(kind, ()):
            raise ValueError(f"{where}: {name}: {kind} needs a positive int, got None")
        if value is not None:
            count(where, name, value, least=1)


def _check_yarn(
    beta_fast: float, beta_slow: float, truncate: bool, attention_factor: float | None
) -> None:
    where = "rope_frequencies"
    for name, value in (("beta_fast", beta_fast), ("beta_slow", beta_slow)):
        if number(where, name, value) <= 0:
            raise ValueError(f"{where}: {name}: expected a number above 0, got {value}")
    if beta_slow > beta_fast:
        raise ValueError(
            f"{where}: beta_slow: expected at most beta_fast = {beta_fast}, got {beta_slow}"
        )
    flag(where, "truncate", truncate)
    if attention_factor is not None:
        number(where, "attention_factor", attention_factor)
