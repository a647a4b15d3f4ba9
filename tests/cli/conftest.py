"""Running ``intp-video`` inside this process, and as a process of its own."""

import os
import subprocess
import sys
from typing import NamedTuple

import pytest
from intp_video.cli import main
from video.make_videos import write_video


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def cli(capsys, tmp_path, monkeypatch):
    """``cli("frames", path, ...)`` runs it in an empty directory; arguments may be any object."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments) -> Outcome:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:  # argparse
            code = stop.code
        return Outcome(code, *capsys.readouterr())

    return run


@pytest.fixture
def cli_process(tmp_path):
    """Starts it as a process in an empty directory, after `prelude`, a piece of Python."""

    def start(*arguments, prelude: str = "", **options) -> subprocess.Popen:
        # a background job starts with SIGINT ignored, and so would its children
        listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
        program = "from intp_video.cli import main; import sys; sys.exit(main(sys.argv[1:]))"
        return subprocess.Popen(
            [sys.executable, "-c", f"{listen}\n{prelude}\n{program}", *map(str, arguments)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options),
        )

    return start


@pytest.fixture(scope="session")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("videos") / "numbers.mp4", 40)
