"""The model of examples/vlmevalkit.py, asked as VLMEvalKit asks."""

import runpy
import types
from pathlib import Path

import intp_video
import pytest
from video.make_videos import write_video

EXAMPLE = Path(__file__).parents[2] / "examples" / "vlmevalkit.py"
QUESTION = "was there a bar?"

try:
    import vlmeval.vlm.base  # noqa: F401
except (ImportError, RuntimeError, OSError) as error:  # it imports torchvision and much else
    pytest.skip(f"vlmeval cannot be imported: {error}", allow_module_level=True)


@pytest.fixture(scope="module")
def model():
    made = runpy.run_path(str(EXAMPLE))["IntpVideo"]
    return made(str(intp_video.SMALL_MODEL), frames=8, kv_bits=8, device="cpu")


def test_a_message(model, tmp_path):
    video = str(write_video(tmp_path / "a.mp4", 10))
    ours, preparer = intp_video.load(intp_video.SMALL_MODEL, device="cpu")
    expected = intp_video.ask(ours, preparer, video, QUESTION, 8, kv_bits=8).text
    parts = [{"type": "video", "value": video}, {"type": "text", "value": QUESTION}]
    assert model.generate(parts, dataset="shapes") == expected


def test_the_loop_of_the_kit(model, tmp_path):
    """``infer_data`` over two questions about one video."""
    pandas = pytest.importorskip("pandas")
    inference = pytest.importorskip("vlmeval.inference_video")
    video = str(write_video(tmp_path / "a.mp4", 10))
    parts = [{"type": "video", "value": video}, {"type": "text", "value": QUESTION}]
    dataset = types.SimpleNamespace(
        dataset_name="mine",
        nframe=8,
        fps=-1,
        data=pandas.DataFrame({"index": [4, 7]}),
        build_prompt=lambda row, video_llm: parts if video_llm else None,
    )
    written = str(tmp_path / "said.pkl")
    inference.infer_data(model, "intp_video", str(tmp_path), dataset, written)
    said = pandas.read_pickle(written)
    assert said == dict.fromkeys((4, 7), model.generate(parts))


def test_what_it_cannot_be_asked(model):
    with pytest.raises(ValueError, match="expected one video, got 0"):
        model.generate([{"type": "text", "value": QUESTION}])
    with pytest.raises(ValueError, match="expected a data set of 8 frames, got one of 16"):
        model.nframe = 16
