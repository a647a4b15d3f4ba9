"""From a file into a file, over runs that end in any way."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from intp_video.batch.file import answer_file
from intp_video.batch.worker import Work
from intp_video.errors import ModelError

SETTINGS = {"weights": "abc", "frames": 8}


@pytest.fixture
def run(scripted, tmp_path):
    def run(source, settings=SETTINGS, **options):
        out = tmp_path / "out.jsonl"
        counts = answer_file(source, out, [Work(scripted)] * 2, settings, **options)
        return counts, [json.loads(line) for line in out.read_text().splitlines()]

    return run


def row(name, video="a.mp4", **more):
    return {"id": name, "video": video, "question": "What?", **more}


def test_rows_come_out_as_they_went_in(run, write_rows):
    source = write_rows(
        row("a", answer="red", tags=["x", None]),
        "",
        {"video": "b.mp4", "questions": ["Who?"]},
        row("ü \u2028 世界"),
        row(7, video="damaged"),
    )
    counts, found = run(source)
    assert (counts.rows, counts.done, counts.errors) == (4, 4, 1)
    by_id = {found["id"]: found for found in found}
    assert {*by_id} == {"a", 3, "ü \u2028 世界", 7}  # 3: the number of a line without an id
    first = by_id["a"]
    assert first | {"prediction": None} == row(
        "a", answer="red", tags=["x", None], prediction=None, error=None, note=None
    )
    assert by_id[7]["error"] == "no video"


def test_a_second_run_has_nothing_to_do(run, write_rows, scripted):
    source = write_rows(row(1), row(2, video="damaged"))
    counts, found = run(source)
    assert run(source) == (counts, found)
    assert scripted.times("1") == scripted.times("2") == 1


def test_it_goes_on_with_rows_that_are_new(run, write_rows, scripted):
    run(write_rows(row(1)))
    counts, found = run(write_rows(row(1), row(2)))
    assert (counts.rows, counts.done) == (2, 2) and [r["id"] for r in found] == [1, 2]
    counts, found = run(write_rows(row(3), name="other.jsonl"))
    assert (counts.rows, counts.done) == (1, 1) and [r["id"] for r in found] == [1, 2, 3]
    assert all(scripted.times(name) == 1 for name in "123")


@pytest.mark.parametrize(
    "damage", [b'{"id": 2, "vid', b"\0\0\0", b"[1]\n", b"\xff\n", b'{"video": "a.mp4"}\n']
)
def test_a_damaged_line_goes_and_its_row_is_answered_again(run, write_rows, tmp_path, damage):
    source = write_rows(row(1), row(2))
    run(source)
    out = tmp_path / "out.jsonl"
    first = out.read_bytes().splitlines(keepends=True)[0]
    out.write_bytes(first + damage)
    name = {1, 2} - {json.loads(first)["id"]}
    _, found = run(source)
    assert out.read_bytes().startswith(first)
    assert len(found) == 2 and {found[1]["id"]} == name


def test_a_line_without_its_end_is_whole(run, write_rows, tmp_path):
    run(write_rows(row(1)))
    out = tmp_path / "out.jsonl"
    out.write_bytes(out.read_bytes()[:-1])
    _, found = run(write_rows(row(1), row(2)))
    assert [r["id"] for r in found] == [1, 2]


def test_a_full_disk_is_named_and_costs_the_line_it_cut(run, write_rows, tmp_path, monkeypatch):
    source = write_rows(row(1), row(2), row(3))
    write = os.write

    def full(file, data):
        if len(data) < 30:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data[:30])

    with monkeypatch.context() as patch:
        patch.setattr("intp_video.records.lines.os.write", full)
        with pytest.raises(OSError, match=r"cannot write '.*out\.jsonl': No space left on device"):
            run(source)
    assert b"\n" not in (tmp_path / "out.jsonl").read_bytes()
    assert sorted(r["id"] for r in run(source)[1]) == [1, 2, 3]


def test_errors_are_tried_again_when_asked_for(run, write_rows, scripted):
    source = write_rows(row(1), row(2, video="damaged"))
    run(source)
    run(write_rows(row(3, video="damaged"), name="other.jsonl"))
    counts, found = run(source, retry_errors=True)
    assert (counts.rows, counts.done, counts.errors) == (2, 2, 1)
    assert [r["id"] for r in found] == [1, 3, 2]  # that of the other file stays
    assert [scripted.times(name) for name in "123"] == [1, 2, 1]


def test_answers_of_another_run_are_not_mixed_in(run, write_rows, tmp_path):
    source = write_rows(row(1))
    run(source)
    before = (tmp_path / "out.jsonl").read_bytes()
    with pytest.raises(ModelError, match=r"holds the answers .*\(other frames, weights\)"):
        run(source, {"weights": "def", "frames": 16})
    (tmp_path / "out.jsonl.settings.json").unlink()
    with pytest.raises(ModelError, match=r"without the out\.jsonl\.settings\.json"):
        run(source)
    assert (tmp_path / "out.jsonl").read_bytes() == before


def test_settings_of_a_run_that_said_nothing_do_not_count(run, write_rows, tmp_path):
    (tmp_path / "out.jsonl.settings.json").write_text('{"frames": 1}')
    assert run(write_rows(row(1)))[0].done == 1
    assert json.loads((tmp_path / "out.jsonl.settings.json").read_text()) == SETTINGS


@pytest.mark.parametrize("other", [row(1, video="b.mp4"), row(1) | {"question": "Why?"}])
def test_another_question_under_the_same_id_is_refused(run, write_rows, other):
    run(write_rows(row(1)))
    with pytest.raises(ModelError, match="something else, or about another video, under the id 1"):
        run(write_rows(other))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((row(1), "{"), "line 2: not JSON"),
        (("[1]",), "line 1: expected an object, got list"),
        ((row(1), "", row(1)), "line 3: id 1 stands in an earlier line"),
        ((row([1]),), r"line 1: id: expected text or a whole number, got \[1\]"),
        ((row(None),), "line 1: id: expected text or a whole number, got None"),
        (('{"x": ' + "[" * 100 + "]" * 100 + "}",), "line 1: expected at most 100 lists"),
        ((row(1), "[" * 9999), "line 2: expected at most 100 lists"),
        ((), "no row in it"),
    ],
)
def test_a_file_that_holds_no_rows_is_refused_before_anything_is_done(
    run, write_rows, tmp_path, lines, message
):
    with pytest.raises(ValueError, match=message):
        run(write_rows(*lines))
    assert not (tmp_path / "out.jsonl").exists()


def test_the_questions_are_not_written_over(run, write_rows, tmp_path):
    source = write_rows(row(1))
    os.symlink(source, tmp_path / "out.jsonl")
    with pytest.raises(ValueError, match="is the file of the questions"):
        run(source)


@pytest.mark.parametrize("what", ["/dev/full", "/dev/stdout", "pipe"])
def test_a_file_that_cannot_be_read_again_is_refused(scripted, write_rows, tmp_path, what):
    path = tmp_path / what
    if what == "pipe":
        os.mkfifo(path)
    elif what == "/dev/stdout":
        ours, theirs = os.pipe()
        path = Path(f"/dev/fd/{theirs}")
    for source, out in ((write_rows(row(1)), path), (path, tmp_path / "out.jsonl")):
        with pytest.raises(ValueError, match="expected a regular file, which can be read again"):
            answer_file(source, out, [Work(scripted)], SETTINGS)
    if what == "/dev/stdout":
        os.close(ours)
        os.close(theirs)


def test_one_run_at_a_time(run, write_rows, tmp_path):
    source = write_rows(row(1))
    taken = tmp_path / "elsewhere"
    taken.symlink_to(tmp_path)
    out = tmp_path / "out.jsonl"
    program = (
        "import sys; from pathlib import Path; from intp_video.records.files import locked\n"
        "with locked(Path(sys.argv[1]), Path('x'), 'batch', 'file'): print('held', flush=True);"
        " sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, taken / ".out.jsonl.lock"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(ModelError, match=rf"{out} is in use by another run \(process {holder.pid}"):
        run(source)
    holder.communicate(b"")
    assert run(source)[0].done == 1


def test_progress_counts_what_was_there(run, write_rows):
    source = write_rows(row(1), row(2, video="damaged"))
    run(source)
    seen = []
    run(write_rows(row(1), row(2, video="damaged"), row(3)), progress=seen.append)
    assert [(counts.rows, counts.done, counts.errors) for counts in seen] == [(3, 2, 1), (3, 3, 1)]


def test_rows_about_one_video_go_to_one_worker(run, write_rows):
    rows = [row(number, video=f"{number // 5}.mp4") for number in range(20)]
    _, found = run(write_rows(*rows))
    by_video = {}
    for each in found:
        by_video.setdefault(each["video"], set()).add(each["prediction"])
    assert len(found) == 20 and all(len(workers) == 1 for workers in by_video.values())
