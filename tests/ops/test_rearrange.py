import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ops.guarded import Guarded, poisoned_rows

import intp_ext
from intp_ext import reference

DTYPES = [
    torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.uint8, torch.int8,
    torch.int64, torch.bool, torch.complex128, torch.float8_e4m3fn,
]  # fmt: skip
OUT = torch.ops.intp_ext.rearrange.out


def bits(x: torch.Tensor) -> torch.Tensor:
    return x.contiguous().view(torch.uint8) if x.numel() else x


def assert_same_bits(a: torch.Tensor, b: torch.Tensor) -> None:
    assert a.dtype == b.dtype and a.shape == b.shape
    assert torch.equal(bits(a), bits(b))


def random_bits(shape, dtype: torch.dtype) -> torch.Tensor:
    """Any pattern at all, NaNs with payloads included."""
    if dtype == torch.bool:
        return torch.randint(0, 2, shape, dtype=torch.bool)
    size = torch.empty((), dtype=dtype).element_size()
    return torch.randint(0, 256, (*shape[:-1], shape[-1] * size), dtype=torch.uint8).view(dtype)


@pytest.mark.parametrize("index", [torch.int32, torch.int64])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_bitwise_over_dtypes(dtype, index):
    features = random_bits((2, 12, 7), dtype)
    order = torch.randperm(12).to(index)
    expected = torch.stack([torch.stack([row[i] for i in order.tolist()]) for row in features])
    assert_same_bits(intp_ext.rearrange(features, order), expected)


@settings(max_examples=60)
@given(
    batch=st.integers(0, 3),
    rows=st.integers(1, 40),
    length=st.integers(0, 50),
    channels=st.integers(0, 70),
    batched=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_equals_the_definition(batch, rows, length, channels, batched, seed):
    torch.manual_seed(seed)
    features = torch.randn(batch, rows, channels)
    order = torch.randint(0, rows, (batch, length) if batched else (length,))
    assert_same_bits(intp_ext.rearrange(features, order), reference.rearrange(features, order))


def test_strided_features_and_out_leave_the_rest_alone():
    features = poisoned_rows(torch.randn(2, 10, 6), dim=1)  # the other rows are NaN
    order = torch.randperm(10)
    guard = Guarded((2, 10, 9), torch.float32)
    out = guard.tensor[..., 1:7]  # NaN columns on both sides
    assert intp_ext.rearrange(features, order, out=out) is out
    assert_same_bits(out, features[:, order])
    assert guard.tensor[..., 0].isnan().all() and guard.tensor[..., 7:].isnan().all()
    guard.assert_intact()


def test_expanded_batch():
    features = torch.randn(1, 9, 4).expand(3, 9, 4)
    order = torch.randperm(9)
    assert_same_bits(intp_ext.rearrange(features, order), features[:, order])


@pytest.mark.parametrize("offset", [0, 1, 3])
def test_large_outputs_past_the_cache(offset):
    # 16 MiB and more takes the streaming stores, whose rows may start at any address
    channels = 1021
    features = random_bits((1, 9000, channels), torch.int16)
    guard = Guarded((9000 * channels + offset,), torch.int16, fill=7)
    out = guard.tensor[offset:].view(1, 9000, channels)
    order = torch.randperm(9000)
    intp_ext.rearrange(features, order, out=out)
    assert torch.equal(out, features[:, order])
    guard.assert_intact()


def test_opcheck():
    features = torch.randn(2, 12, 5, requires_grad=True)
    for order in (torch.randperm(12), torch.randint(0, 12, (2, 7), dtype=torch.int32)):
        torch.library.opcheck(torch.ops.intp_ext.rearrange.default, (features, order))
        out = torch.empty(2, order.shape[-1], 5)
        torch.library.opcheck(OUT, (features.detach(), order), {"out": out})


def test_compiles_whole_with_dynamic_shapes():
    torch._dynamo.reset()
    compiled = torch.compile(intp_ext.rearrange, fullgraph=True, dynamic=True, backend="aot_eager")
    for batch, rows in ((2, 8), (3, 12)):
        features, order = torch.randn(batch, rows, 5), torch.randperm(rows)
        assert_same_bits(compiled(features, order), features[:, order])


@pytest.mark.parametrize("batched", [False, True])
def test_gradient_adds_up_repeated_rows(batched):
    features = torch.randn(2, 6, 3, dtype=torch.float64, requires_grad=True)
    order = torch.tensor([5, 0, 0, 2, 5])
    order = torch.stack([order, order.flip(0)]) if batched else order
    assert torch.autograd.gradcheck(lambda x: intp_ext.rearrange(x, order), features)


FEATURES = torch.randn(2, 4, 3)
ORDER = torch.arange(4)


@pytest.mark.parametrize(
    "features, order, error, message",
    [
        ([1], ORDER, TypeError, "features: expected a tensor, got list"),
        (FEATURES[0], ORDER, ValueError, r"features: expected \[B, R, C\], got \[4, 3\]"),
        (FEATURES.transpose(1, 2), ORDER, ValueError, "features: expected unit stride"),
        (FEATURES, [0, 1], TypeError, "order: expected a tensor, got list"),
        (FEATURES, ORDER.float(), TypeError, "order: expected int32 or int64, got torch.float32"),
        (FEATURES, ORDER.view(1, 1, 4), ValueError, r"order: expected \[S\] or \[2, S\]"),
        (
            FEATURES,
            ORDER.expand(3, 4),
            ValueError,
            r"order: expected \[S\] or \[2, S\], got \[3, 4\]",
        ),
        (
            FEATURES,
            ORDER.to("meta"),
            ValueError,
            "order: expected on features's device cpu, got meta",
        ),
        (FEATURES, torch.tensor([0, 4]), ValueError, r"order\[1\]: expected 0 <= row < 4, got 4"),
        (FEATURES, torch.tensor([0, -1]), ValueError, r"order\[1\]: expected 0 <= row < 4, got -1"),
        (FEATURES, torch.tensor([2**40]), ValueError, "got 1099511627776"),
    ],
)
def test_bad_input(features, order, error, message):
    with pytest.raises(
        error, match=f"rearrange: {message}" if "got 109" not in message else message
    ):
        intp_ext.rearrange(features, order)


@pytest.mark.parametrize(
    "out, error, message",
    [
        (torch.empty(2, 4, 3).double(), TypeError, "out: expected torch.float32"),
        (torch.empty(2, 5, 3), ValueError, r"out: expected \[2, 4, 3\], got \[2, 5, 3\]"),
        (torch.empty(2, 4, 3, device="meta"), ValueError, "out: expected on cpu, got meta"),
        (FEATURES, ValueError, "out: expected memory of its own"),
        (torch.empty(1, 4, 3).expand(2, 4, 3), ValueError, "out: .* expanded"),
    ],
)
def test_bad_out(out, error, message):
    with pytest.raises(error, match=f"rearrange: {message}"):
        intp_ext.rearrange(FEATURES, ORDER, out=out)


def test_out_refuses_grad():
    features = FEATURES.clone().requires_grad_()
    with pytest.raises(ValueError, match="rearrange: out: expected inputs without grad"):
        intp_ext.rearrange(features, ORDER, out=torch.empty(2, 4, 3))
    with torch.no_grad():
        intp_ext.rearrange(features, ORDER, out=torch.empty(2, 4, 3))


def test_the_operator_itself_stays_in_bounds():
    # called without the checks of the Python wrapper
    with pytest.raises(ValueError, match=r"out: expected \[B, S, C\]"):
        OUT(FEATURES, ORDER, out=torch.empty(2, 3, 3))
    with pytest.raises(ValueError, match="order"):
        OUT(FEATURES, torch.tensor(3), out=torch.empty(2, 4, 3))
    with pytest.raises(ValueError, match=r"features: expected \[B, R, C\]"):
        torch.ops.intp_ext.rearrange(FEATURES[0], ORDER)
