"""The paper's evaluation: commands that are understood, and results beside what was published."""

import argparse
import json
import shlex

import pytest
from intp_video.cli.eval import add_arguments
from intp_video.lab.reproduce_paper.__main__ import main
from intp_video.lab.reproduce_paper.commands import evaluation, script
from intp_video.lab.reproduce_paper.published import BENCHMARKS
from intp_video.lab.reproduce_paper.results import read_results
from intp_video.lab.reproduce_paper.table import NOT_RUN, table


def arm(method, frames, right):
    return {
        "arm": f"{method}-{frames}" + ("-ntk" if method == "intp" else ""),
        "method": method,
        "frames": frames,
        "accuracy": {"mean": right},
    }


@pytest.fixture
def results(tmp_path):
    """Of an open set that is judged, one that is not judged yet, and one with options."""
    arms = [arm("stock", 8, 0.25), arm("intp", 32, 0.375), arm("intp", 64, 0.5)]
    for name in ("msvd", "msrvtt", "nextqa"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "summary.json").write_text(json.dumps({"arms": arms}))
    judged = {"stock-8": 70.0, "intp-32-ntk": 71.5, "another": 3}
    (tmp_path / "msvd" / "judged.json").write_text(json.dumps(judged))
    return tmp_path


def row(text, title):
    line = next(line for line in text.splitlines() if line.startswith(f"| {title} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_the_commands_are_understood(tmp_path, capsys):
    parser = argparse.ArgumentParser()
    add_arguments(parser.add_subparsers())
    for benchmark in BENCHMARKS:
        program, *arguments = evaluation(benchmark, str(tmp_path))
        args = parser.parse_args(arguments)
        assert program == "intp-video" and args.questions == f"questions/{benchmark.name}.jsonl"
        assert args.frames == [8, 16, 32, 64] and args.ropes == ["ntk"]
        assert args.show_options is not benchmark.judge
    written = [shlex.split(line) for line in script(model="DIR").splitlines()]
    assert evaluation(BENCHMARKS[0], "DIR") in written


def test_nothing_has_been_run(tmp_path, capsys):
    assert main([str(tmp_path / "paper"), "--model", "DIR"]) == 0
    text = (tmp_path / "paper" / "table.md").read_text()
    assert NOT_RUN in text and capsys.readouterr().out == text
    assert row(text, "MSVD-QA") == ["70.7", "72.0", "+1.3"] + [""] * 6
    assert row(text, "EgoSchema") == ["", "", "+1.6"] + [""] * 6
    assert "Nothing of this has been run" in (tmp_path / "paper" / "run.sh").read_text()


def test_results_stand_beside_what_was_published(results, tmp_path, capsys):
    assert main([str(tmp_path / "paper"), "--json", str(results)]) == 0
    text = capsys.readouterr().out
    assert NOT_RUN not in text
    assert row(text, "MSVD-QA")[3:] == ["70.0", "", "", "71.5", "", "+1.5"]
    assert row(text, "MSRVTT-QA")[3:] == [""] * 6  # exact match is no judge
    assert row(text, "NExT-QA")[3:] == ["25.0", "", "", "37.5", "50.0", "+12.5"]
    assert not (tmp_path / "paper" / "run.sh").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [("no", "not JSON"), ("[]", "expected an object, got list"), ("{}", "with 'arms'")],
)
def test_other_files_are_refused(results, capsys, text, told):
    (results / "nextqa" / "summary.json").write_text(text)
    with pytest.raises(ValueError, match=f"summary.json: .*{told}"):
        read_results(results)
    assert main([str(results), "--json", str(results)]) == 1
    assert told in capsys.readouterr().err


def test_no_folder_of_results(tmp_path, capsys):
    assert main([str(tmp_path), "--json", str(tmp_path / "nothing")]) == 1
    assert "expected the folder of the results" in capsys.readouterr().err


def test_a_table_names_its_source():
    assert "arXiv 2409.12963" in table({})
