import json

import pytest
from cuda_on_host import build
from workers import shared_folder


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """The build of the sources as they are."""
    if reason := build.reason_to_skip():
        pytest.skip(reason)
    return build.Build(shared_folder(tmp_path_factory, "cuda_on_host"))


@pytest.fixture(scope="session")
def library(base):
    return base.library("intp_cuda_on_host")


@pytest.fixture
def published():
    """Kernel, head_dim, bytes of shared memory: what docs/cuda.md shows."""
    return json.loads((build.ROOT / "docs/shared_memory.json").read_text())
