"""Each family's frames and text become what transformers' own processor makes of them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from hf.processing_cases import CHECKPOINTS, CLIPS, MARKUP, QUESTION, TEMPLATE, token_id
from hf.processing_golden import GOLDEN, digest
from hf.with_torchvision import has_torchvision
from hypothesis import given
from hypothesis import strategies as st
from intp_video import ModelError, compat
from intp_video.processing import PROCESSING, ModelFrames, processing_for
from intp_video.processing.number_words import number_words
from intp_video.processing.patches import patchify
from intp_video.processing.sizes import (
    longest_edge_size,
    patch_budget_size,
    smart_size,
    smart_video_size,
)
from intp_video.processing.values import read_chat_template, read_values

BY_TYPE = {checkpoint.model_type: checkpoint for checkpoint in CHECKPOINTS}
ODD, TALL = CLIPS["odd"], CLIPS["tall"]
CLOSE = 1e-6
RELEASE = tuple(map(int, transformers.__version__.split(".")[:2]))

checkpoints = pytest.mark.parametrize(
    "checkpoint", CHECKPOINTS, ids=[checkpoint.model_type for checkpoint in CHECKPOINTS]
)


@pytest.fixture(autouse=True)
def lanczos(request):
    """SmolVLM's filter is not in every torch."""
    parameters = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    checkpoint = parameters.get("checkpoint")
    if checkpoint is None or checkpoint.model_type != "smolvlm":
        return
    pixels = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    try:
        torch.nn.functional.interpolate(pixels, (2, 2), mode="lanczos", antialias=True)
    except NotImplementedError:
        pytest.skip(f"torch {torch.__version__} has no Lanczos filter")


@checkpoints
@pytest.mark.parametrize("clip", CLIPS)
def test_inputs_are_those_that_transformers_made(checkpoint, clip):
    golden = json.loads(GOLDEN.read_text())
    prefix = f"{checkpoint.model_type}/{clip}/"
    theirs = {
        key.removeprefix(prefix): kept for key, kept in golden.items() if key.startswith(prefix)
    }
    if checkpoint.model_type == "gemma4" and not compat.gemma4_counts_frames():
        pytest.skip(f"transformers {transformers.__version__} has frames of videos in another form")
    ours = {name: digest(tensor) for name, tensor in checkpoint.ours(CLIPS[clip]).items()}
    if not compat.takes_token_types():
        theirs.pop("mm_token_type_ids", None)
    assert ours.keys() == theirs.keys()
    for name, kept in theirs.items():
        samples, mean = (kept.pop(part, 0) for part in ("samples", "mean"))
        mine, my_mean = (ours[name].pop(part, 0) for part in ("samples", "mean"))
        assert ours[name] == kept, name
        assert np.abs(np.array(mine) - np.array(samples)).max() <= CLOSE, name
        assert abs(my_mean - mean) <= CLOSE, name


@checkpoints
@pytest.mark.parametrize("clip", CLIPS)
def test_inputs_are_those_that_transformers_makes(checkpoint, clip):
    if not has_torchvision():
        pytest.skip("transformers' video processors need torchvision")
    for name in (checkpoint.processor, checkpoint.video, checkpoint.image):
        if not hasattr(transformers, name):
            pytest.skip(f"transformers {transformers.__version__} has no {name}")
    if checkpoint.model_type == "smolvlm" and RELEASE < (5, 23):
        pytest.skip("older releases take a list of frames, and resize with another filter")
    if checkpoint.model_type == "qwen3_vl" and clip == "odd" and (5,) <= RELEASE < (5, 17):
        pytest.skip("these releases count an odd number of frames differently")
    ours, theirs = checkpoint.ours(CLIPS[clip]), checkpoint.theirs(CLIPS[clip])
    if RELEASE < (5,) or "second_per_grid_ts" not in ours:
        # transformers 4 does not look how far the frames are apart; 5.10 has it for EXAONE 4.5
        for made in (ours, theirs):
            made.pop("second_per_grid_ts", None)
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        assert ours[name].dtype == expected.dtype, name
        torch.testing.assert_close(ours[name], expected, rtol=0, atol=CLOSE, msg=name)


@checkpoints
def test_defaults_are_those_of_transformers(checkpoint):
    if not has_torchvision():
        pytest.skip("transformers' video processors need torchvision")
    if not hasattr(transformers, checkpoint.video):
        pytest.skip(f"transformers {transformers.__version__} has no {checkpoint.video}")
    stock = getattr(transformers, checkpoint.video)()
    for name, value in processing_for(checkpoint.model_type).defaults.items():
        theirs = getattr(stock, name)
        if isinstance(value, dict):
            theirs = {side: theirs[side] for side in value}
        elif isinstance(value, tuple):
            theirs = tuple(theirs)
        assert (theirs or False) == value, name


@checkpoints
def test_placeholders_are_as_many_as_tokens(checkpoint):
    processing = checkpoint.processing
    made = processing.frames(ODD.frames, ODD.times, ODD.duration)
    units = made.units
    assert units.frames_per_unit == processing.frames_per_unit
    assert len(units.tokens) == len(units.seconds) == -(-len(ODD.indices) // units.frames_per_unit)
    ids = checkpoint.ours(ODD)["input_ids"]
    newline = checkpoint.model_type == "llava_onevision"
    assert (ids == token_id(checkpoint.placeholder)).sum() == sum(units.tokens) + newline
    before = processing.units(*ODD.frames.shape[:3], ODD.times, ODD.duration)
    if checkpoint.model_type == "video_llama_3":  # what does not change is seen in the pixels
        assert sum(units.tokens) < sum(before.tokens)
        before = replace(before, tokens=units.tokens)
    assert before == units


@checkpoints
def test_one_frame_is_a_video(checkpoint):
    processing = checkpoint.processing
    made = processing.frames(TALL.frames[:1], [0.0])
    assert made.units.frames == processing.frames_per_unit
    assert all(torch.isfinite(tensor.double()).all() for tensor in made.tensors.values())


@checkpoints
@pytest.mark.parametrize(
    ("frames", "times", "error"),
    [
        (ODD.frames.astype(np.float32), ODD.times, TypeError),
        (ODD.frames[0], ODD.times, ValueError),
        (ODD.frames, ODD.times[1:], ValueError),
    ],
)
def test_frames_and_times_of_the_wrong_kind(checkpoint, frames, times, error):
    with pytest.raises(error, match=r"^\w+: (frames|times): expected"):
        checkpoint.processing.frames(frames, times)


def patches_one_by_one(pixels, patch, merge, temporal):
    """The rows of a grid as a model's encoder wants them, said once more and slowly."""
    frames, _, height, width = pixels.shape
    rows = []
    for t in range(0, frames, temporal):
        for top in range(0, height, patch * merge):
            for left in range(0, width, patch * merge):
                for y in range(top, top + patch * merge, patch):
                    for x in range(left, left + patch * merge, patch):
                        cut = pixels[t : t + temporal, :, y : y + patch, x : x + patch]
                        rows.append(cut.transpose(0, 1).flatten())
    return torch.stack(rows)


@pytest.mark.parametrize(
    ("patch", "merge", "temporal"), [(2, 2, 2), (3, 1, 1), (1, 3, 2), (2, 2, 1)]
)
def test_order_of_rows(patch, merge, temporal):
    shape = (2 * temporal, 3, 2 * patch * merge, 3 * patch * merge)
    pixels = torch.arange(torch.Size(shape).numel()).view(shape)
    assert patchify(pixels, patch, merge, temporal).equal(
        patches_one_by_one(pixels, patch, merge, temporal)
    )


def test_rows_of_long_videos_are_those_of_short_ones():
    """Frames are worked on some at a time."""
    processing = BY_TYPE["qwen2_vl"].processing
    frames = np.random.default_rng(0).integers(0, 256, (37, 30, 50, 3), dtype=np.uint8)
    rows = processing.frames(frames, range(37)).tensors["pixel_values_videos"]
    deep = rows.view(19, -1, rows.shape[-1])
    for unit in (0, 8, 9, 18):
        alone = frames[2 * unit : 2 * unit + 2]
        made = processing.frames(alone, range(len(alone))).tensors["pixel_values_videos"]
        assert deep[unit].equal(made)


def test_sizes():
    """As transformers' processors with their own defaults resize 16 frames of 240 x 320."""
    assert smart_size(240, 320, 28, 128 * 28**2, 768 * 28**2) == (280, 392)
    assert smart_video_size(16, 240, 320, 2, 32, 128 * 32**2, 768 * 32**2) == (192, 256)
    assert smart_video_size(16, 240, 320, 2, 28, 112**2, 28**2 * 60000) == (252, 308)
    assert longest_edge_size(240, 320, 1456) == (1092, 1456)
    assert longest_edge_size(320, 241, 99) == (99, 74)
    assert longest_edge_size(243, 320, 99) == (76, 99)
    assert longest_edge_size(320, 243, 99) == (99, 76)
    assert longest_edge_size(3000, 6000, 9999) == (2048, 4096)
    high, wide = patch_budget_size(240, 320, 16, 630, 3)
    assert (high // 48) * (wide // 48) == 63 and high % 48 == wide % 48 == 0


sides = st.integers(8, 3000)


@given(sides, sides, st.integers(1, 300))
def test_smart_sizes_keep_their_bounds(height, width, frames):
    factor, least, most = 28, 28**2 * 4, 28**2 * 400
    if max(height, width) > 200 * min(height, width):
        with pytest.raises(ValueError, match="200 times the other"):
            smart_size(height, width, factor, least, most)
        return
    high, wide = smart_size(height, width, factor, least, most)
    assert high % factor == wide % factor == 0
    assert high * wide >= least
    assert high * wide <= most or min(high, wide) == factor
    high, wide = smart_video_size(frames, height, width, 2, factor, least, most * 8)
    assert high % factor == wide % factor == 0 and min(high, wide) >= factor


def test_a_budget_below_one_token():
    with pytest.raises(ValueError, match="at least a token's patches"):
        patch_budget_size(40, 40, 16, 8, 3)


TEXTS = {
    "video_llava": "USER: [15]\nWhat happens? ASSISTANT:",
    "qwen2_vl": "<|vision_start|>[4]<|vision_end|>",
    "qwen3_vl": (
        "<0.2 seconds><|vision_start|>[2]<|vision_end|>"
        "<2.7 seconds><|vision_start|>[2]<|vision_end|>"
    ),
    "llava_onevision": "[13]",
    "internvl": "Frame1: <img>[1]</img>\nFrame2: <img>[1]</img>\nFrame3: <img>[1]</img>",
    "smolvlm": (
        "You are provided the following series of three frames from a 0:01:11 [H:MM:SS] video.\n"
        "\nFrame from 00:00:<fake_token_around_image><global-img>[4]<fake_token_around_image>"
        "\nFrame from 00:00:<fake_token_around_image><global-img>[4]<fake_token_around_image>"
        "\nFrame from 00:02:<fake_token_around_image><global-img>[4]<fake_token_around_image>\n\n"
    ),
    "video_llama_3": "Time 0.0s:[2],Time 0.5s:[1],Time 2.7s:[1]",
    "glm4v": "<|begin_of_image|>[2]<|end_of_image|>0<|begin_of_image|>[2]<|end_of_image|>2",
    "glm46v": (
        "<|begin_of_image|>[12]<|end_of_image|>0.0 seconds"
        "<|begin_of_image|>[12]<|end_of_image|>2.7 seconds"
    ),
    "gemma4": "00:00 <boi>[60]<eoi> 00:00 <boi>[60]<eoi> 00:02 <boi>[60]<eoi>",
}


@pytest.mark.parametrize("checkpoint", [BY_TYPE[name] for name in TEXTS], ids=list(TEXTS))
def test_the_text_of_a_video(checkpoint):
    """Three frames; [n] stands for n placeholders."""
    processing = checkpoint.processing
    made = processing.frames(ODD.frames[:3], [0.0, 0.5, 2.7], 71.9)
    tokenizer = checkpoint.tokenizer(checkpoint.template())
    ids, _ = processing.text(made, QUESTION, tokenizer)
    placeholders = re.compile(f"(?:{re.escape(checkpoint.placeholder)})+")
    written = placeholders.sub(
        lambda run: f"[{run[0].count(checkpoint.placeholder)}]", tokenizer.decode(ids[0])
    )
    assert TEXTS[checkpoint.model_type] in written
    assert QUESTION in written


def test_token_types_are_given_to_releases_that_take_them(monkeypatch):
    checkpoint = BY_TYPE["qwen2_5_vl"]
    for version, taken in (("4.57.6", False), ("5.2.0", False), ("5.3.0", True), ("6.0", True)):
        monkeypatch.setattr(compat, "transformers_version", lambda version=version: version)
        made = checkpoint.ours(ODD)
        assert ("mm_token_type_ids" in made) == taken
    assert made["mm_token_type_ids"].equal(2 * (made["input_ids"] == token_id("<|video_pad|>")))


def test_marks_around_a_video_of_stamped_patches_are_taken_off():
    checkpoint = BY_TYPE["qwen3_vl"]
    wrapped = replace(checkpoint, marker="<|vision_start|><|video_pad|><|vision_end|>")
    assert wrapped.ours(ODD)["input_ids"].equal(checkpoint.ours(ODD)["input_ids"])


def test_seconds_of_a_patch():
    """From the duration, or from the times; alone, a frame has none to tell."""
    checkpoint = BY_TYPE["qwen2_5_vl"]

    def seconds(frames, times, duration=None):
        made = checkpoint.processing.frames(frames, times, duration)
        assert made.tensors["second_per_grid_ts"].dtype == torch.float32
        return float(made.tensors["second_per_grid_ts"])

    assert seconds(ODD.frames, ODD.times, 10.0) == 4.0
    assert seconds(ODD.frames, np.arange(5.0)) == 2.0
    assert seconds(ODD.frames, [0, 1, 2, 3, 6]) == 3.0
    assert seconds(ODD.frames[:1], [5.0]) == 2.0


def test_video_llava_repeats_frames_up_to_whole_groups():
    processing = replace(BY_TYPE["video_llava"].processing, frames_per_group=8)
    made = processing.frames(ODD.frames, ODD.times, ODD.duration)
    assert made.tensors["pixel_values_videos"].shape[:2] == (1, 8)
    assert made.units.tokens == (8 * 5,) and made.units.seconds == (ODD.times[0],)
    assert processing.units_of(range(11)).tokens == (8 * 5, 3 * 5)


def test_checkpoints_without_a_template_for_videos():
    for template, said in (
        (None, "no chat template"),
        ("{{ messages[0]['content'][1]['text'] }}", "expected '<|video_pad|>' once .* 0 times"),
        ("{{ raise_exception('no') }}", "template fails: no"),
    ):
        checkpoint = BY_TYPE["qwen2_vl"]
        made = checkpoint.processing.frames(ODD.frames, ODD.times)
        with pytest.raises(ModelError, match=said.replace("|", r"\|")):
            checkpoint.processing.text(made, QUESTION, checkpoint.tokenizer(template))


def test_vicuna_stands_in_for_a_template_of_llava_next_video():
    checkpoint = BY_TYPE["llava_next_video"]
    made = checkpoint.processing.frames(ODD.frames, ODD.times)
    tokenizer = checkpoint.tokenizer()
    ids, _ = checkpoint.processing.text(made, QUESTION, tokenizer)
    assert tokenizer.decode(ids[0]).replace("<video>", "") == f"USER: \n{QUESTION} ASSISTANT:"


def test_a_template_of_the_processor_comes_before_the_tokenizers():
    checkpoint = BY_TYPE["qwen2_vl"]
    processing = replace(checkpoint.processing, chat_template="<|video_pad|>!")
    made = processing.frames(ODD.frames, ODD.times)
    ids, _ = processing.text(made, QUESTION, checkpoint.tokenizer("no video"))
    assert len(ids[0]) == sum(made.units.tokens) + 1


def test_the_first_token_is_not_doubled():
    checkpoint = BY_TYPE["qwen2_vl"]
    processing = replace(checkpoint.processing, chat_template="<s><|video_pad|>")
    tokenizer = checkpoint.tokenizer()
    from tokenizers import processors

    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", token_id("<s>"))]
    )
    made = processing.frames(ODD.frames, ODD.times)
    for template, first in (("<s><|video_pad|>", 1), ("<|video_pad|>", 1)):
        processing = replace(processing, chat_template=template)
        ids, _ = processing.text(made, QUESTION, tokenizer)
        assert (ids == token_id("<s>")).sum() == first


def test_a_tokenizer_without_the_placeholder():
    checkpoint = BY_TYPE["qwen2_vl"]
    processing = checkpoint.processing
    made = processing.frames(ODD.frames, ODD.times)
    with pytest.raises(ModelError, match="no token 5000"):
        replace(processing, placeholder_id=5000).text(made, QUESTION, checkpoint.tokenizer())
    tokenizer = checkpoint.tokenizer("<|video_pad|>")
    tokenizer.backend_tokenizer.normalizer = None
    processing = replace(processing, placeholder_id=len(MARKUP))  # of a byte
    with pytest.raises(ModelError, match="once for a video"):
        processing.text(made, QUESTION, tokenizer)


@pytest.mark.parametrize(
    ("model_type", "change", "said"),
    [
        ("qwen2_vl", {"patch_size": 0}, "patch_size: expected a whole number"),
        ("qwen2_vl", {"merge_size": 1.5}, "merge_size: expected a whole number"),
        ("qwen2_vl", {"size": {"height": 3}}, "size: expected shortest_edge and longest_edge"),
        ("qwen2_vl", {"size": "big"}, "size: expected pixels by side"),
        ("qwen2_vl", {"min_pixels": "few"}, "size: expected whole pixels"),
        ("qwen2_vl", {"do_resize": False}, "do_resize: expected True, got False"),
        ("qwen3_vl", {"cap_pixels_per_frame": True}, "cap_pixels_per_frame: expected False"),
        ("smolvlm", {"max_image_size": {"height": 3}}, "max_image_size: expected longest_edge"),
        ("gemma4", {"image_mean": [0, 0]}, "image_mean: expected three numbers"),
        ("internvl", {"rescale_factor": 0}, "rescale_factor: expected a finite number above 0"),
    ],
)
def test_values_that_make_no_sense(model_type, change, said):
    checkpoint = BY_TYPE[model_type]
    with pytest.raises(ModelError, match=f"no complete preprocessor values: {said}"):
        replace(checkpoint, values={**checkpoint.values, **change}).ours(ODD)


def test_bounds_of_older_checkpoints():
    checkpoint = BY_TYPE["qwen2_vl"]
    older = replace(checkpoint, values={"min_pixels": 784, "max_pixels": 784 * 3}).processing
    assert older == checkpoint.processing


def test_what_is_not_normalized():
    values = {"do_rescale": False, "do_normalize": False, "resample": 0}
    checkpoint = BY_TYPE["internvl"]
    plain = replace(checkpoint, values={**checkpoint.values, **values})
    pixels = plain.ours(ODD)["pixel_values"]
    assert pixels.equal(pixels.round()) and pixels.max() > 200


def test_a_config_without_a_placeholder():
    with pytest.raises(ModelError, match="config: expected video_token_id, got none"):
        processing_for("qwen2_vl").from_values({}, SimpleNamespace())
    index = SimpleNamespace(video_token_index=7)
    assert processing_for("qwen2_vl").from_values({}, index).placeholder_id == 7


def test_unknown_model_types():
    with pytest.raises(ModelError, match=r"'gpt2' is not known; known: .*qwen2_vl, .*llava"):
        processing_for("gpt2")
    assert PROCESSING.keys() >= BY_TYPE.keys()


def test_where_values_are_read(tmp_path):
    def write(name, values):
        (tmp_path / name).write_text(json.dumps(values))

    def mean():
        return read_values(tmp_path)[0]["image_mean"]

    write("processor_config.json", {"patch_size": 14, "image_processor": {"image_mean": 4}})
    assert mean() == 4
    write("preprocessor_config.json", {"image_mean": 3})
    assert mean() == 3
    write("video_preprocessor_config.json", {"image_mean": 2})
    assert mean() == 2
    write("processor_config.json", {"video_processor": {"image_mean": 1}})
    assert mean() == 1
    write("processor_config.json", [])
    with pytest.raises(ModelError, match="expected a JSON object, got list"):
        mean()


def test_where_a_template_is_read(tmp_path):
    assert read_chat_template(tmp_path) is None
    (tmp_path / "chat_template.json").write_text('{"chat_template": "old"}')
    assert read_chat_template(tmp_path) == "old"
    (tmp_path / "chat_template.jinja").write_text("new")  # a tokenizer reads it
    assert read_chat_template(tmp_path) is None
    (tmp_path / "chat_template.jinja").unlink()
    (tmp_path / "chat_template.json").write_text("{}")
    with pytest.raises(ModelError, match="chat_template: expected a string, got None"):
        read_chat_template(tmp_path)


def test_numbers_in_words():
    said = {
        0: "zero",
        8: "eight",
        13: "thirteen",
        20: "twenty",
        64: "sixty-four",
        100: "one hundred",
        121: "one hundred and twenty-one",
        1000: "one thousand",
        1001: "one thousand and one",
        1100: "one thousand, one hundred",
        100_000: "one hundred thousand",
    }
    assert {number: number_words(number) for number in said} == said
    for number in (-1, 1_000_000):
        with pytest.raises(ValueError, match="expected 0 to 999,999"):
            number_words(number)


def test_numbers_in_words_are_those_of_num2words():
    num2words = pytest.importorskip("num2words", reason="transformers' SmolVLM needs it too")
    for number in [*range(2500), *range(9_990, 100_001, 997), 999_999]:
        assert number_words(number) == num2words.num2words(number)


def test_text_needs_units_alone():
    checkpoint = BY_TYPE["internvl"]
    processing = checkpoint.processing
    made = processing.frames(ODD.frames, ODD.times)
    tokenizer = checkpoint.tokenizer(TEMPLATE.replace("VIDEO", checkpoint.marker))
    ids, _ = processing.text(ModelFrames({}, made.units), QUESTION, tokenizer)
    assert ids.equal(processing.text(made, QUESTION, tokenizer)[0])
