"""The benchmarks on sizes that take no time: bytes, JSON, figures. Never how fast anything is."""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import bench_attention
import bench_decode
import bench_rearrange
import bench_rope
import pytest
import runner
import torch

BENCHMARKS = Path(bench_rope.__file__).parent


def test_bytes_of_rearrange():
    # 8 frames of 257 tokens: 2056 rows of 4096 bf16, read and written, and as many int32
    assert bench_rearrange.Case(8, "bf16").bytes_moved() == 2 * 2056 * 8192 + 2056 * 4
    assert bench_rearrange.Case(16, "fp32").bytes_moved() == 2 * 4112 * 16384 + 4112 * 4


def test_bytes_of_rope():
    # a row of q and one of k: 128 bf16 each; one int64 position
    assert bench_rope.Case(1, "bf16", kv_heads=1, heads=1).bytes_moved() == 2 * 2 * 256 + 8
    gqa = bench_rope.Case(100, "fp32", kv_heads=8, order=True)
    assert gqa.bytes_moved() == 2 * 100 * 40 * 512 + 100 * 12


def test_counts_of_attention():
    case = bench_attention.Case(100, "bf16", window=7, head_dim=16, heads=4, kv_heads=2)
    assert case.bytes_moved() == 2 * (4 + 2) * 100 * 16 * 2
    mask = bench_attention.visible(case, torch.device("cpu"))(slice(None), slice(None))
    assert case.flops() == 4 * 16 * 4 * mask.sum()
    causal = dataclasses.replace(case, window=None)
    assert causal.flops() == 4 * 16 * 4 * 100 * 101 // 2


def test_counts_of_decode():
    case = bench_decode.Case(100, "bf16", kv_heads=2, heads=4, head_dim=16)
    assert case.bytes_moved() == 2 * 100 * 2 * 16 * 2
    assert case.flops() == 4 * 16 * 4 * 100


def test_bytes_are_those_of_the_tensors(tiny):
    features = torch.empty(1, 16 * 257, 8, dtype=torch.bfloat16)
    order = torch.empty(16 * 257, dtype=torch.int32)
    case = tiny["rearrange"].cases(False)[0]
    assert case.bytes_moved() == 2 * features.nbytes + order.nbytes


@pytest.fixture(scope="module")
def tiny() -> dict[str, runner.Benchmark]:
    rearrange = [bench_rearrange.Case(16, dtype, channels=8) for dtype in ("bf16", "fp32")]
    rope = [
        bench_rope.Case(tokens, "bf16", kv_heads=kv_heads, order=order, heads=4, head_dim=16)
        for tokens, kv_heads, order in (
            (32, 4, False),
            (64, 4, False),
            (64, 4, True),
            (64, 2, False),
        )
    ]
    attention = [
        bench_attention.Case(tokens, "bf16", window, 16, 2, kv_heads)
        for tokens, kv_heads in ((32, 2), (64, 1))
        for window in (None, 16)
    ]
    decode = [
        bench_decode.Case(tokens, "bf16", kv_heads, 4, 16)
        for tokens, kv_heads in ((32, 4), (64, 4), (64, 2))
    ]
    return {
        "decode": dataclasses.replace(bench_decode.BENCHMARK, cases=lambda quick: decode),
        "attention": dataclasses.replace(bench_attention.BENCHMARK, cases=lambda quick: attention),
        "rearrange": dataclasses.replace(bench_rearrange.BENCHMARK, cases=lambda quick: rearrange),
        "rope": dataclasses.replace(bench_rope.BENCHMARK, cases=lambda quick: rope),
    }


@pytest.fixture
def uncompiled(monkeypatch):
    """Compiling would take longer than everything else here."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")  # so that what it was comes back
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", ["rearrange", "rope", "attention", "decode"])
def test_run_writes_what_plot_draws(name, tiny, uncompiled, tmp_path, capfd):
    plot = pytest.importorskip("plot", exc_type=ImportError)
    path = tmp_path / f"{name}.json"
    options = ["--quick", "--seconds", "0.001", "--threads", "1", "2", "--json", str(path)]
    assert runner.run(tiny[name], options) == 0
    printed = capfd.readouterr().out

    report = json.loads(path.read_text())
    cases = tiny[name].cases(True)
    assert report["complete"] and report["benchmark"] == name
    assert [peak["threads"] for peak in report["peaks"]] == [1, 2]
    assert [r["threads"] for r in report["results"]] == [1] * len(cases) + [2] * len(cases)
    for result, case in zip(report["results"], [*cases, *cases], strict=True):
        assert result["case"] == dataclasses.asdict(case)
        assert result["bytes"] == case.bytes_moved()
        assert case.label() in printed
        names = [row["name"] for row in result["contenders"]]
        assert names[0] == "intp_ext" and ("copy" in names) == (name != "attention")
        for row in result["contenders"]:
            ms = row["ms"]
            assert 0 < ms["min"] <= ms["q1"] <= ms["median"] <= ms["q3"]
            compiled = row["name"].startswith(("torch.compile", "flex"))
            assert (row["compile_s"] is not None) == compiled

    assert plot.main([str(path)]) == 0
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert plot.main([str(path), "--format", "svg"]) == 0
    assert "<svg" in (tmp_path / f"{name}.svg").read_text()

    stopped = report | {"results": report["results"][:1], "complete": False}
    path.write_text(json.dumps(stopped))
    assert plot.main([str(path)]) == 0

    for result in report["results"][1:]:  # a peer that refused all cases but the first
        result["contenders"] = [row for row in result["contenders"] if "eager" not in row["name"]]
    gpu = {"name": "a card", "driver": "1"}
    report |= {"device": "cuda", "machine": report["machine"] | {"gpu": gpu}}
    path.write_text(json.dumps(report))
    assert plot.main([str(path)]) == 0


@pytest.mark.parametrize(
    "options, message",
    [
        (["--threads", "0"], "--threads: expected at least 1"),
        (["--json", "/nowhere/at/all.json"], "--json: no directory /nowhere/at"),
        (["--device", "cuda"], "no CUDA device"),
    ],
)
def test_bad_options(options, message, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as stop:
        runner.run(bench_rope.BENCHMARK, options)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_gpu_script_begins_nothing_without_a_device(tmp_path):
    result = subprocess.run(
        [BENCHMARKS / "run_on_gpu.sh", tmp_path / "results"],
        env={**os.environ, "PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert "no CUDA device" in result.stderr and "nothing was built" in result.stderr
    assert not (tmp_path / "results").exists()


STUB = """\
#!/bin/bash
# stands in for python: says what was asked of it, and fails where it is told to
case "$*" in
  -) cat >/dev/null ;;
  *get_device_name*) echo fake-card 9.0a ;;
  *"$STUB_FAILS"*) echo "told to fail"; exit 3 ;;
  *bench_*) while [[ $1 != --json ]]; do shift; done; echo '{}' >"$2" ;;
esac
echo "archs $TORCH_CUDA_ARCH_LIST"
"""


@pytest.fixture
def gpu_script(tmp_path):
    """Runs the script with stand-ins for python and nvcc; returns its exit code and summary."""
    nvcc, python = tmp_path / "cuda/bin/nvcc", tmp_path / "python"
    nvcc.parent.mkdir(parents=True)
    for path, text in ((nvcc, "#!/bin/bash\n"), (python, STUB)):
        path.write_text(text)
        path.chmod(0o755)

    def run(**environment: str) -> tuple[int, dict]:
        result = subprocess.run(
            [BENCHMARKS / "run_on_gpu.sh", tmp_path / "results"],
            env={
                "PATH": "/usr/bin:/bin",
                "PYTHON": str(python),
                "CUDA_HOME": str(nvcc.parents[1]),
                "STUB_FAILS": "nothing",
                **environment,
            },
            capture_output=True,
            text=True,
        )
        assert (tmp_path / "results/summary.json").exists(), result.stderr
        return result.returncode, json.loads((tmp_path / "results/summary.json").read_text())

    return run


GPU_STEPS = [
    "build", "load", "doctor", "operators", "hook", "attention", "decode", "ask", "windows",
    "kv_cache", "rope", "rearrange", "sanitizer", "draw_attention", "draw_decode", "draw_kv_cache",
    "draw_rope", "draw_rearrange",
]  # fmt: skip


def test_gpu_script_does_every_step(gpu_script, tmp_path):
    code, summary = gpu_script()
    assert code == 0 and summary["passed"]
    assert [step["step"] for step in summary["steps"]] == GPU_STEPS
    assert "archs 9.0a 8.0+PTX" in (tmp_path / "results/log.txt").read_text()


def test_gpu_script_goes_on_after_a_failure_and_draws_what_there_is(gpu_script):
    code, summary = gpu_script(STUB_FAILS="bench_decode")
    status = {step["step"]: step["status"] for step in summary["steps"]}
    assert code == 1 and not summary["passed"]
    assert list(status) == [name for name in GPU_STEPS if name != "draw_decode"]
    assert status.pop("decode") == "failed" and status.pop("sanitizer") == "not found"
    assert set(status.values()) == {"passed"}


def test_gpu_script_ends_at_its_deadline(gpu_script):
    code, summary = gpu_script(DEADLINE="10")
    status = {step["step"]: step["status"] for step in summary["steps"]}
    assert code == 1
    assert status.pop("sanitizer") == "not found" and set(status.values()) == {"no time"}


def test_gpu_script_is_tried_without_a_gpu(tmp_path):
    """The real Python takes every step's arguments."""
    result = subprocess.run(
        [BENCHMARKS / "run_on_gpu.sh", "--dry-run", tmp_path / "results"],
        env={**os.environ, "PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    summary = json.loads((tmp_path / "results/summary.json").read_text())
    status = {step["step"]: step["status"] for step in summary["steps"]}
    assert list(status) == GPU_STEPS
    assert status.pop("sanitizer") == "needs a GPU"
    not_here = {"build": ("setuptools", "wheel", "pybind11", "ninja")}
    not_here |= {name: ("matplotlib",) for name in status if name.startswith("draw_")}
    for step, packages in not_here.items():
        if not all(map(importlib.util.find_spec, packages)):
            del status[step]
    assert set(status.values()) == {"passed"}, result.stdout
    assert not (tmp_path / "results/ask.json").exists()
    assert "64 frames, 16,478 tokens of prompt, 7,366 M parameters" in log_of(tmp_path)
    assert "collected" in log_of(tmp_path)


def log_of(folder: Path) -> str:
    return (folder / "results/log.txt").read_text()


def test_gpu_script_takes_no_other_option(tmp_path):
    result = subprocess.run(
        [BENCHMARKS / "run_on_gpu.sh", "--dryrun"], capture_output=True, text=True
    )
    assert result.returncode == 2
    assert "expected [--dry-run] [FOLDER], got --dryrun" in result.stderr


@pytest.mark.parametrize("name", ["rearrange", "rope", "attention", "decode"])
def test_a_dry_run_lists_the_cases_of_a_gpu(name, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    benchmark = importlib.import_module(f"bench_{name}").BENCHMARK
    path = tmp_path / "new.json"
    assert runner.run(benchmark, ["--device", "cuda", "--dry-run", "--json", str(path)]) == 0
    printed = capsys.readouterr().out.splitlines()
    cases = (benchmark.gpu_cases or benchmark.cases)(False)
    assert [line.rpartition(",")[0] for line in printed] == [case.label() for case in cases]
    assert not path.exists()
