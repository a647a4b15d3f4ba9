"""``intp-video app``: what is said before it serves, and how it ends."""

import signal
import urllib.request

import pytest


def test_without_gradio_it_says_what_to_install(cli, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    outcome = cli("app")
    assert outcome.code == 2 and 'pip install "intp-ext[app]"' in outcome.err


@pytest.mark.parametrize("port", ["0", "65536", "x", "-1"])
def test_a_port_that_is_none_is_refused(cli, port):
    outcome = cli("app", f"--port={port}")
    assert outcome.code == 2 and "expected 1 to 65535" in outcome.err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--span", "visual"), 'needs rope="linear"'),
        (("--start", 5, "--end", 3), "app: end: expected more than start, 5 s, got 3"),
        (("--load-in", "3bit"), "--load-in"),
    ],
)
def test_options_are_checked_before_it_serves(cli, options, told):
    pytest.importorskip("gradio", reason="the page needs gradio (the extra app)")
    outcome = cli("app", *options, "--quiet")
    assert outcome.code == 2 and told in outcome.err


def test_it_serves_until_ctrl_c(cli_process):
    pytest.importorskip("gradio", reason="the page needs gradio (the extra app)")
    process = cli_process("app", "--frames", 16, "--window", 4, "--end", 9, "--quiet")
    address = process.stdout.readline().strip()
    assert address.startswith("http://127.0.0.1:"), process.communicate()
    assert urllib.request.urlopen(address, timeout=60).status == 200
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "intp-video: interrupted\n")
