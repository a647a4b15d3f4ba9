"""The motion task's figures: motion is taken away as they say, and they are of the model there."""

import json
from pathlib import Path

import eval_motion
import intp_video
import numpy as np
from intp_video.lab.evaluation import weights_digest
from intp_video.lab.motion import write_questions
from intp_video.lab.training.motion.recipe import untrained_model, write_directory

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "motion"


def test_motion_is_taken_away():
    rng = np.random.default_rng(0)
    assert eval_motion.ABLATIONS["as it is"](rng).tolist() == list(range(8))
    shuffled = eval_motion.ABLATIONS["frames shuffled"](rng).tolist()
    assert sorted(shuffled) == list(range(8)) != shuffled
    one = eval_motion.ABLATIONS["one frame, repeated"](rng)
    assert len(one) == 8 and len(set(one.tolist())) == 1


def test_ablations_ask_every_question_of_every_kind(tmp_path):
    write_directory(tmp_path / "model", untrained_model(0))
    questions = write_questions(tmp_path / "videos", range(2), 1 / 2)
    found = eval_motion.ablations(str(tmp_path / "model"), questions)
    assert found["ablations"].keys() == eval_motion.ABLATIONS.keys()
    for kinds in found["ablations"].values():
        asked = {kind: row["questions"] for kind, row in kinds.items()}
        assert asked == {"all": 8, "direction": 4, "speed": 2, "order": 2}
        assert all(row["videos"] == 2 for row in kinds.values())


def test_results_are_those_of_the_weights_beside_them():
    model, _ = intp_video.load(eval_motion.MODEL)
    for path in RESULTS.glob("*.json"):
        assert json.loads(path.read_text())["about"]["weights"] == weights_digest(model), path.name
