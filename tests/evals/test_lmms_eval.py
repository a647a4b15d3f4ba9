"""The class and the manifest in lmms-eval itself; ``run_lmms_eval.py`` runs its command."""

import types

import intp_video
import pytest
from video.make_videos import write_video

try:
    from lmms_eval.models import get_model
except (ImportError, RuntimeError, OSError) as error:  # it imports torchvision
    pytest.skip(f"lmms_eval cannot be imported: {error}", allow_module_level=True)

QUESTION = "was there a bar?"


@pytest.mark.parametrize("simple", [False, True])
def test_a_question(tmp_path, simple):
    video = str(write_video(tmp_path / "a.mp4", 10))
    made = get_model("intp_video", force_simple=simple)
    model = made.create_from_arg_string(
        f"pretrained={intp_video.SMALL_MODEL},frames=8,kv_bits=8,device=cpu", {"batch_size": 1}
    )
    assert model.is_simple is simple
    model.task_dict = {"task": {"test": [{"video": video}]}}
    content = [{"type": "video", "url": video}, {"type": "text", "text": QUESTION}]
    if simple:
        arguments = (QUESTION, {}, lambda document: [document["video"]], 0, "task", "test")
    else:
        messages = [{"role": "user", "content": content}]
        arguments = (QUESTION, lambda document, **_: messages, {}, 0, "task", "test")
    request = types.SimpleNamespace(args=arguments)
    ours, preparer = intp_video.load(intp_video.SMALL_MODEL, device="cpu")
    expected = intp_video.ask(ours, preparer, video, QUESTION, 8, kv_bits=8).text
    assert model.generate_until([request, request]) == [expected, expected]
    if not simple:
        assert model.generate_until_multi_round([request]) == [[expected]]
    model.clean()


def test_losses_of_answers(tmp_path):
    """``--force_simple`` with a task of multiple choice: the smallest is the best."""
    video = str(write_video(tmp_path / "a.mp4", 10))
    model = get_model("intp_video", force_simple=True)(intp_video.SMALL_MODEL, frames=8)
    model.task_dict = {"task": {"test": [{"video": video}]}}

    def request(*wanted):
        arguments = (QUESTION, *wanted, lambda document: [document["video"]], 0, "task", "test")
        return types.SimpleNamespace(args=arguments)

    said = model.generate_until([request({})])[0]
    losses = dict(
        zip(("yes", "no"), model.loglikelihood([request(" yes"), request(" no")]), strict=True)
    )
    assert min(losses, key=losses.get) == said and losses[said][1] and losses[said][0] > 0


def test_a_batch_is_one():
    with pytest.raises(ValueError, match="batch_size: expected 1, got 4"):
        get_model("intp_video")(str(intp_video.SMALL_MODEL), batch_size=4)
