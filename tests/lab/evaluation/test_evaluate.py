"""Runs: interrupted, damaged, repeated; and the reports they end in."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import intp_video
import pytest
import torch
from intp_video.errors import ModelError
from intp_video.lab.evaluation import (
    Arm,
    VideoQuestion,
    evaluate,
    summarize,
    weights_digest,
    write_report,
)
from intp_video.lab.evaluation.run import Prediction, prompt_of, read_predictions
from intp_video.lab.model_directory import EOS
from intp_video.lab.training.recipe import untrained_model, write_directory
from video.make_videos import write_video

ARMS = [Arm("stock", 8), Arm("stock", 16), Arm("intp", 16, "ntk")]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    model = untrained_model(seed=0)
    model.lm_head.weight.data[EOS] = 0  # never ends early
    directory = tmp_path_factory.mktemp("model")
    write_directory(directory, model)
    return directory


@pytest.fixture(scope="module")
def loaded(model_dir):
    return intp_video.load(model_dir)


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    found = []
    for name in ("a.mp4", "b.mp4"):
        path = write_video(folder / name, 20)
        for text in ("how many shapes were there?", "was there a bar?"):
            found.append(VideoQuestion(f"{name}{text}", str(path), text, "2", ("2", "no")))
    return found


def run(loaded, questions, directory, arms=ARMS, **options):
    return evaluate(*loaded, questions, arms, directory, max_new_tokens=2, **options)


def test_answers_are_those_of_generate(loaded, questions, tmp_path):
    """Encoding once and making the prompts apart changes no answer."""
    model, preparer = loaded
    said = {(p.id, p.arm): p.said for p in run(loaded, questions, tmp_path)}
    assert len(said) == len(questions) * len(ARMS)
    for question in questions:
        answer = intp_video.ask(
            model, preparer, question.video, question.question, 16, rope="ntk", max_new_tokens=2
        )
        assert said[question.id, "intp-16-ntk"] == answer.text
        inputs = intp_video.prepare(preparer, question.video, question.question, 16)
        ids = model.generate(**inputs, max_new_tokens=2, do_sample=False)
        text = preparer.tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :])
        assert said[question.id, "stock-16"] == text


def test_an_interrupted_run_goes_on(loaded, questions, tmp_path):
    calls = []

    def stop(done, total, what):
        calls.append((done, total))
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(loaded, questions, tmp_path, progress=stop)
    kept = read_predictions(tmp_path)
    assert 0 < len(kept) < len(questions) * len(ARMS)
    with open(tmp_path / "predictions.jsonl", "a") as file:
        file.write('{"id": "cut sho')  # a crash while writing
    calls = []
    whole = run(loaded, questions, tmp_path, progress=lambda *now: calls.append(now))
    assert calls[0][0] == len(kept) and calls[-1][:2] == (12, 12)
    assert {(p.id, p.arm) for p in whole} >= kept.keys() and len(whole) == 12
    asked_again = []
    assert run(loaded, questions, tmp_path, progress=lambda *n: asked_again.append(n)) == whole
    assert len(asked_again) == 1
    more = run(loaded, questions, tmp_path, arms=[*ARMS, Arm("contiguous", 16, "ntk")])
    assert len(more) == 16


def test_the_digest_of_weights_changes_with_any_of_them(loaded):
    model, _ = loaded
    before = weights_digest(model)
    assert weights_digest(model) == before
    for weight in (next(model.parameters()), list(model.parameters())[-1]):
        kept = weight.detach().clone()
        with torch.no_grad():
            weight.flatten()[-1] += 0.01
        assert weights_digest(model) != before
        weight.data.copy_(kept)
    assert weights_digest(model) == before


def test_other_questions_or_settings_are_not_mixed_in(loaded, questions, tmp_path):
    run(loaded, questions[:1], tmp_path, arms=ARMS[:1], settings={"model": "a"})
    with pytest.raises(ModelError, match=r"another run \(other model\); give another directory"):
        run(loaded, questions[:1], tmp_path, arms=ARMS[:1], settings={"model": "b"})
    with pytest.raises(ModelError, match="other questions"):
        run(loaded, questions[:2], tmp_path, arms=ARMS[:1], settings={"model": "a"})


def test_a_broken_video_costs_only_its_own_answers(loaded, questions, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"\0" * 500)
    asked = [*questions, VideoQuestion("broken", str(broken), "what?", "x")]
    found = run(loaded, asked, tmp_path / "out")
    failed = [p for p in found if p.said is None]
    assert len(found) == 15 and {p.id for p in failed} == {"broken"} and len(failed) == 3
    assert all("broken.mp4" in p.error for p in failed)
    summary = summarize(asked, ARMS, found)
    assert len(summary["failures"]) == 3
    assert [row["accuracy"]["questions"] for row in summary["arms"]] == [4, 4, 4]
    write_video(broken, 9)  # mended: only what failed is asked again
    again = []
    found = run(loaded, asked, tmp_path / "out", progress=lambda *now: again.append(now))
    assert [now[2] for now in again] == [*(f"broken.mp4 {arm.name}" for arm in ARMS), ""]
    assert all(p.said is not None for p in found)


def test_a_run_goes_on_wherever_its_files_have_moved(model_dir, questions, tmp_path):
    """Questions, videos, model and folder are known by what they hold."""
    first = tmp_path / "first"
    (first / "videos").mkdir(parents=True)
    shutil.copytree(model_dir, first / "model")
    asked = [_with_video_in(first / "videos", question) for question in questions]
    whole = run(intp_video.load(first / "model"), asked, first / "out")
    moved = first.rename(tmp_path / "moved")
    asked = [_with_video_in(moved / "videos", question) for question in asked]
    again = []
    loaded = intp_video.load(moved / "model")
    found = run(loaded, asked, moved / "out", progress=lambda *now: again.append(now))
    assert found == whole and len(again) == 1
    write_video(moved / "videos" / "a.mp4", 21)
    with pytest.raises(ModelError, match=r"about another a\.mp4"):
        run(loaded, asked, moved / "out")


def _with_video_in(folder, question):
    path = folder / Path(question.video).name
    if not path.exists():
        shutil.copy(question.video, path)
    return replace(question, video=str(path))


@pytest.mark.parametrize("what", ["config", "generation_config", "frame_processor", "tokenizer"])
def test_another_model_of_the_same_weights_is_another_model(model_dir, questions, tmp_path, what):
    model, preparer = intp_video.load(model_dir)
    run((model, preparer), questions[:1], tmp_path, arms=ARMS[:1])
    run(intp_video.load(model_dir), questions[:1], tmp_path, arms=ARMS[:1])
    named = {"frame_processor": "preprocessing", "tokenizer": "questions"}.get(what, "config")
    if what == "config":
        model.config.text_config.rms_norm_eps *= 2
    elif what == "generation_config":
        model.generation_config.repetition_penalty = 1.5
    elif what == "frame_processor":
        other = replace(preparer.frame_processor, mean=(0,) * 3)
        preparer = replace(preparer, processing=replace(preparer.processing, frame_processor=other))
    else:
        preparer.tokenizer.add_tokens(["how many"])
    with pytest.raises(ModelError, match=rf"another run \(other {named}\)"):
        run((model, preparer), questions[:1], tmp_path, arms=ARMS[:1])


def test_nobody_else_may_ask_into_the_folder_meanwhile(loaded, questions, tmp_path):
    def ask_too(done, total, what):
        if not what:  # the end
            return
        with ThreadPoolExecutor(1) as pool, pytest.raises(ModelError, match="in use by another"):
            pool.submit(run, loaded, questions, tmp_path).result()

    found = run(loaded, questions, tmp_path, progress=ask_too)
    lines = (tmp_path / "predictions.jsonl").read_text().splitlines()
    assert len(found) == len(lines) == len(questions) * len(ARMS)


def test_a_question_that_cannot_be_asked_is_told_before_any_is(loaded, questions, tmp_path):
    asked = [*questions, VideoQuestion("odd", questions[0].video, "was there a <pad>?", "no")]
    with pytest.raises(ValueError, match=r"question 'odd': .* got '<pad>', a special token"):
        run(loaded, asked, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    asked[-1] = replace(asked[0], id="odd", options=("yes", "</s>"))
    run(loaded, asked, tmp_path / "out", arms=ARMS[:1])
    with pytest.raises(ValueError, match=r"question 'odd': .* got '</s>'"):
        run(loaded, asked, tmp_path / "shown", show_options=True)


def made_up():
    """Two videos, two kinds; stock right on a third of them, INTP on all but one."""
    questions = [
        VideoQuestion(f"{v}{k}", v, "q", "yes", ("yes", "no"), k, {"8": 0.25, "16": 1.0})
        for v in ("a", "b", "c")
        for k in ("x", "y")
    ]
    right = {"stock-8": {"ax", "ay"}, "stock-16": {"ax"}}
    right["intp-16-ntk"] = {q.id for q in questions} - {"cy"}
    predictions = [
        Prediction(q.id, arm.name, "Yes." if q.id in right[arm.name] else "no")
        for q in questions
        for arm in ARMS
    ]
    return questions, predictions


def test_summary():
    questions, predictions = made_up()
    summary = summarize(questions, ARMS, predictions, about={"model": "m"})
    stock8, stock16, intp = summary["arms"]
    assert (summary["questions"], summary["videos"], summary["baseline"]) == (6, 3, "stock-8")
    assert summary["guess"] == {"x": 0.5, "y": 0.5, "all": 0.5}
    assert stock8["accuracy"]["mean"] == pytest.approx(2 / 6) and "over_baseline" not in stock8
    assert (stock8["observer"], intp["observer"]) == (0.25, 1.0)
    assert intp["over_baseline"]["arm"] == "stock-8"
    assert intp["over_baseline"]["mean"] == pytest.approx(3 / 6)
    assert intp["over_baseline"]["kinds"]["y"]["mean"] == pytest.approx(1 / 3)
    assert stock16["over_intp"]["arm"] == "intp-16-ntk"
    assert stock16["over_intp"]["mean"] == pytest.approx(-4 / 6)
    assert stock16["over_fewer"]["arm"] == "stock-8" and "over_fewer" not in intp
    assert intp["kinds"]["y"]["mean"] == pytest.approx(2 / 3)


def test_packed_arms_are_compared_with_16_bits(tmp_path):
    questions, predictions = made_up()
    arms = [Arm("stock", 8), *(Arm("intp", 16, "ntk", None, bits) for bits in (None, 16, 4))]
    said = [Prediction(q.id, arm.name, "yes") for q in questions for arm in arms[1:3]]
    said += [
        Prediction(q.id, "intp-16-ntk-kv4", "yes" if q.kind == "x" else "no") for q in questions
    ]
    said += [p for p in predictions if p.arm == "stock-8"]
    summary = summarize(questions, arms, said)
    stock, own, exact, packed = summary["arms"]
    assert not any("over_unpacked" in row for row in (stock, own, exact))
    assert packed["over_unpacked"]["arm"] == "intp-16-ntk"
    assert packed["over_unpacked"]["mean"] == -0.5 and "over_fewer" not in packed
    write_report(tmp_path, summary, questions, said)
    rows = (tmp_path / "table.md").read_text().splitlines()
    assert rows[0].endswith("| over 16 bits |") and "| -50.0 [" in rows[5]
    assert "intp ntk 4 bits" in (tmp_path / "accuracy.svg").read_text()


def test_report_files(tmp_path):
    questions, predictions = made_up()
    summary = summarize(questions, ARMS, predictions)
    paths = write_report(tmp_path, summary, questions, predictions)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    table = (tmp_path / "table.md").read_text()
    rows = [line.split("|") for line in table.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(ARMS) and len({len(row) for row in rows}) == 1
    assert "| intp | 16 | ntk |  | 83.3 [" in table and "| +50.0 [" in table
    assert "Guessing: x 50.0, y 50.0, all 50.0." in table
    picture = (tmp_path / "accuracy.svg").read_text()
    assert picture.startswith("<svg") and picture.count("<circle") == len(ARMS)
    lines = (tmp_path / "judge" / "intp-16-ntk.jsonl").read_text().splitlines()
    judged = [json.loads(line) for line in lines]
    assert judged[0] == {"id": "ax", "question": "q", "answer": "yes", "pred": "Yes."}
    assert len(judged) == 6 and all(path.exists() for path in paths)


def test_options_in_the_prompt():
    question = VideoQuestion("1", "v", "What?", "b", ("a", "b"))
    assert prompt_of(question, False) == "What?"
    told = "What?\nA. a\nB. b\nAnswer with the letter of the right option."
    assert prompt_of(question, True) == told
