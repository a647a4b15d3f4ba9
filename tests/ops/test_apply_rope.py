import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ops.guarded import Guarded, poisoned_rows
from tolerance import assert_as_good_as_eager

import intp_ext
from intp_ext import Rope, apply_rope, reference, rope_frequencies

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
OP = torch.ops.intp_ext.apply_rope


def states(batch=2, heads=(4, 2), length=11, dim=32, dtype=torch.float32, transposed=True):
    """q and k, as the transposed views that a model has, or contiguous."""
    made = []
    for count in heads:
        x = torch.randn(batch, length, count, dim).to(dtype).transpose(1, 2)
        made.append(x if transposed else x.contiguous())
    return made


def exact(q, k, positions, rope, order=None):
    """The definition in float64, on the angles that float32 gives (as everywhere)."""
    angles = reference.rope_angles(positions, rope).double()

    def one(x):
        x = x if order is None else reference.gather_tokens(x, order)
        return reference.rotate(x.double(), angles, rope.attention_scaling)

    return one(q), one(k)


def assert_turned(got, q, k, positions, rope, order=None):
    eager = reference.apply_rope(q, k, positions, rope, order)
    for actual, same_dtype, reference64 in zip(
        got, eager, exact(q, k, positions, rope, order), strict=True
    ):
        assert_as_good_as_eager(actual, same_dtype, reference64)


@pytest.mark.parametrize("transposed", [True, False])
@pytest.mark.parametrize(
    "dim, rotary", [(32, 32), (128, 128), (80, 80), (24, 20), (64, 16), (6, 2)]
)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_as_good_as_eager(dtype, dim, rotary, transposed):
    torch.manual_seed(0)
    q, k = states(dim=dim, dtype=dtype, transposed=transposed)
    rope = rope_frequencies("yarn", dim, factor=4.0, original_max_position=64, rotary_dim=rotary)
    positions = torch.arange(11) * 37
    got = apply_rope(q, k, positions, rope)
    assert_turned(got, q, k, positions, rope)
    for x, y in zip((q, k), got, strict=True):
        assert y.stride() == x.stride()
        assert torch.equal(y[..., rotary:], x[..., rotary:])


@settings(max_examples=60)
@given(
    batch=st.integers(0, 3),
    heads=st.tuples(st.integers(0, 5), st.integers(1, 3)),
    length=st.integers(0, 70),
    half=st.integers(1, 40),
    rest=st.integers(0, 9),
    transposed=st.booleans(),
    dtype=st.sampled_from(DTYPES),
    order=st.sampled_from([None, "shared", "batched"]),
    positions=st.sampled_from(["[S]", "[1, S]", "[B, S]", "fractions"]),
    seed=st.integers(0, 1000),
)
def test_over_shapes(batch, heads, length, half, rest, transposed, dtype, order, positions, seed):
    torch.manual_seed(seed)
    q, k = states(batch, heads, length, 2 * half + rest, dtype, transposed)
    rope = Rope(torch.rand(half))
    out_length = length if order is None else (length + 3 if length else 0)
    index = None
    if order is not None:
        shape = (out_length,) if order == "shared" else (batch, out_length)
        index = torch.randint(0, max(length, 1), shape, dtype=torch.int32)
    at = {
        "[S]": lambda: torch.randint(0, 5000, (out_length,)),
        "[1, S]": lambda: torch.randint(0, 5000, (1, out_length), dtype=torch.int32),
        "[B, S]": lambda: torch.randint(0, 5000, (batch, out_length)),
        "fractions": lambda: torch.rand(out_length) * 5000,
    }[positions]()
    if positions == "[B, S]" and batch == 3:
        at = at.contiguous()  # [3, S] is batch rows here, since the batch is 3
    assert_turned(apply_rope(q, k, at, rope, index), q, k, at, rope, index)


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("batch_rows", [1, 2])
def test_three_axes(interleaved, batch_rows):
    q, k = states(dim=64)
    rope = rope_frequencies("none", 64, sections=(8, 12, 12), interleaved_sections=interleaved)
    positions = torch.randint(0, 300, (3, batch_rows, 11))
    assert_turned(apply_rope(q, k, positions, rope), q, k, positions, rope)
    # one position for all axes: the sections make no difference
    plain = Rope(rope.inv_freq)
    line = torch.arange(11)
    same = apply_rope(q, k, line.expand(3, 1, 11), rope)
    assert all(map(torch.equal, same, apply_rope(q, k, line, plain)))
    assert all(map(torch.equal, same, apply_rope(q, k, line, rope)))


@pytest.mark.parametrize("position", [2**20, 3_000_000, 2**24])
def test_large_positions(position):
    # sine and cosine themselves, of large float32 angles: x = (1, 0) turns into (cos, sin)
    inv_freq = torch.cat([torch.ones(1), torch.rand(255)])
    x = torch.cat([torch.ones(256), torch.zeros(256)]).expand(1, 1, 512, 512)
    positions = torch.arange(position - 512, position)
    _, got = apply_rope(None, x, positions, Rope(inv_freq))
    angles = (positions[:, None].float() * inv_freq).double()
    expected = torch.cat([angles.cos(), angles.sin()], dim=-1)
    assert (got[0, 0].double() - expected).abs().max() < 1.5e-7  # 2 ulp just below 1


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_special_values(dtype):
    inf, nan = float("inf"), float("nan")
    x = torch.zeros(1, 1, 4, 32).to(dtype)
    x[0, 0, 0, 3], x[0, 0, 1, 3], x[0, 0, 2, 20] = nan, inf, -inf
    rope = rope_frequencies("none", 32)
    positions = torch.arange(1, 5)
    expected = reference.apply_rope(x, None, positions, rope)[0]
    got = apply_rope(x, None, positions, rope)[0]
    assert torch.equal(got, expected) or torch.equal(got.isnan(), expected.isnan())
    assert torch.equal(got.isinf(), expected.isinf())
    lost = apply_rope(x[:, :, 3:], None, torch.tensor([inf]), rope)[0]
    assert lost.isnan().all()


def test_sixteen_bit_rounding_is_that_of_torch():
    # a turn by zero only rounds: every half and bfloat16 must come back, subnormals and NaN too
    for dtype in (torch.bfloat16, torch.float16):
        every = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype)
        x = every.view(1, 1, 2**15 // 16, 32)
        got = apply_rope(x, None, torch.zeros(x.shape[2]), Rope(torch.ones(16)))[0]
        finite = x.isfinite().view(-1, 2, 16).all(1).view(1, 1, -1, 1, 16).expand(1, 1, -1, 2, 16)
        finite = finite.reshape(x.shape)  # an infinite or NaN partner spoils the pair, in eager too
        assert torch.equal(got[finite], x[finite])
        assert got[x.isnan()].isnan().all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_neither_reads_nor_writes_elsewhere(dtype):
    q, k = states(batch=2, length=9, dim=26, dtype=dtype)
    rope = Rope(torch.rand(11))  # 22 of 26 channels, no multiple of a vector
    positions, order = torch.arange(9), torch.randperm(9)
    poisoned = [poisoned_rows(x, dim=2) for x in (q, k)]
    guards = [Guarded(x.shape, dtype) for x in (q, k)]
    out = tuple(guard.tensor for guard in guards)
    assert apply_rope(*poisoned, positions, rope, order, out=out) is out
    assert_turned(out, q, k, positions, rope, order)
    for guard in guards:
        guard.assert_intact()


def test_order_never_reads_the_rows_it_leaves_out():
    q, k = states(length=8)
    q[:, :, 5:] = float("nan")
    k[:, :, 5:] = float("nan")
    order = torch.tensor([4, 0, 2])
    got = apply_rope(q, k, torch.arange(3), rope_frequencies("none", 32), order)
    assert all(x.isfinite().all() for x in got)


@pytest.mark.parametrize("transposed", [True, False])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_large_outputs_past_the_cache(dtype, transposed):
    q, k = states(1, (8, 1), 5000, 128, dtype, transposed)
    if dtype != torch.float32:
        q = torch.cat([q, q.flip(2)], dim=2)  # 16 MiB and more takes the streaming stores
        k = torch.cat([k, k.flip(2)], dim=2)
        q, k = (x.transpose(1, 2).contiguous().transpose(1, 2) if transposed else x for x in (q, k))
    positions = torch.arange(q.shape[2])
    rope = rope_frequencies("none", 128)
    # bit for bit what smaller outputs are, which the tests above hold to float64
    pieces = [slice(begin, begin + 1000) for begin in range(0, q.shape[2], 1000)]
    small = [apply_rope(q[:, :, at], k[:, :, at], positions[at], rope) for at in pieces]
    large = apply_rope(q, k, positions, rope)
    for whole, parts in zip(large, zip(*small, strict=True), strict=True):
        assert torch.equal(whole, torch.cat(parts, dim=2))
    # an output that is aligned to no vector
    guard = Guarded((q.numel() + 1,), dtype)
    out = guard.tensor[1:].view(q.shape)
    apply_rope(q, None, positions, rope, out=(out, None))
    assert torch.equal(out, large[0])
    guard.assert_intact()


def test_q_alone_and_k_alone():
    q, k = states()
    rope, positions = rope_frequencies("none", 32), torch.arange(11)
    both = apply_rope(q, k, positions, rope)
    assert torch.equal(apply_rope(q, None, positions, rope)[0], both[0])
    assert apply_rope(q, None, positions, rope)[1] is None
    assert torch.equal(apply_rope(None, k, positions, rope)[1], both[1])


def cases():
    q, k = states()
    rope = rope_frequencies("none", 32)
    plain = (torch.arange(11), rope.inv_freq, 1.0, None, False, None)
    full = (
        torch.randint(0, 90, (3, 2, 7)), rope.inv_freq, 1.5, [4, 6, 6], True,
        torch.randint(0, 11, (2, 7), dtype=torch.int32),
    )  # fmt: skip
    return q, k, {"plain": plain, "full": full}


@pytest.mark.parametrize("case", ["plain", "full"])
def test_opcheck(case):
    q, k, arguments = cases()
    args = arguments[case]
    length = args[0].shape[-1]
    out_q, out_k = (torch.empty(2, heads, length, 32) for heads in (4, 2))
    torch.library.opcheck(OP.out, (q, k, *args), {"out_q": out_q, "out_k": out_k})
    torch.library.opcheck(OP.single_out, (k, *args), {"out": out_k})
    q, k = q.requires_grad_(), k.requires_grad_()
    torch.library.opcheck(OP.default, (q, k, *args))
    torch.library.opcheck(OP.single, (q.detach().contiguous().requires_grad_(), *args))


@pytest.mark.parametrize("sections", [None, (4, 6, 6)])
@pytest.mark.parametrize("order", [None, "shared", "batched"])
def test_gradient_is_that_of_the_definition(order, sections):
    q, k = (x.requires_grad_() for x in states())
    rope = rope_frequencies("none", 32, sections=sections)
    if order is not None:
        order = torch.randint(0, 11, (11,) if order == "shared" else (2, 11))
    positions = torch.arange(11) if sections is None else torch.randint(0, 50, (3, 2, 11))
    weights = [torch.randn(2, heads, 11, 32) for heads in (4, 2)]

    def gradients(function):
        turned = function(q, k, positions, rope, order)
        return torch.autograd.grad(turned, (q, k), weights)

    for got, expected in zip(gradients(apply_rope), gradients(reference.apply_rope), strict=True):
        torch.testing.assert_close(got, expected)
    # one output unused
    torch.testing.assert_close(
        torch.autograd.grad(apply_rope(q, k, positions, rope, order)[1], k, weights[1])[0],
        torch.autograd.grad(reference.apply_rope(q, k, positions, rope, order)[1], k, weights[1])[
            0
        ],
    )


def test_compiles_whole_with_dynamic_shapes():
    torch._dynamo.reset()
    rope = rope_frequencies("none", 32)

    @torch.compile(fullgraph=True, dynamic=True, backend="aot_eager")
    def loss(q, k, positions, order):
        q, k = apply_rope(q, k, positions, rope, order)
        return (q * q.detach().cos()).sum() + k.sin().sum()

    for length in (11, 17):
        q, k = (x.requires_grad_() for x in states(length=length))
        positions, order = torch.arange(length), torch.randperm(length)
        got = torch.autograd.grad(loss(q, k, positions, order), (q, k))
        turned = reference.apply_rope(q, k, positions, rope, order)
        expected = torch.autograd.grad(
            (turned[0] * turned[0].detach().cos()).sum() + turned[1].sin().sum(), (q, k)
        )
        for a, b in zip(got, expected, strict=True):
            torch.testing.assert_close(a, b)


Q, K = states()
ROPE = rope_frequencies("none", 32)
MROPE = rope_frequencies("none", 32, sections=(4, 6, 6))
LINE = torch.arange(11)


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ((None, None, LINE, ROPE), TypeError, "q, k: expected at least one tensor"),
        ((Q.double(), K, LINE, ROPE), TypeError, "q: expected float32, bfloat16 or float16"),
        ((Q, K.half(), LINE, ROPE), TypeError, "k: expected q's torch.float32, got torch.float16"),
        ((Q[0], K, LINE, ROPE), ValueError, r"q: expected \[B, H, S, D\], got \[4, 11, 32\]"),
        ((Q, K[:1], LINE, ROPE), ValueError, r"k: expected q's .* \[2, 11, 32\], got \[1"),
        ((Q, K.to("meta"), LINE, ROPE), ValueError, "k: expected on q's device cpu, got meta"),
        ((Q.transpose(2, 3), None, LINE, ROPE), ValueError, "q: expected unit stride"),
        ((Q, K, LINE, ROPE.inv_freq), TypeError, "rope: expected a Rope, got Tensor"),
        ((Q, K, LINE, ROPE.to("meta")), ValueError, "rope: expected frequencies on q's device"),
        ((Q, K, LINE, Rope(torch.rand(17))), ValueError, "rope: expected at most head_dim = 32"),
        ((Q, K, LINE[:-1], ROPE), ValueError, r"positions: expected \[11\], .*, got \[10\]"),
        ((Q, K, LINE.bool(), ROPE), TypeError, "positions: expected int32, int64 or float32"),
        ((Q, K, [0], ROPE), TypeError, "positions: expected a tensor, got list"),
        ((Q, K, LINE.to("meta"), ROPE), ValueError, "positions: expected on q's device cpu"),
        ((Q, K, LINE.expand(3, 11), MROPE), ValueError, r"positions: \[3, 11\] is ambiguous"),
        ((Q, K, LINE.expand(3, 1, 11), ROPE), ValueError, "positions: .* without sections"),
        ((Q, K, LINE.expand(4, 2, 11), MROPE), ValueError, r"positions: .*\[3, 1 or 2, 11\], got"),
        ((Q, K, LINE.expand(3, 3, 11), MROPE), ValueError, r"positions: .* got \[3, 3, 11\]"),
        ((Q, K, LINE.float().requires_grad_(), ROPE), ValueError, "positions: expected no grad"),
        ((Q, K, LINE, ROPE, LINE.float()), TypeError, "order: expected int32 or int64"),
        ((Q, K, LINE, ROPE, LINE.expand(3, 11)), ValueError, r"order: expected \[S\] or \[2, S\]"),
        ((Q, K, LINE, ROPE, LINE + 1), ValueError, r"order\[10\]: expected 0 <= row < 11, got 11"),
        ((Q, K, LINE, ROPE, -LINE), ValueError, r"order\[1\]: expected 0 <= row < 11, got -1"),
    ],
)  # fmt: skip
def test_bad_input(arguments, error, message):
    with pytest.raises(error, match=f"apply_rope: {message}"):
        apply_rope(*arguments)


@pytest.mark.parametrize(
    "out, error, message",
    [
        (torch.empty_like(Q), TypeError, r"out: expected a tuple \(q, k\), got Tensor"),
        ((torch.empty_like(Q), None), TypeError, r"out\[1\]: expected a tensor, got NoneType"),
        ((torch.empty_like(Q), torch.empty_like(Q)), ValueError, r"out\[1\]: expected \[2, 2, 11"),
        ((Q.half(), torch.empty_like(K)), TypeError, r"out\[0\]: expected torch.float32"),
        ((Q, torch.empty_like(K)), ValueError, "out: expected memory of its own"),
    ],
)  # fmt: skip
def test_bad_out(out, error, message):
    with pytest.raises(error, match=f"apply_rope: {message}"):
        apply_rope(Q, K, LINE, ROPE, out=out)
    with pytest.raises(TypeError, match=r"out\[1\]: expected None, as the input"):
        apply_rope(Q, None, LINE, ROPE, out=(torch.empty_like(Q), torch.empty_like(K)))


def test_out_refuses_grad():
    q = Q.clone().requires_grad_()
    with pytest.raises(ValueError, match="apply_rope: out: expected inputs without grad"):
        apply_rope(q, None, LINE, ROPE, out=(torch.empty_like(Q), None))


@pytest.mark.parametrize(
    "change",
    [
        {"positions": LINE[:5]},
        {"positions": LINE.expand(3, 2, 11)},
        {"inv_freq": torch.rand(17)},
        {"inv_freq": torch.rand(32)[::2]},
        {"sections": [4, 6, 7]},
        {"sections": [16]},
        {"order": LINE + 1},
        {"order": LINE.expand(3, 11)},
        {"x": Q[0]},
        {"x": Q.transpose(2, 3)},
        {"x": Q.double()},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_operator_itself_stays_in_bounds(change):
    # called without the checks of the Python wrapper
    args = {
        "x": Q, "positions": LINE, "inv_freq": ROPE.inv_freq, "attention_scaling": 1.0,
        "sections": None, "interleaved_sections": False, "order": None, **change,
    }  # fmt: skip
    with pytest.raises(ValueError, match="apply_rope"):
        OP.single(**args)


def test_thread_count_makes_no_difference():
    q, k = states(length=600, dim=64)
    rope, positions = rope_frequencies("none", 64), torch.arange(600)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = apply_rope(q, k, positions, rope)
        torch.set_num_threads(3)
        three = apply_rope(q, k, positions, rope)
    finally:
        torch.set_num_threads(threads)
    assert all(map(torch.equal, one, three))


def test_exported_from_the_package():
    assert intp_ext.apply_rope is apply_rope
