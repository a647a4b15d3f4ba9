"""What is seen on a terminal while something takes long."""

import io
import re

import intp_video
import pytest
from intp_video.cli import demo as demo_module
from intp_video.cli.progress import Bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch):
    """``terminal()`` makes stderr one and returns it, within a test: pytest has its own before."""

    def watch() -> Terminal:
        screen = Terminal()
        monkeypatch.setattr("sys.stderr", screen)
        return screen

    return watch


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return intp_video.make_random_model(tmp_path_factory.mktemp("models") / "tiny")


def test_no_bar_counts_what_it_does_not_know(cli, video, model_dir, terminal):
    screen = terminal()
    cli("ask", video, "What?", "--model", model_dir, "--frames", 16, "--max-new-tokens", 3)
    shown = screen.getvalue()
    assert "0group" not in shown and "?group" not in shown and "?token" not in shown
    assert "Loading" not in shown, "transformers has bars of its own"
    for stage in ("start", "decode", "load", "prepare", "encode", "prefill", "generate"):
        assert re.search(rf"\r{stage}\b", shown), f"{stage} is not seen while it runs"
    assert "2/2" in shown and "/3" in shown


def test_the_demo_is_seen_at_work(cli, model_dir, terminal):
    screen = terminal()
    assert cli("demo", "--model", model_dir).code == 0
    shown = screen.getvalue()
    for stage in ("start", "load", "render", "8 frames", "32 frames", "64 frames"):
        assert re.search(rf"\r{stage}\b", shown), f"{stage} is not seen while it runs"
    assert "?" not in shown
    order = [shown.index(f"\r{n} frames") for n in demo_module.FRAMES]
    assert order == sorted(order) and order[-1] < shown.index("  total")


def test_a_random_model_is_seen_being_made(cli, terminal):
    screen = terminal()
    assert cli("random-model", "model").code == 0
    assert screen.getvalue().startswith("\rmaking random weights ...\r ")


@pytest.mark.parametrize("command", ["ask", "demo"])
def test_nothing_moves_where_nobody_watches(cli, video, model_dir, command):
    what = [video, "What?", "--max-new-tokens", 1] if command == "ask" else []
    assert "\r" not in cli(command, *what, "--model", model_dir).err


def test_quiet_means_quiet_on_a_terminal_too(cli, video, model_dir, terminal):
    screen = terminal()
    assert cli("ask", video, "What?", "--model", model_dir, "--frames", 8, "--quiet").code == 0
    assert cli("demo", "--model", model_dir, "--quiet").code == 0
    assert screen.getvalue() == ""


def test_a_bar_has_a_rate_and_the_time_left(terminal):
    screen = terminal()
    bar = Bar(quiet=False, unit="row")
    bar(50, 100)
    bar(60, 100, "3 errors")
    bar.close()
    shown = screen.getvalue()
    assert "50/100" in shown and "row/s" in shown and "<" in shown
    assert "3 errors" in shown and "60/100" in shown


def test_where_there_is_no_terminal_a_line_comes_now_and_then(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    bar = Bar(quiet=False, unit="row", line_every=60)
    for second in range(0, 150, 10):
        now[0] = second
        bar(50 + second, 1050, "3 errors")
    bar.close()
    # 60 rows in 60 seconds, and those before it were not its own
    assert capsys.readouterr().err.splitlines() == [
        "3 errors: 110/1050,  1.00row/s, 15:40 left",
        "3 errors: 170/1050,  1.00row/s, 14:40 left",
    ]
    bar = Bar(quiet=True, unit="row", line_every=0)
    bar(1, 2)
    assert capsys.readouterr().err == ""
