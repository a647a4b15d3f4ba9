import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))  # scripts, not a package: they import each other by name


@pytest.fixture(autouse=True)
def keep_threads():
    """Benchmarks set the number of threads; other tests are to have theirs."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
