"""``intp-ext``: what was built, what is in use, and a test of every operator."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import entry_points
from typing import Any

import torch

from . import (
    KVCache,
    __version__,
    apply_rope,
    attention,
    build_info,
    cached_attention,
    rearrange,
    reference,
    token_order,
)
from .rope import Rope, rope_frequencies
from .window import Window

ENTRY_POINTS = "intp_ext.doctor"  # layers above add a line each: () -> str

TOLERANCE = 1e-5  # float32 against the definition in float64, values of order 1


def _check_token_order(device: torch.device) -> float:
    args = (5, 4, 3)
    error = 0.0
    for grouping in reference.GROUPINGS:
        got = token_order(*args, grouping, device=device).cpu()
        error += (got - reference.token_order(*args, grouping)).abs().max().item()
    return error


def _check_rearrange(device: torch.device) -> float:
    features = torch.randn(2, 60, 33, device=device)
    order = token_order(5, 4, 3, device=device)
    exact = reference.rearrange(features, order)
    return (rearrange(features, order) - exact).abs().max().item()


def _rope_inputs(device: torch.device) -> tuple[torch.Tensor, ...]:
    q, k, v = (torch.randn(2, heads, 60, 64, device=device) for heads in (4, 2, 2))
    return q, k, v, torch.arange(60, device=device), token_order(5, 4, 3, device=device)


def _rope(device: torch.device) -> Rope:
    return rope_frequencies("ntk", 64, factor=4.0, device=device)


def _check_apply_rope(device: torch.device) -> float:
    q, k, _, positions, order = _rope_inputs(device)
    got = apply_rope(q, k, positions, _rope(device), order)
    exact = reference.apply_rope(q.double(), k.double(), positions, _rope(device), order)
    return max((a - b).abs().max().item() for a, b in zip(got, exact, strict=True))


def _check_attention(device: torch.device) -> float:
    q, k, v, positions, order = _rope_inputs(device)
    options: dict[str, Any] = {
        "rope": _rope(device),
        "positions": positions,
        "order": order,
        "window": Window(2, block=6, block_start=6, sink=3, dense_from=50),
    }
    exact = reference.attention(q.double(), k.double(), v.double(), **options)
    return (attention(q, k, v, **options) - exact).abs().max().item()


def _check_kv_cache(device: torch.device) -> float:
    """One token over a packed cache, against its own dequantized keys and values."""
    k, v = (torch.randn(2, 2, 150, 64, device=device) for _ in range(2))
    q = torch.randn(2, 4, 1, 64, device=device)
    cache = KVCache(4)
    cache.append(k, v)
    k, v = (x.double() for x in cache.dequantize())
    return (
        (cached_attention(q, cache) - reference.attention(q.double(), k, v, q_offset=149))
        .abs()
        .max()
        .item()
    )


CHECKS: dict[str, Callable[[torch.device], float]] = {
    "token_order": _check_token_order,
    "rearrange": _check_rearrange,
    "apply_rope": _check_apply_rope,
    "attention": _check_attention,
    "cached_attention": _check_kv_cache,
}


def _devices(info: dict[str, Any]) -> list[torch.device]:
    with_cuda = info["cuda_loaded"] and torch.cuda.is_available()
    return [torch.device("cpu")] + [torch.device("cuda")] * with_cuda


def self_test(devices: Sequence[torch.device]) -> Iterator[dict[str, Any]]:
    """One result for each operator and device: its largest error, or what it raised."""
    for device in devices:
        for name, check in CHECKS.items():
            torch.manual_seed(0)
            result: dict[str, Any] = {"operator": name, "device": str(device)}
            result |= {"error": None, "raised": None}
            start = time.perf_counter()
            try:
                result["error"] = check(device)
            except Exception as error:  # the doctor reports, whatever it is
                result["raised"] = f"{type(error).__name__}: {error}"
            result["seconds"] = round(time.perf_counter() - start, 4)
            result["passed"] = result["error"] is not None and result["error"] <= TOLERANCE
            yield result


def diagnose() -> dict[str, Any]:
    """Everything the doctor knows, ready for JSON."""
    info = build_info()
    cuda: dict[str, Any] = {"available": torch.cuda.is_available(), "devices": []}
    if cuda["available"]:
        cuda["devices"] = [
            {
                "name": torch.cuda.get_device_name(index),
                "capability": list(torch.cuda.get_device_capability(index)),
            }
            for index in range(torch.cuda.device_count())
        ]
    tests = list(self_test(_devices(info)))
    return {
        "build": info,
        "threads": torch.get_num_threads(),
        "cuda": cuda,
        "built_on": {entry.name: entry.load()() for entry in entry_points(group=ENTRY_POINTS)},
        "self_test": tests,
        "passed": all(test["passed"] for test in tests),
    }


def _report(diagnosis: dict[str, Any]) -> Iterator[str]:
    build, cuda = diagnosis["build"], diagnosis["cuda"]
    built = f"built for {build['cuda_arch_list']}" if build["cuda"] else "not built"
    loaded = "loaded" if build["cuda_loaded"] else "not loaded"
    where = f"a wheel for {build['wheel']}" if build["wheel"] else "built from source"
    yield f"intp_ext     {build['version']}, {where}, commit {build['commit'] or 'unknown'}"
    yield f"torch        {build['torch']}, built against the headers of {build['torch_headers']}"
    yield f"python       {sys.version.split()[0]}, built with {build['python']}"
    for name, line in diagnosis["built_on"].items():
        yield f"{name:<12} {line}"
    yield f"compiler     {build['compiler']}"
    yield (
        f"CPU          {build['cpu_level']} of {', '.join(build['cpu_levels'])}; "
        f"{diagnosis['threads']} threads"
    )
    yield f"CUDA library {built}: {build['cuda_reason']}"
    yield f"             {loaded}: {build['cuda_loaded_reason']}"
    for device in cuda["devices"]:
        yield f"GPU          {device['name']}, compute capability {device['capability']}"
    if not cuda["devices"]:
        yield "GPU          none that torch can use"
    yield "self-test"
    for test in diagnosis["self_test"]:
        verdict = "ok    " if test["passed"] else "FAILED"
        found = test["raised"] or f"largest error {test['error']:.1e}"
        yield (
            f"  {verdict} {test['operator']:<16} {test['device']:<5} {found}, "
            f"{test['seconds'] * 1e3:.1f} ms"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """0: everything passed; 1: something did not."""
    parser = argparse.ArgumentParser(prog="intp-ext", description=__doc__.replace("``", ""))
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--version", action="version", version=f"intp-ext {__version__}")
    options = parser.parse_args(argv)
    diagnosis = diagnose()
    print(json.dumps(diagnosis, indent=2) if options.json else "\n".join(_report(diagnosis)))
    return 0 if diagnosis["passed"] else 1
