"""``intp-video ask`` and ``plan``: answers on stdout, talk on stderr, nonsense refused."""

import json
import shutil
import signal

import intp_video
import pytest
from intp_video.models import FAMILIES
from video.make_videos import write_video

UNKNOWN_TYPE = f"'llama' is not known; known: {', '.join(sorted(FAMILIES))}"

STAGES = ["start", "decode", "load", "prepare", "encode", "prefill", "generate"]


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory):
    return intp_video.make_random_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def ask(cli, video, model_dir):
    def run(*arguments, video=video, question="What happens?", model=model_dir):
        return cli("ask", video, question, "--model", model, "--max-new-tokens", 4, *arguments)

    return run


def test_the_answer_is_on_stdout_and_the_rest_on_stderr(ask):
    outcome = ask("--frames", 16)
    assert outcome.code == 0
    assert outcome.out.strip() and outcome.out.count("\n") == 1
    for stage in [*STAGES, "total"]:
        assert f"\n  {stage} " in "\n" + outcome.err
    assert (
        "16 frames in groups of 8 (interleaved), rearranged in features, rope yarn x1.531"
        in outcome.err
    )


def test_quiet_means_quiet(ask):
    assert ask("--frames", 8, "--quiet").err == ""


def test_json_tells_everything(ask):
    result = json.loads(ask("--frames", 13, "--rope", "yarn", "--window", 1, "--json").out)
    assert result["frames"] == 16
    assert result["answer_tokens"] == 4
    assert result["prompt_tokens"] > 16 * 17
    assert result["method"]["rope"] == "yarn" and result["method"]["window"] == 1
    assert [stage["stage"] for stage in result["stages"]] == STAGES


def test_what_was_done_about_too_few_frames_is_said(ask, tmp_path):
    few = write_video(tmp_path / "few.mp4", 3)
    outcome = ask("--frames", 13, video=few)
    assert outcome.code == 0
    assert "note: the video has 3 frames, 16 were asked for: some are repeated" in outcome.err
    assert "note: 13 frames do not fill groups of 8: rounded up to 16" in outcome.err


@pytest.mark.parametrize(
    "options",
    [
        ["--rearrange", "attention"],
        ["--no-fused"],
        ["--no-fused", "--rearrange", "attention"],
    ],
)
def test_every_route_gives_the_same_answer(ask, options):
    assert ask("--frames", 32, *options).out == ask("--frames", 32).out


@pytest.mark.parametrize(
    "options",
    [
        ["--rope", "none"],
        ["--rope", "linear", "--span", "visual"],
        ["--rope", "dynamic_ntk"],
        ["--rope", "yarn", "--factor", "3.5"],
        ["--window", "2", "--sink", "0", "--grouping", "contiguous"],
        ["--dtype", "bfloat16"],
        ["--device", "cpu", "--backend", "pyav"],
    ],
)
def test_every_option_runs(ask, options):
    outcome = ask("--frames", 16, *options)
    assert outcome.code == 0 and outcome.out.strip()


def test_python_gives_the_same_answer_and_leaves_the_model_as_it_was(ask, video, model_dir):
    model, preparer = intp_video.load(model_dir)
    answer = intp_video.ask(model, preparer, video, "What happens?", 16, max_new_tokens=4)
    assert answer.text + "\n" == ask("--frames", 16).out
    assert list(answer.seconds) == [name for name in STAGES if name not in ("start", "load")]
    intp_video.extend(model).restore()  # nothing was left behind


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ask"], "arguments are required: VIDEO, QUESTION, --model"),
        (["ask", "VIDEO", "What?"], "arguments are required: --model"),
        (["ask", "VIDEO", "What?", "--model", "MODEL", "--frames", "0"], "--frames: expected 1 to"),
        (
            ["ask", "VIDEO", "What?", "--model", "MODEL", "--frames", "-8"],
            "--frames: expected 1 to",
        ),
        (["ask", "VIDEO", "What?", "--model", "MODEL", "--frames", "x"], "a whole number, got 'x'"),
        (["ask", "VIDEO", "What?", "--model", "MODEL", "--frames", "9" * 9], "--frames: expected"),
        (
            ["ask", "VIDEO", "What?", "--model", "MODEL", "--rope", "rotary"],
            "--rope: invalid choice",
        ),
        (
            ["ask", "VIDEO", "What?", "--model", "MODEL", "--factor", "nan"],
            "factor: expected a finite",
        ),
        (
            ["ask", "VIDEO", "What?", "--model", "MODEL", "--factor", "0.5"],
            "factor: expected a finite",
        ),
        (["ask", "VIDEO", "What?", "--model", "MODEL", "--factor", "x"], "--factor: invalid float"),
        (["ask", "VIDEO", "What?", "--model", "MODEL", "--span", "visual"], 'needs rope="linear"'),
        (["ask", "VIDEO", "What?", "--model", "MODEL", "--window", "0"], "--window: expected 1 to"),
        (
            ["ask", "VIDEO", "What?", "--model", "MODEL", "--sink", "1"],
            "sink: expected with a window",
        ),
        (
            ["ask", "VIDEO", "What?", "--model", "MODEL", "--max-new-tokens", "0"],
            "--max-new-tokens",
        ),
        (
            ["ask", "VIDEO", "What?", "--model", "MODEL", "--device", "tpu9"],
            "--device: expected cpu",
        ),
        (
            ["ask", "VIDEO", "What?", "--model", "MODEL", "--dtype", "int8"],
            "--dtype: invalid choice",
        ),
        (["ask", "VIDEO", "  ", "--model", "MODEL"], "question: expected some text"),
        (["ask", "missing.mp4", "What?", "--model", "MODEL"], "missing.mp4"),
        (["ask", ".", "What?", "--model", "MODEL"], "it is a directory"),
        (["ask", "text.mp4", "What?", "--model", "MODEL"], "it is a text file"),
        (["ask", "empty.mp4", "What?", "--model", "MODEL"], "the file is empty"),
        (["ask", "VIDEO", "What?", "--model", "."], "no config.json there"),
        (["ask", "VIDEO", "What?", "--model", "text.mp4"], "it is a file, expected a folder"),
        (
            ["ask", "VIDEO", "What?", "--model", "nobody/nothing"],
            "no such folder, and HF_HUB_OFFLINE forbids to ask the hub",
        ),
        (["ask", "VIDEO", "What?", "--model", "llama"], UNKNOWN_TYPE),
        (["ask", "VIDEO", "What?", "--model", "no-weights"], "no weights"),
        (["ask", "VIDEO", "What?", "--model", "broken-weights"], "no weights"),
        (["ask", "VIDEO", "What?", "--model", "broken-config"], "not a valid JSON file"),
        (["plan"], "arguments are required: --model"),
        (["plan", "--model", "MODEL", "--frames", "0"], "--frames: expected 1 to"),
        (["plan", "--model", "."], "no config.json there"),
        (["plan", "--model", "llama"], UNKNOWN_TYPE),
        (["demo", "--out", "text.mp4"], "File exists: 'text.mp4'"),
        (
            ["demo", "--out", "out", "--model", "nobody/nothing"],
            "no such folder, and HF_HUB_OFFLINE forbids to ask the hub",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    cli, video, model_dir, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "text.mp4").write_text("no video at all\n" * 50)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "llama").mkdir()
    (tmp_path / "llama" / "config.json").write_text('{"model_type": "llama"}')
    for name in ("no-weights", "broken-weights", "broken-config"):
        shutil.copytree(model_dir, tmp_path / name)
    (tmp_path / "no-weights" / "model.safetensors").unlink()
    (tmp_path / "broken-weights" / "model.safetensors").write_bytes(b"not safe at all")
    (tmp_path / "broken-config" / "config.json").write_text("{")
    names = {"VIDEO": video, "MODEL": model_dir}
    outcome = cli(*(names.get(argument, argument) for argument in arguments))
    assert outcome.code == 2
    assert outcome.out == ""
    last = outcome.err.splitlines()[-1]
    assert last.startswith("intp-video: error: ") and message in last
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("stage", STAGES)
def test_interrupted_in_any_stage(ask, monkeypatch, stage):
    """Ctrl-C: one line, exit code 130, no answer."""

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    if stage == "start":
        monkeypatch.setattr("intp_video.checkpoint.Checkpoint.check_options", interrupt)
    elif stage == "load":
        monkeypatch.setattr("intp_video.checkpoint.Checkpoint.model", interrupt)
    elif stage == "decode":
        monkeypatch.setattr("intp_video.cli.ask.read_video", interrupt)
    else:
        from intp_video.generation import StageClock

        begin = StageClock.begin
        monkeypatch.setattr(
            StageClock,
            "begin",
            lambda self, name: interrupt() if name == stage else begin(self, name),
        )
    outcome = ask("--frames", 8)
    assert outcome.code == 130 and outcome.out == ""
    assert outcome.err.splitlines()[-1] == "intp-video: interrupted"


def test_a_real_ctrl_c_while_generating(cli_process, video, model_dir):
    prelude = """
import sys
import intp_video.generation as generation
call = generation._Count.__call__
def slowly(self, *args, **kwargs):
    import time
    print("generating", file=sys.stderr, flush=True)
    time.sleep(0.05)
    return call(self, *args, **kwargs)
generation._Count.__call__ = slowly
"""
    process = cli_process(
        *("ask", video, "What?", "--model", model_dir, "--max-new-tokens", 5000),
        prelude=prelude,
    )
    for line in process.stderr:
        if line == "generating\n":
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == "" and err.splitlines()[-1] == "intp-video: interrupted"


def test_a_full_disk_under_stdout(cli_process, video, model_dir):
    with open("/dev/full", "w") as full:
        process = cli_process("ask", video, "What?", "--model", model_dir, "--quiet", stdout=full)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert err == "intp-video: error: [Errno 28] No space left on device\n"


def test_plan_needs_no_weights(cli, model_dir, tmp_path):
    shutil.copytree(model_dir, tmp_path / "config-only")
    (tmp_path / "config-only" / "model.safetensors").unlink()
    outcome = cli("plan", "--model", "config-only", "--frames", 60, "--json")
    result = json.loads(outcome.out)
    assert result["frames"] == 64 and result["visual_tokens"] == 64 * 17
    assert result["factor"] == pytest.approx((64 * 17 + 120) / 256)
    table = cli("plan", "--model", "config-only", "--frames", 64).out
    assert "64 in 8 groups of 8" in table and "KV cache" in table
