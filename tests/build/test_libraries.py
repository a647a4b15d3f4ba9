"""What the installed libraries hold, and what the loader says when they cannot be loaded."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import intp_ext

PACKAGE = Path(intp_ext.__file__).parent


def dynamic_symbols(library: Path) -> list[str]:
    if shutil.which("nm") is None:
        pytest.skip("nm is not installed")
    listed = subprocess.run(["nm", "-D", str(library)], capture_output=True, text=True, check=True)
    return [line.split()[-1] for line in listed.stdout.splitlines()]


@pytest.mark.parametrize("name", ["_C.so", "_C_cuda.so"])
def test_no_python_symbol_and_no_torch_internals(name):
    library = PACKAGE / name
    if not library.exists():
        pytest.skip(f"{name} was not built: {intp_ext.build_info()['cuda_reason']}")
    symbols = dynamic_symbols(library)
    assert any(symbol.startswith("aoti_torch_") for symbol in symbols)
    assert not [symbol for symbol in symbols if symbol.startswith(("Py", "_Py"))]
    internal = ("_ZN3c10", "_ZN2at", "_ZNK3c10", "_ZNK2at", "_ZN5torch3jit")
    assert not [symbol for symbol in symbols if symbol.startswith(internal)]


def test_build_info():
    info = intp_ext.build_info()
    assert info["version"] == intp_ext.__version__
    assert "portable" in info["cpu_levels"] and info["cpu_level"] in info["cpu_levels"]
    assert info["cuda"] == (PACKAGE / "_C_cuda.so").exists()
    assert (
        info["wheel"] is None or (PACKAGE.parent / f"intp_ext-{info['version']}.dist-info").is_dir()
    )
    for key in ("compiler", "torch_headers", "cuda_reason", "cuda_loaded_reason"):
        assert info[key]


def import_from(directory: Path) -> str:
    """stderr of `import intp_ext`, started in the directory; the import must fail."""
    result = subprocess.run(
        [sys.executable, "-c", "import intp_ext"], cwd=directory, capture_output=True, text=True
    )
    assert result.returncode == 1
    return result.stderr


def copy_package(to: Path) -> Path:
    return Path(
        shutil.copytree(PACKAGE, to / "intp_ext", ignore=shutil.ignore_patterns("__pycache__"))
    )


def test_source_tree_that_shadows_the_package(tmp_path):
    (copy_package(tmp_path) / "_C.so").unlink()
    (tmp_path / "csrc").mkdir()
    error = import_from(tmp_path)
    assert "Python found the source tree first" in error and "pip install -e ." in error


def test_missing_library(tmp_path):
    (copy_package(tmp_path) / "_C.so").unlink()
    assert "The installation is incomplete" in import_from(tmp_path)


def test_no_part_for_this_python(tmp_path):
    for info in list(copy_package(tmp_path).glob("_info.cpython-*.so")):
        for minor in (99, 98):
            other = re.sub(r"cpython-\d+", f"cpython-3{minor}", info.name)
            shutil.copy(info, info.with_name(other))
        info.unlink()
    error = import_from(tmp_path)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"it was built for Python 3.98, 3.99, this is {version}" in error
    assert "Cure: one of those" in error


def test_library_that_cannot_be_loaded(tmp_path):
    (copy_package(tmp_path) / "_C.so").write_bytes(b"not a library")
    error = import_from(tmp_path)
    assert "could not load _C.so beside torch" in error
    assert "Likely causes" in error and "Cure" in error


def test_torch_that_is_too_old(monkeypatch):
    from intp_ext import _loader

    monkeypatch.setattr(_loader.torch, "__version__", "2.10.1+cpu")
    with pytest.raises(ImportError, match=r"torch 2\.10\.1\+cpu is too old, at least 2\.11"):
        _loader._load_cpu()
