"""The layers: operators, the product over them, the laboratory over both, no circles anywhere."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from python_imports import Import, circle_in, imports_of

ROOT = Path(__file__).parents[2]
OPERATORS = imports_of(ROOT / "intp_ext")
PRODUCT = imports_of(ROOT / "python" / "intp_video")


def inside(module: str, folder: str) -> bool:
    return module == folder or module.startswith(folder + ".")


def test_the_operators_import_torch_alone():
    roots = {step.of.partition(".")[0] for step in OPERATORS} - sys.stdlib_module_names
    assert roots == {"intp_ext", "torch"}


def test_only_the_command_line_imports_the_laboratory_and_only_when_it_runs():
    """The front of the package names what is public there, and imports it when asked for it."""
    lab = "intp_video.lab"
    steps = [s for s in PRODUCT if inside(s.of, lab) and not inside(s.by, lab)]
    assert {step.by for step in steps if not step.lazy} == {"intp_video"}  # for type checkers
    assert all(inside(s.by, "intp_video.cli") for s in steps if s.lazy), steps


def test_nothing_imports_the_command_line():
    cli = "intp_video.cli"
    assert [s for s in PRODUCT if inside(s.of, cli) and not inside(s.by, cli)] == []


def test_only_the_page_knows_gradio():
    assert {step.by for step in PRODUCT if inside(step.of, "gradio")} == {"intp_video.app.page"}


@pytest.mark.parametrize("imports", [OPERATORS, PRODUCT], ids=["intp_ext", "intp_video"])
def test_no_circles(imports):
    assert circle_in(imports) == []


def test_every_spelling_of_an_import_is_read(tmp_path):
    package = tmp_path / "package"
    (package / "folder").mkdir(parents=True)
    (package / "__init__.py").write_text("from .a import thing")
    (package / "a.py").write_text("import numpy.linalg\nfrom . import b, compiled, folder")
    (package / "b.py").write_text("def f():\n    from package.folder.c import thing")
    (package / "folder" / "__init__.py").write_text("from . import c\nfrom .c import thing")
    (package / "folder" / "c.py").write_text("if True:\n    from ..a import x\nfrom .. import b, y")
    (package / "compiled.pyi").write_text("")
    assert set(imports_of(package)) == {
        Import("package", "package.a", False),
        Import("package.a", "numpy.linalg", False),
        Import("package.a", "package.b", False),
        Import("package.a", "package.compiled", False),
        Import("package.a", "package.folder", False),
        Import("package.b", "package.folder.c", True),
        Import("package.folder", "package.folder.c", False),
        Import("package.folder.c", "package.a", False),
        Import("package.folder.c", "package.b", False),
        Import("package.folder.c", "package", False),
    }


@pytest.mark.parametrize(
    ("steps", "circle"),
    [
        ([("p.a", "p.b"), ("p.b", "p.c")], []),
        ([("p.a", "p.b"), ("p.b", "p.a")], ["p.a", "p.b"]),
        ([("p.x.a", "p.y.a"), ("p.y.b", "p.x.b")], ["p.x", "p.y"]),  # two folders, four modules
        ([("p.x.a", "p.b"), ("p.x", "p.x.a"), ("p.c", "p.x")], []),
        ([("p.x", "p.x.a"), ("p.x.a", "p.x")], ["p.x", "p.x.a"]),  # a folder's own __init__
    ],
)
def test_circles_are_found(steps, circle):
    assert sorted(set(circle_in([Import(by, of, False) for by, of in steps]))) == circle
