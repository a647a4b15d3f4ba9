"""The kernels of attention: every path, across the edges of every tile; how the CPU shares work.

test_cpu_levels.py runs the accuracy tests at each instruction set.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ops.devices import DEVICES, to_device
from ops.eager_attention import eager_attention, first_keys, seen_keys
from ops.magnitudes import MAGNITUDES, make_winners
from tolerance import assert_as_good_as_eager

from intp_ext import Window, attention, reference

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
HEAD_DIMS = [32, 40, 64, 80, 96, 128, 256]


def make(batch, heads, kv_heads, rows, keys, dim, dtype, seed=0):
    """q, k, v as the transposed [B, S, H, D] views that a model has."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((rows, heads), (keys, kv_heads), (keys, kv_heads))
    return [
        torch.randn(batch, length, count, dim, generator=generator).to(dtype).transpose(1, 2)
        for length, count in shapes
    ]


def check(device, q, k, v, *, scale=None, last=(), **options):
    """The 2x rule, with NaN in every key and value that no query of the row sees; then for the
    ``last`` so many queries alone, which another kernel may take."""
    seen = seen_keys(q.shape[0], q.shape[2], k.shape[2], **options)
    exact = reference.attention(*(x.double() for x in (q, k, v)), scale=scale, **options)
    eager = eager_attention(q, k, v, seen, scale)
    offset = options.pop("q_offset", 0)
    for rows in (q.shape[2], *last):
        unseen = ~seen[:, -rows:].any(1)[:, None, :, None]
        poisoned = [x.masked_fill(unseen, float("nan")) for x in (k, v)]
        there = {**options, "q_offset": offset + q.shape[2] - rows}
        inputs, there = to_device(((q[:, :, -rows:], *poisoned), there), device)
        ours = attention(*inputs, scale=scale, **there).cpu()
        assert_as_good_as_eager(ours, eager[:, :, -rows:], exact[:, :, -rows:])


# rows and keys around tiles of 12 rows, 64 (16, 8) keys of a panel, 512 keys, 768 rows of a task
CASES = {
    "causal": ((1, 2, 2, 300, 300), {}),
    "several tasks": ((1, 1, 1, 800, 800), {}),
    "GQA": ((2, 6, 2, 100, 100), {}),
    "one short of a tile": ((1, 1, 1, 47, 511), {"q_offset": 464}),
    "one more than a tile": ((1, 1, 1, 49, 513), {"q_offset": 464}),
    "chunk": ((1, 4, 2, 70, 600), {"q_offset": 530}),
    "chunk of a static cache": ((1, 2, 1, 40, 600), {"q_offset": 300}),
    "window": ((1, 1, 1, 700, 700), {"window": Window(100)}),
    "frames": (
        (2, 2, 1, 600, 600),
        {"window": Window(2, 257, torch.tensor([5, 35], dtype=torch.int32), 5, 590)},
    ),
    "sink beside the window": ((1, 1, 1, 400, 400), {"window": Window(3, 60, 10, 70)}),
    "padding": (
        (2, 2, 2, 330, 330),
        {"kv_bounds": torch.tensor([[70, 330], [0, 280]], dtype=torch.int32)},
    ),
    "rows of offsets": (
        (2, 2, 2, 30, 330),
        {"q_offset": torch.tensor([300, 17], dtype=torch.int32)},
    ),
    "decode": ((1, 2, 2, 1, 700), {"q_offset": 699}),
    "decode in parts, GQA": ((2, 14, 2, 1, 2100), {"q_offset": 2099}),
    "decode, window": ((1, 4, 1, 1, 1500), {"q_offset": 1499, "window": Window(2, 257, 0, 7)}),
    "decode of a static cache": (
        (2, 2, 1, 1, 1500),
        {"q_offset": 1100, "kv_bounds": torch.tensor([[0, 1101], [40, 1101]], dtype=torch.int32)},
    ),
    "decode, fewer heads in the last task": ((2, 35, 5, 1, 1100), {"q_offset": 1099}),
    "first keys": (
        (2, 4, 2, 300, 900),
        {"q_offset": 600, "window": Window(first_key=first_keys(2, 300, 600), sink=7)},
    ),
    "first keys far back": (
        (1, 2, 1, 100, 1300),
        {
            "q_offset": 1200,
            "window": Window(first_key=first_keys(1, 100, 1200, span=1300), dense_from=1290),
        },
    ),
    "first keys, padding": (
        (2, 2, 2, 330, 330),
        {
            "kv_bounds": torch.tensor([[70, 330], [0, 280]], dtype=torch.int32),
            "window": Window(first_key=first_keys(2, 330, 0)),
        },
    ),
    "decode of first keys": (
        (2, 6, 2, 2, 1500),
        {"q_offset": 1498, "window": Window(first_key=first_keys(2, 2, 1498, span=1200), sink=3)},
    ),
    "decode of three": ((1, 4, 1, 3, 300), {"q_offset": 297, "window": Window(50, sink=3)}),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_case_is_as_good_as_eager(case, dtype, device):
    shape, options = CASES[case]
    check(device, *make(*shape, 32, dtype), **options)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("dim", [*HEAD_DIMS, 8, 17, 264])
def test_head_dim_is_as_good_as_eager(dim, dtype, device):
    states = make(1, 2, 1, 60, 330, dim, dtype)
    check(device, *states, last=(1,), q_offset=270, window=Window(200, sink=9))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("scale", [0.0, -0.3, 2.0])
def test_scale_is_as_good_as_eager(scale, device):
    states = make(1, 2, 1, 60, 300, 32, torch.float32)
    check(device, *states, last=(1,), q_offset=240, scale=scale)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("scale", [None, -0.7, 1.0])
@pytest.mark.parametrize(("dtype", "size"), MAGNITUDES, ids=str)
def test_magnitude_is_as_good_as_eager(dtype, size, scale, device):
    """The largest score has a weight of 1, whatever its product with the scale is rounded to."""
    q, k, v = make_winners(60, 1100, dtype, size, scale or 1.0)
    options = {"scale": scale, "q_offset": 1040}
    exact = reference.attention(*(x.double() for x in (q, k, v)), **options)
    eager = reference.attention(*(x.float() for x in (q, k, v)), **options).to(dtype)
    q, k, v = to_device((q, k, v), device)
    for rows in (60, 3, 1):
        ours = attention(q[:, :, -rows:], k, v, scale=scale, q_offset=1100 - rows).cpu()
        assert_as_good_as_eager(ours, eager[:, :, -rows:], exact[:, :, -rows:])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rows", [1, 60])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_scores_at_the_maximum_of_float32(dtype, rows, device):
    """Finite ones have their weights; beyond float32 a row is NaN, as in eager PyTorch, not 0."""
    largest = torch.finfo(dtype).max
    q, k, v = torch.zeros(1, 1, rows, 32), torch.zeros(1, 1, 300, 32), torch.randn(1, 1, 300, 32)
    q[..., 0], k[..., 0], k[:, :, 5, 0] = largest, -1.0, 1.0
    inputs = [x.to(dtype) for x in (q, k, v)]
    out = attention(*to_device(inputs, device), scale=1.0, q_offset=300 - rows).cpu()
    assert torch.equal(out, inputs[2][:, :, 5:6].expand_as(out))
    for score in (3.0, -3.0):
        inputs[1] = torch.full_like(k, score).to(dtype)
        out = attention(*to_device(inputs, device), scale=1.0, q_offset=300 - rows).cpu()
        assert out.isnan().all()


@st.composite
def large_problems(draw):
    """Shapes that cross tiles, at every path of the kernel."""
    kv_heads = draw(st.integers(1, 2))
    rows = draw(st.sampled_from([1, 2, 9, 47, 96, 300, 450]))
    keys = rows + draw(st.sampled_from([0, 1, 64, 255, 700]))
    window = None
    if draw(st.booleans()):
        window = Window(
            size=draw(st.integers(1, 3)),
            block=draw(st.sampled_from([1, 16, 64, 257])),
            block_start=draw(st.integers(-70, 300)),
            sink=draw(st.sampled_from([0, 3, 64, 300])),
            dense_from=draw(st.one_of(st.none(), st.integers(0, keys))),
        )
    bounds = None
    if draw(st.booleans()):
        ends = [(draw(st.integers(0, keys)), draw(st.integers(0, keys))) for _ in range(2)]
        bounds = torch.tensor([sorted(row) for row in ends], dtype=torch.int32)
    shape = (2, kv_heads * draw(st.integers(1, 3)), kv_heads, rows, keys)
    options = {"window": window, "kv_bounds": bounds, "q_offset": draw(st.integers(0, keys - rows))}
    return shape, draw(st.sampled_from(HEAD_DIMS)), draw(st.sampled_from(DTYPES[:2])), options


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=60)
@given(problem=large_problems())
def test_any_large_problem_is_as_good_as_eager(device, problem):
    shape, dim, dtype, options = problem
    check(device, *make(*shape, dim, dtype), **options)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rows", [1, 60], ids=["decode", "prefill"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_any_strides_without_a_copy(dtype, rows, device):
    """Slices of one fused projection and of a larger cache, expanded batches."""
    heads, keys, dim = 2, 130, 32
    fused = torch.randn(2, rows, 3, heads, dim).to(device, dtype)
    q = fused[:, :, 1].transpose(1, 2)
    cache = torch.randn(2, 1, heads, keys + 50, dim).to(device, dtype)
    k, v = cache[0, :, :, 20 : keys + 20], cache[1, :, :, 5 : keys + 5]
    k, v = k.expand(2, -1, -1, -1), v.expand(2, -1, -1, -1)
    ours = attention(q, k, v, q_offset=keys - rows)
    dense = attention(*(x.contiguous() for x in (q, k, v)), q_offset=keys - rows)
    assert torch.equal(ours, dense)
    assert ours.stride() == torch.empty(2, rows, heads, dim).transpose(1, 2).stride()


@pytest.mark.parametrize("device", DEVICES)
def test_nan_in_a_visible_key_is_not_swallowed(device):
    for rows in (1, 60):
        q, k, v = make(1, 1, 1, rows, 300, 32, torch.float32)
        k[0, 0, 250] = float("nan")
        out = attention(*to_device((q, k, v), device), q_offset=300 - rows).cpu()
        nan = torch.arange(300 - rows, 300) >= 250
        assert torch.equal(out.isnan().all(-1)[0, 0], nan)
        assert torch.equal(out.isnan().any(-1)[0, 0], nan)


@pytest.fixture
def restore_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("dtype", DTYPES[:2], ids=str)
@pytest.mark.parametrize("rows", [1, 900], ids=["decode", "prefill"])
def test_the_number_of_threads_changes_no_bit(rows, dtype, restore_threads):
    q, k, v = make(2, 4, 2, rows, 2100, 32, dtype)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(attention(q, k, v, q_offset=2100 - rows, window=Window(900, sink=70)))
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


THREADS_STARTED_BY_ATTENTION = """
import os, torch, intp_ext
torch.set_num_threads(2)
q = torch.randn(1, 4, 500, 32)
torch.ops.intp_ext.rearrange(torch.randn(1, 4096, 64), torch.arange(4096))  # torch's pool is up
before = set(os.listdir("/proc/self/task"))
for rows in (500, 1):
    intp_ext.attention(q[:, :, :rows], q, q)
print(len(set(os.listdir("/proc/self/task")) - before))
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs /proc")
def test_starts_no_thread_of_its_own(tmp_path):
    """In a process of its own: other libraries' threads come and go in this one."""
    script = [sys.executable, "-c", THREADS_STARTED_BY_ATTENTION]
    result = subprocess.run(script, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert result.stdout.strip() == "0"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_works_in_a_forked_child():
    """As in a DataLoader's worker: a fork after the parent has used every thread, then one."""
    q, k, v = make(1, 4, 2, 500, 500, 32, torch.float32)
    prefill, decode = attention(q, k, v), attention(q[:, :, :1], k, v, q_offset=499)
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        same = torch.equal(attention(q, k, v), prefill)
        same &= torch.equal(attention(q[:, :, :1], k, v, q_offset=499), decode)
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": torch.randn(1, 3, 9, 32), "v": torch.randn(1, 3, 9, 32)}, "divides q's 2"),
        ({"v": torch.randn(1, 2, 8, 32)}, "v: expected k's shape"),
        ({"k": torch.randn(1, 2, 9, 16)}, "k: expected"),
        ({"v": torch.randn(1, 2, 9, 32).half()}, "v: expected q's dtype"),
        ({"bounds": torch.zeros(1, 4, dtype=torch.int32)}, "bounds: expected"),
        ({"bounds": torch.zeros(1, 5, dtype=torch.int64)}, "bounds: expected"),
        ({"block": 0}, "at least 1"),
    ],
)
def test_the_operator_itself_refuses_what_it_cannot_read(change, message):
    """A direct call, without the checks of attention()."""
    arguments = {
        "q": torch.randn(1, 2, 9, 32),
        "k": torch.randn(1, 2, 9, 32),
        "v": torch.randn(1, 2, 9, 32),
        "bounds": torch.zeros(1, 5, dtype=torch.int32),
        "window": 3,
        "block": 1,
        "sink": 0,
        "scale": 1.0,
        **change,
    }
    with pytest.raises((ValueError, RuntimeError), match=message):
        torch.ops.intp_ext.attention_core(**arguments)
