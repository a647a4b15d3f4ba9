"""What hub/generate.py writes: nothing missing, nothing of elsewhere, and it runs beside ours."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hub_build import build
from python_imports import imports_of
from tolerance import assert_as_good_as_eager
from workers import one_at_a_time, shared_folder

import intp_ext
from intp_ext import reference

tomllib = pytest.importorskip("tomllib", reason="tomllib came with Python 3.11")

ROOT = Path(__file__).parents[2]
FACTS = json.loads((ROOT / "csrc/build_facts.json").read_text())
BUILDER_WRITES = {"registration.h"}
ON_HOST = {"cuda_on_host.h"}  # what tests put in the way of csrc/cuda/ptx.h
NAME = "_intp_ext_cpu_test"


def generate(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "hub/generate.py", folder, "--repo-id", "somebody/intp-ext"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True)


def config_of(repository: Path) -> dict:
    return tomllib.loads((repository / "build.toml").read_text())


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "intp-ext"
    done = generate(folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def config(repository):
    return config_of(repository)


def sections(config: dict) -> list[dict]:
    return [config["torch"], *config["kernel"].values()]


def files(repository: Path, *patterns: str) -> set[str]:
    found = (path for pattern in patterns for path in repository.rglob(pattern))
    return {path.relative_to(repository).as_posix() for path in found}


def test_the_builder_is_told_of_every_source_once_and_of_every_header(repository, config):
    listed = [name for section in sections(config) for name in section["src"]]
    assert set(listed) == files(repository, "*.cpp", "*.cu", "*.h")
    compiled = [name for name in listed if not name.endswith(".h")]
    assert len(compiled) == len(set(compiled))


def test_every_include_is_there(repository):
    for name in files(repository, "*.cpp", "*.cu", "*.h"):
        for included in re.findall(r'#\s*include "([^"]+)"', (repository / name).read_text()):
            there = (repository / "csrc" / included).is_file()
            assert there or included in BUILDER_WRITES | ON_HOST, name


def test_it_is_ours_file_by_file(repository):
    for name in files(repository, "csrc/**/*.*"):
        assert (repository / name).read_bytes() == (ROOT / name).read_bytes()
    for name in files(repository / "torch-ext/intp_ext", "*.py"):
        layout = ROOT / "hub/layout/torch-ext/intp_ext" / name
        ours = layout if layout.exists() else ROOT / "intp_ext" / name
        assert (repository / "torch-ext/intp_ext" / name).read_bytes() == ours.read_bytes()


def test_python_imports_itself_and_torch_alone(repository):
    steps = imports_of(repository / "torch-ext/intp_ext")
    modules = files(repository / "torch-ext", "*.py")
    for step in steps:
        file = step.of.replace(".", "/")
        inside = {f"{file}.py", f"{file}/__init__.py"} & modules or step.of == "intp_ext._ops"
        assert inside or step.of.partition(".")[0] in {"torch", *sys.stdlib_module_names}, step
    text = "".join((repository / "torch-ext" / name).read_text() for name in modules)
    assert "from intp_ext" not in text and "import intp_ext" not in text  # relative, all of them
    assert "torch.ops.intp_ext" not in text  # the name is the builder's


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_each_cpu_target_has_its_flags(tmp_path, machine):
    assert generate(tmp_path / "out", "--machine", machine).returncode == 0
    kernels = config_of(tmp_path / "out")["kernel"]
    targets = [each for each in FACTS["cpu_targets"] if each["machine"] in ("any", machine)]
    assert [name for name in kernels if name.startswith("cpu_")] == [
        f"cpu_{target['name']}" for target in targets
    ]
    for target in targets:
        flags = kernels[f"cpu_{target['name']}"]["cxx-flags"]
        assert f"-DINTP_CPU_TARGET={target['name']}" in flags
        assert set(target["flags"].split()) <= set(flags)


def test_facts_are_those_of_the_package(config):
    assert config["torch"]["stable-abi"] == dict.fromkeys(("cpu", "cuda"), FACTS["oldest_torch"])
    assert config["kernel"]["cuda"]["cuda-capabilities"] == FACTS["cuda_architectures"].split()
    assert f'license = "{config["general"]["license"]}"' in (ROOT / "pyproject.toml").read_text()


def test_the_hubs_own_parser_takes_it(repository):
    parser = pytest.importorskip("kernels._rust", reason="needs the package kernels")
    backends = parser.Build.open(repository).general.backends
    assert [str(backend) for backend in backends] == ["cpu", "cuda"]


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("")
    done = generate(tmp_path)
    assert done.returncode == 1 and "expected a new or an empty one" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.fixture(scope="module")
def kernel(repository, config, tmp_path_factory):
    """The built package, under a name of its own, as the Hub's loader imports it."""
    if shutil.which("g++") is None:
        pytest.skip("no g++")
    package = shared_folder(tmp_path_factory, "hub_kernel") / NAME
    with one_at_a_time(package.parent):
        if not package.exists():
            build(repository, config, NAME, package)
    return load(package)


def load(package: Path):
    spec = importlib.util.spec_from_file_location(NAME, package / "__init__.py")
    sys.modules[NAME] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def states(dtype=torch.float32) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    return tuple(torch.randn(2, heads, 70, 64, dtype=dtype) for heads in (4, 2, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("window", [None, {"size": 2, "block": 8, "sink": 3}])
def test_attention(kernel, dtype, window):
    q, k, v = states(dtype)
    sinks = torch.randn(4)

    def attend(attention, window_type, states):
        seen = None if window is None else window_type(**window)
        return attention(*states, window=seen, sinks=sinks)

    actual = attend(kernel.attention, kernel.Window, (q, k, v))
    eager = attend(reference.attention, intp_ext.Window, (q, k, v))
    exact = attend(reference.attention, intp_ext.Window, [x.double() for x in (q, k, v)])
    assert_as_good_as_eager(actual, eager, exact)


def test_rope_and_rearrangement(kernel):
    q, k, _ = states()
    order = kernel.token_order(7, 5, 2)
    assert torch.equal(order, reference.token_order(7, 5, 2))
    positions = torch.arange(70)
    ropes = [each.rope_frequencies("yarn", 64, factor=4.0, original_max_position=32)
             for each in (kernel, intp_ext)]  # fmt: skip
    actual = kernel.apply_rope(q, k, positions, ropes[0], order)
    eager = reference.apply_rope(q, k, positions, ropes[1], order)
    exact = reference.apply_rope(q.double(), k.double(), positions, ropes[1], order)
    for each in zip(actual, eager, exact, strict=True):
        assert_as_good_as_eager(*each)
    features = torch.randn(2, 70, 16)
    assert torch.equal(kernel.rearrange(features, order), reference.rearrange(features, order))


def test_it_derives_compiles_and_keeps_apart_from_the_package(kernel):
    states_ = [x.requires_grad_() for x in states()]
    for attend in (kernel.attention, torch.compile(kernel.attention, backend="aot_eager")):
        grads = torch.autograd.grad(attend(*states_).sum(), states_)
        assert all(grad.isfinite().all() for grad in grads)
    ops = getattr(torch.ops, NAME)
    assert ops.attention_core is not torch.ops.intp_ext.attention_core
    assert (kernel._loader.CUDA_LOADED, kernel._loader.CUDA_REASON) == (
        False,
        "this is its CPU build",
    )
