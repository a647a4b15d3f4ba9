"""``intp-video chat``, and answers that come piece by piece on a terminal."""

import json
import os
import pty
import select
import signal
import time

import intp_video
import intp_video.cli.ask
import psutil
import pytest

QUESTIONS = ("was there a bar?", "how many shapes were there?")
SMALL = ("--model", "small", "--frames", 16, "--max-new-tokens", 4)
SLOWLY = """
import time
from intp_video.streaming import TextPieces
put = TextPieces.put
def slowly(self, value):
    put(self, value)
    time.sleep(0.2)
TextPieces.put = slowly
"""


@pytest.fixture
def expected(video):
    """The answers of a conversation."""
    model, preparer = intp_video.load(intp_video.SMALL_MODEL)
    clip = intp_video.read_video(video, 16)
    with intp_video.WatchedVideo(model, preparer, clip) as watched:
        return [watched.chat(question, max_new_tokens=4) for question in QUESTIONS]


def test_questions_from_a_pipe(cli_process, video, expected):
    process = cli_process("chat", video, *SMALL, stdin=-1)
    lines = (QUESTIONS[0], "", "what is <video>?", QUESTIONS[1])
    out, err = process.communicate("\n".join(lines), timeout=120)
    assert (process.returncode, out.splitlines()) == (0, expected)
    assert err.count("note: chat: question: expected words, got '<video>'") == 1
    for stage in ("start", "decode", "load", "watch", "total"):
        assert f"\n  {stage} " in "\n" + err


def test_json_is_whole(cli_process, video, expected):
    process = cli_process("chat", video, *SMALL, "--json", "--quiet", stdin=-1)
    out, err = process.communicate("\n".join(QUESTIONS), timeout=120)
    told = json.loads(out)
    assert err == ""
    assert [turn["question"] for turn in told["turns"]] == [*QUESTIONS]
    assert [turn["answer"] for turn in told["turns"]] == expected


class Terminal:
    """A process whose stdin, stdout and stderr are a terminal."""

    def __init__(self, start, *arguments, prelude=""):
        self._ours, theirs = pty.openpty()
        streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
        self.process = start(*arguments, prelude=prelude, start_new_session=True, **streams)
        os.close(theirs)
        self.seen = ""

    def wait_for(self, text, since=0, seconds=120):
        """Until the text has come; where it ends."""
        end = time.monotonic() + seconds
        while text not in self.seen[since:]:
            assert time.monotonic() < end, self.seen
            if not self._read():
                break
        assert text in self.seen[since:], self.seen
        return self.seen.index(text, since) + len(text)

    def type(self, text):
        os.write(self._ours, text.encode())

    def wait_until_it_reads(self):
        """Between a prompt and the read behind it, Python keeps an interrupt until a key is
        pressed."""
        process = psutil.Process(self.process.pid)
        while self.process.poll() is None and process.status() != psutil.STATUS_SLEEPING:
            time.sleep(0.01)

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)

    def end(self):
        while self._read():
            pass
        return self.process.wait(60)

    def _read(self):
        if not select.select([self._ours], [], [], 1)[0]:
            return self.process.poll() is None
        try:
            more = os.read(self._ours, 4096)
        except OSError:  # the other side is closed
            return False
        self.seen += more.decode(errors="replace")
        return bool(more)


def test_a_conversation_on_a_terminal(cli_process, video, expected):
    terminal = Terminal(cli_process, "chat", video, *SMALL, "--quiet")
    at = terminal.wait_for("> ")
    for question, answer in zip(QUESTIONS, expected, strict=True):
        terminal.type(question + "\n")
        at = terminal.wait_for(f"{answer}\r\n", at)
        at = terminal.wait_for("> ", at)
    terminal.type("\x04")  # Ctrl-D
    assert terminal.end() == 0
    assert "Traceback" not in terminal.seen


def test_ctrl_c_stops_an_answer_and_then_the_program(cli_process, video, expected):
    terminal = Terminal(cli_process, "chat", video, *SMALL, prelude=SLOWLY)
    at = terminal.wait_for("> ")
    terminal.type(QUESTIONS[0] + "\n")
    at = terminal.wait_for(f"\n{expected[0]}", at)  # it has been said, and is not over yet
    terminal.interrupt()
    at = terminal.wait_for("note: stopped; this turn is forgotten", at)
    at = terminal.wait_for("> ", at)
    terminal.wait_until_it_reads()
    terminal.interrupt()
    terminal.wait_for("intp-video: interrupted", at)
    assert terminal.end() == 130
    assert "Traceback" not in terminal.seen


def test_ask_prints_pieces_on_a_terminal_as_they_come(cli_process, video):
    arguments = ("ask", video, QUESTIONS[0], *SMALL)
    piped = cli_process(*arguments, "--quiet").communicate(timeout=120)[0]
    terminal = Terminal(cli_process, *arguments, prelude=SLOWLY)
    at = terminal.wait_for(piped.strip())
    assert "total" not in terminal.seen
    terminal.wait_for("total", at)
    assert terminal.end() == 0


def test_several_questions_share_one_prefill(cli, video, monkeypatch):
    from intp_video.watching import WatchedVideo

    read, watched = intp_video.cli.ask.read_video, WatchedVideo._watch
    calls = []
    monkeypatch.setattr(
        "intp_video.cli.ask.read_video", lambda *a, **k: calls.append("read") or read(*a, **k)
    )
    monkeypatch.setattr(WatchedVideo, "_watch", lambda self: calls.append("watch") or watched(self))
    arguments = (video, QUESTIONS[0], "--question", QUESTIONS[1], *SMALL)
    outcome = cli("ask", *arguments)
    assert outcome.code == 0 and calls == ["read", "watch"]
    alone = [cli("ask", video, question, *SMALL).out.strip() for question in QUESTIONS]
    told = [f"> {q}\n{a}\n" for q, a in zip(QUESTIONS, alone, strict=True)]
    assert outcome.out == "".join(told)
    assert "\n  answer 2 " in outcome.err
    found = json.loads(cli("ask", *arguments, "--json").out)["answers"]
    assert found == [{"question": q, "answer": a} for q, a in zip(QUESTIONS, alone, strict=True)]


def test_questions_that_share_nothing_say_so(cli, video):
    arguments = (video, QUESTIONS[0], "--question", QUESTIONS[1], *SMALL)
    outcome = cli("ask", *arguments, "--rope", "dynamic_ntk")
    assert outcome.code == 0
    assert "note: each question takes an encode and a prefill of its own" in outcome.err


def test_every_question_is_checked_first(cli, video):
    outcome = cli("ask", video, QUESTIONS[0], "--question", "<video>", *SMALL)
    assert outcome.code == 2 and "expected words, got '<video>'" in outcome.err


def test_a_part_of_the_video(cli, video):
    options = ("--start", 1, "--end", 3, "--fps", 5)
    outcome = cli("ask", video, QUESTIONS[0], "--model", "small", *options, "--json")
    told = json.loads(outcome.out)
    assert (told["start"], told["end"], told["frames"]) == (1, 3, 16)
    assert "note: 10 frames do not fill groups of 8: rounded up to 16" in outcome.err
    assert "10 frames of 1.0 to 3.0 s of 4.0 s" in outcome.err
    sheet = json.loads(cli("frames", video, *options, "--json").out)
    assert sheet["shown_seconds"] == {"start": 1, "end": 3}
    assert len(sheet["frames"]) == 16
    assert all(1 <= frame["seconds"] < 3 for frame in sheet["frames"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--start", "3", "--end", "1"], "end: expected more than start, 3 s, got 1"),
        (["--start", "-1"], "start: expected a finite number >= 0, got -1"),
        (["--end", "60"], "end: expected at most 4 s, where the video ends, got 60"),
        (["--start", "4"], "start: expected less than 4 s, where the video ends, got 4"),
        (["--fps", "0"], "fps: expected more than 0, got 0"),
        (["--fps", "0.01"], "fps: expected at least 0.125, for one frame of 4 s, got 0.01"),
        (["--fps", "x"], "--fps: invalid float value: 'x'"),
    ],
)
@pytest.mark.parametrize("command", ["ask", "frames", "chat"])
def test_a_part_that_is_none(cli, video, command, options, message):
    question = ["What?"] if command == "ask" else []
    outcome = cli(command, video, *question, "--model", "small", *options)
    assert outcome.code == 2 and outcome.out == ""
    assert message in outcome.err.splitlines()[-1]


@pytest.mark.parametrize("quiet", [(), ("--quiet",)])
def test_the_small_model_says_what_it_knows(cli, video, quiet):
    outcome = cli("ask", video, QUESTIONS[0], *SMALL, *quiet)
    assert outcome.code == 0
    assert outcome.err.count("knows drawn shapes") == (0 if quiet else 1)
