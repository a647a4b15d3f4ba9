"""What tests and planted bugs share: a case, and an AssertionError where a kernel is wrong."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from cuda_on_host.build import Library
from ops.guarded import Guarded, poisoned_rows
from tolerance import assert_as_good_as_eager

from intp_ext import Rope, reference

SCHEDULES = (False, True)  # descending?


def random_order(
    batch: int | None, length: int, rows: int, dtype: torch.dtype, bad: bool
) -> torch.Tensor:
    """[S] or [B, S] as every second entry of a larger tensor; with ``bad`` some are no row."""
    shape = (length,) if batch is None else (batch, length)
    order = torch.randint(0, rows, shape).to(dtype)
    if bad:
        wrong = torch.tensor([-1, rows, torch.iinfo(dtype).max, torch.iinfo(dtype).min])
        wrong = wrong[torch.randint(0, 4, shape)].to(dtype)
        order = torch.where(torch.rand(shape) < 0.3, wrong, order)
    return torch.stack((order, order + rows), dim=-1)[..., 0]


def inside(order: torch.Tensor, rows: int) -> torch.Tensor:
    return (order >= 0) & (order < rows)


@dataclass(frozen=True)
class RearrangeCase:
    batch: int = 2
    rows: int = 12
    length: int = 10
    channels: int = 24
    dtype: torch.dtype = torch.int16
    index: torch.dtype = torch.int32
    batched: bool = True
    bad: bool = False
    strided: bool = False  # features are every second row
    offset: int = 0  # elements from an aligned address to the first one, in and out
    seed: int = 0

    def check(self, library: Library) -> None:
        torch.manual_seed(self.seed)
        count = self.batch * self.rows * self.channels
        features = torch.empty(count + self.offset, dtype=self.dtype)[self.offset :].random_()
        features = features.view(self.batch, self.rows, self.channels)
        if self.strided:
            features = torch.stack((features, features + 1), dim=2)[:, :, 0]
        batch = self.batch if self.batched else None
        order = random_order(batch, self.length, self.rows, self.index, self.bad)
        good = inside(order, self.rows)
        expected = reference.rearrange(features, torch.where(good, order, 0))
        expected[~good.expand(self.batch, -1)] = 0
        for descending in SCHEDULES:
            guard = Guarded((expected.numel() + self.offset,), self.dtype, fill=7)
            out = guard.tensor[self.offset :].view(expected.shape)
            with library.schedule(descending):
                library.ops.rearrange.out(features, order, out=out)
            assert torch.equal(out, expected)
            guard.assert_intact()


@dataclass(frozen=True)
class RopeCase:
    batch: int = 2
    heads: tuple[int, int] = (4, 2)  # of q and k; 0: that one is not given
    rows: int = 9
    length: int = 9
    half: int = 16  # F, frequencies
    rest: int = 0  # channels that pass through
    dtype: torch.dtype = torch.float32
    layout: str = "transposed"  # or "contiguous", "poisoned": every second row, the others NaN
    offset: int = 0  # elements from an aligned address to the first one, out
    positions: str = "[S]"  # "[1, S]", "[B, S]", "[3, 1, S]" or "[3, B, S]"
    position_dtype: torch.dtype = torch.int64
    interleaved: bool = False  # sections, with three axes
    order: str | None = None  # "[S]" or "[B, S]"; without it length = rows
    index: torch.dtype = torch.int32
    bad: bool = False
    scaling: float = 1.0
    seed: int = 0

    def check(self, library: Library) -> None:
        torch.manual_seed(self.seed)
        length = self.rows if self.order is None else self.length
        states = [self._states(heads) for heads in self.heads if heads]
        order = None
        if self.order is not None:
            batch = self.batch if self.order == "[B, S]" else None
            order = random_order(batch, length, self.rows, self.index, self.bad)
        positions = self._positions(length)
        sections = None
        if positions.dim() == 3:
            counts = torch.randint(0, 3, (self.half,)).bincount(minlength=3).tolist()
            sections = (counts[0], counts[1], counts[2])
        rope = Rope(torch.rand(self.half), self.scaling, sections, self.interleaved)
        args = (
            positions, rope.inv_freq, rope.attention_scaling, sections, self.interleaved, order,
        )  # fmt: skip
        for descending in SCHEDULES:
            guards = [
                Guarded((x.shape[0] * x.shape[1] * length * x.shape[3] + self.offset,), self.dtype)
                for x in states
            ]
            outs = [self._out(guard, x, length) for guard, x in zip(guards, states, strict=True)]
            with library.schedule(descending):
                if len(states) == 2:
                    library.ops.apply_rope.out(*states, *args, out_q=outs[0], out_k=outs[1])
                else:
                    library.ops.apply_rope.single_out(*states, *args, out=outs[0])
            for guard, x, out in zip(guards, states, outs, strict=True):
                assert_turned(out, x, positions, rope, order)
                guard.assert_intact()

    def _states(self, heads: int) -> torch.Tensor:
        dim = 2 * self.half + self.rest
        x = torch.randn(self.batch, self.rows, heads, dim).to(self.dtype).transpose(1, 2)
        if self.layout == "poisoned":
            return poisoned_rows(x, dim=2)
        return x if self.layout == "transposed" else x.contiguous()

    def _out(self, guard: Guarded, x: torch.Tensor, length: int) -> torch.Tensor:
        batch, heads, _, dim = x.shape
        flat = guard.tensor[self.offset :]
        if self.layout == "transposed":
            return flat.view(batch, length, heads, dim).transpose(1, 2)
        return flat.view(batch, heads, length, dim)

    def _positions(self, length: int) -> torch.Tensor:
        axes = {"S": length, "B": self.batch}
        names = self.positions.strip("[]").split(", ")
        shape = [axes[name] if name in axes else int(name) for name in names]
        positions = torch.rand(*shape, 2) * 5000  # every second one is taken
        return positions.to(self.position_dtype)[..., 0]


def assert_turned(
    out: torch.Tensor,
    x: torch.Tensor,
    positions: torch.Tensor,
    rope: Rope,
    order: torch.Tensor | None,
) -> None:
    """As good as eager where ``order`` names a row, zero where it does not."""
    if order is not None:
        good = inside(order, x.shape[2])
        gathered = reference.gather_tokens(x, torch.where(good, order, 0))
        good = good.expand(x.shape[0], -1)[:, None, :, None]
        assert (out.masked_select(~good) == 0).all()
        x = torch.where(good, gathered, 0)
    angles = reference.rope_angles(positions, rope)
    eager = reference.rotate(x, angles, rope.attention_scaling)
    exact = reference.rotate(x.double(), angles.double(), rope.attention_scaling)
    assert_as_good_as_eager(out, eager, exact)
    turned = 2 * rope.inv_freq.numel()
    assert torch.equal(out[..., turned:], x[..., turned:])
