"""The first and the last moments of the program: interrupted, or with streams that are closed."""

import os
import signal
import subprocess
import sys
import time

import pytest
from intp_video.reasons import in_one_line
from intp_video.video import BACKENDS
from intp_video.video.backend import BackendMissing, load_backend

ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
# As pip's script does it.
SCRIPT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from intp_video.cli import main
print("ready", file=sys.stderr, flush=True)
sys.exit(main())
"""


@pytest.mark.parametrize("milliseconds", [5, 10, 20, 40, 70, 100, 150, 200, 300, 400, 600])
def test_ctrl_c_while_it_starts(tmp_path, milliseconds):
    """At no moment a traceback; no clock helps to hit each import, so many are tried."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "plan", "--model", "nothing"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr.readline() == "ready\n"
    time.sleep(milliseconds / 1000)
    process.send_signal(signal.SIGINT)
    err = process.stderr.read()
    assert (process.wait(timeout=60), err) == (130, "intp-video: interrupted\n")


@pytest.mark.parametrize(
    "module", ["numpy", "torch", "intp_video.cli.dispatch", "intp_video.video"]
)
def test_ctrl_c_in_an_import(tmp_path, module):
    """Whatever an import makes of an interrupt: some turn it into an ImportError."""
    trap = f"""
import os, signal, sys
class Trap:
    def find_spec(self, name, *_):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(1000): pass
sys.meta_path.insert(0, Trap())
"""
    process = subprocess.run(
        [sys.executable, "-c", trap + SCRIPT, "plan", "--model", "."],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (process.returncode, process.stderr) == (130, "ready\nintp-video: interrupted\n")


def test_main_alone_imports_nothing():
    """A script of pip begins with re and sys. What comes after is time for a traceback."""
    program = (
        "import re, sys; before = {*sys.modules}; import intp_video.cli; "
        "print(sorted({*sys.modules} - before))"
    )
    process = subprocess.run(
        [sys.executable, "-c", program], env=ENVIRONMENT, capture_output=True, text=True, timeout=60
    )
    assert process.stdout == "['intp_video', 'intp_video.cli', 'signal']\n"


def run_with(redirection: str, *arguments, cwd) -> subprocess.CompletedProcess:
    program = "from intp_video.cli import main; import sys; sys.exit(main())"
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-c", program, *arguments],
        cwd=cwd,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_closed_stdout(video, tmp_path):
    """Its number would go to the next file that is opened, and the result into it."""
    done = run_with(">&-", "frames", str(video), "--frames", "8", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "intp-video: error: stdout is closed: the result has nowhere to go\n"
    assert list(tmp_path.iterdir()) == []


def test_a_closed_stderr(video, tmp_path):
    """What is said is not part of the result."""
    done = run_with("2>&-", "frames", str(video), "--frames", "13", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "numbers.frames.png\n")
    refused = run_with("2>&-", "frames", "missing.mp4", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")


def test_a_closed_stdin_is_an_empty_one(video, tmp_path):
    small = ("--model", "small", "--frames", "8", "--quiet")
    done = run_with("<&-", "chat", str(video), *small, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_all_streams_closed(video, tmp_path):
    assert run_with("<&- >&- 2>&-", "frames", str(video), cwd=tmp_path).returncode == 2


# -- reasons of other libraries -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("plain", "plain"),
        ("first\nTraceback (most recent call last):\n  File ...", "first"),
        ("Could not load it. Likely causes:\n  1. no FFmpeg\n  2. another torch", "no FFmpeg"),
        ("Failed:\n", "Failed"),
        ("\n\n  spaces   and\ttabs \n", "spaces and tabs"),
        ("", "ValueError"),
    ],
)
def test_a_reason_is_a_whole_sentence(message, line):
    reason = in_one_line(ValueError(message))
    assert reason.endswith(line) and "\n" not in reason


@pytest.mark.parametrize("name", BACKENDS)
def test_why_a_decoder_does_not_load_is_not_cut_off(monkeypatch, name):
    import importlib

    real = importlib.import_module

    def import_module(wanted, *rest):
        if wanted in ("av", "torchcodec", "decord"):
            raise RuntimeError(
                "Could not load it. Likely causes:\n 1. FFmpeg is missing\n 2. torch"
            )
        return real(wanted, *rest)

    monkeypatch.setattr(importlib, "import_module", import_module)
    with pytest.raises(BackendMissing, match=r"Likely causes: 1\. FFmpeg is missing; "):
        load_backend(name)
