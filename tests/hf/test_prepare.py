"""A clip and a question become the inputs that the stock processor would make."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace

import intp_video
import numpy as np
import pytest
import torch
from intp_video.processing.frame_processor import FrameProcessor
from intp_video.video import Clip
from PIL import Image

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return intp_video.make_random_model(tmp_path_factory.mktemp("model") / "tiny")


def make_clip(frames: int, height: int = 48, width: int = 64) -> Clip:
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (frames, 6, 8, 3), dtype=np.uint8)
    pixels = coarse.repeat(height // 6, axis=1).repeat(width // 8, axis=2)
    return Clip(
        frames=pixels,
        timestamps=np.arange(frames, dtype=np.float64),
        indices=np.arange(frames),
        fps=1.0,
        duration=float(frames),
        backend="none",
        path="made here",
    )


def processor(size: int = 32, shortest_edge: int | None = 32) -> FrameProcessor:
    return FrameProcessor(size, size, shortest_edge, "bicubic", 1 / 255, MEAN, STD)


@pytest.mark.parametrize(("height", "width"), [(48, 64), (64, 48), (96, 96), (24, 32), (32, 32)])
def test_pixels_are_those_of_pil(height, width):
    """Resize, crop the center, rescale, normalize: PIL's bicubic to a uint8 step or two."""
    clip = make_clip(3, 48, 64)
    frames = np.stack([np.asarray(Image.fromarray(f).resize((width, height))) for f in clip.frames])
    size = 32
    expected = []
    for frame in frames:
        scale = size / min(height, width)
        target = (int(width * scale), int(height * scale))
        image = np.asarray(Image.fromarray(frame).resize(target, Image.Resampling.BICUBIC))
        top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
        image = image[top : top + size, left : left + size] / 255
        expected.append(((image - MEAN) / STD).transpose(2, 0, 1))
    ours = processor(size)(frames)
    assert ours.shape == (3, 3, size, size) and ours.dtype == torch.float32
    steps = (ours - torch.tensor(np.stack(expected))).abs() * 255 * torch.tensor(STD).view(3, 1, 1)
    assert steps.max() < 2.01
    assert (steps > 1.01).float().mean() < 1e-3


def test_a_frame_smaller_than_the_crop_is_padded_with_zeros():
    pixels = np.full((1, 16, 16, 3), 255, dtype=np.uint8)
    ours = FrameProcessor(20, 20, 16, "bicubic", 1 / 255, (0, 0, 0), (1, 1, 1))(pixels)
    assert ours[0, :, 2:18, 2:18].eq(1).all()
    assert ours.sum() == 3 * 16 * 16


@pytest.mark.parametrize("bad", [np.zeros((2, 4, 4, 3)), np.zeros((4, 4, 3), np.uint8)])
def test_frames_of_the_wrong_kind(bad):
    with pytest.raises((TypeError, ValueError), match="frames: expected"):
        processor()(bad)


def test_prompt_and_pixels(directory):
    inputs = intp_video.prepare(directory, make_clip(16), "What happens?")
    preparer = intp_video.Preparer.from_pretrained(directory)
    ids = inputs["input_ids"]
    visual = ids == preparer.video_token_id
    assert visual.sum() == 16 * preparer.tokens_per_frame
    text = preparer.tokenizer.decode(ids[~visual], skip_special_tokens=True)
    assert text == "USER: \nWhat happens? ASSISTANT:"
    assert inputs["attention_mask"].equal(torch.ones_like(ids))
    assert inputs["pixel_values_videos"].shape[:3] == (1, 16, 3)


def test_frames_are_repeated_up_to_whole_groups_and_none_is_dropped(directory):
    clip = make_clip(13)
    inputs = intp_video.prepare(directory, clip, "What happens?")
    pixels = inputs["pixel_values_videos"][0]
    assert len(pixels) == 16
    single = intp_video.Preparer.from_pretrained(directory).frame_processor(clip.frames)
    shown = [min(range(13), key=lambda i: float((single[i] - p).abs().sum())) for p in pixels]
    assert shown == sorted(shown) and set(shown) == set(range(13))


def test_stock_processor_makes_the_same_prompt(directory):
    """Where torchvision allows transformers' own processor, ours gives its input_ids."""
    pytest.importorskip("torchvision", reason="transformers' video processor needs torchvision")
    from transformers import AutoConfig, AutoProcessor

    stock = AutoProcessor.from_pretrained(directory)
    config = AutoConfig.from_pretrained(directory)
    clip = make_clip(8)
    theirs = stock(
        text="USER: <video>\nWhat? ASSISTANT:", videos=[list(clip.frames)], return_tensors="pt"
    )
    ours = intp_video.prepare(stock, clip, "What?", config=config)
    assert torch.equal(ours["input_ids"], theirs["input_ids"])


@pytest.mark.parametrize(
    ("question", "error"),
    [("", ValueError), ("  \n", ValueError), (None, TypeError), ("<video>?", ValueError)],
)
def test_bad_questions(directory, question, error):
    with pytest.raises(error, match="question"):
        intp_video.prepare(directory, make_clip(8), question)


@pytest.fixture(scope="module", params=["tiny", "small"])
def preparer(request, directory):
    """Of a tokenizer of bytes, and of one of lower-case words."""
    return intp_video.Preparer.from_pretrained(
        directory if request.param == "tiny" else intp_video.SMALL_MODEL
    )


def every_way_to_ask(preparer, tmp_path):
    """Each with a video that is not there: a question is looked at before minutes of decoding."""
    clip, missing = make_clip(8), tmp_path / "missing.mp4"
    yield lambda question: preparer(clip, question)
    yield lambda question: preparer.prompt_ids(question, 8)
    yield lambda question: intp_video.prepare(preparer, missing, question)
    yield lambda question: intp_video.ask(None, preparer, missing, question)
    session = object.__new__(intp_video.Session)
    session.frames, session._preparer = 8, preparer
    yield session.ask


def test_special_tokens_in_a_question_are_refused_by_name(preparer, tmp_path):
    tokens = {str(token) for token in preparer.tokenizer.added_tokens_decoder.values()}
    assert tokens >= {"<s>", "</s>", "<pad>", "<image>", "<video>"}
    for token in tokens:
        for question in (token, f"What is {token} there?", f"What?{token}", f"{token}{token}What"):
            for ask in every_way_to_ask(preparer, tmp_path):
                with pytest.raises(
                    ValueError, match=re.escape(f"question: expected words, got {token!r}")
                ):
                    ask(question)
    with pytest.raises(ValueError, match="got '<pad>' and '</s>', special tokens"):
        preparer.prompt_ids("What is <pad> there?</s>", 8)


@pytest.mark.parametrize(
    "question", ["<PAD>", "what is</S>?", "< pad>", "<pa d>", "what's <this>, <b>x</b> | [s]?"]
)
def test_however_a_special_token_is_written_none_gets_into_the_prompt(preparer, question):
    """The tokenizer of the small model lowers the case first."""
    try:
        ids = preparer.prompt_ids(question, 8)[0]
    except ValueError as error:
        assert re.search("got '(<pad>|</s>)', a special token", str(error))
        return
    after_the_video = ids[int((ids == preparer.video_token_id).nonzero()[-1]) + 1 :]
    special = set(preparer.tokenizer.added_tokens_decoder) - {preparer.tokenizer.unk_token_id}
    assert special.isdisjoint(after_the_video.tolist())


def test_words_that_a_tokenizer_lacks_or_was_given_are_words(preparer):
    assert preparer.check_question(" Quick zebras? ") == "Quick zebras?"
    tokenizer = copy.deepcopy(preparer.tokenizer)
    tokenizer.add_tokens(["  ", "zebra"])
    given = replace(preparer, tokenizer=tokenizer)
    assert given.check_question("which  zebra?") == "which  zebra?"
    tokenizer.add_tokens(["<|audio|>"])  # not declared special, and yet no word
    with pytest.raises(ValueError, match=r"got '<\|audio\|>'"):
        given.check_question("which <|audio|> zebra?")


@pytest.mark.parametrize(
    ("question", "error", "reason"),
    [
        ("", ValueError, "expected some text, got ''"),
        (" \n\t", ValueError, "expected some text"),
        (None, TypeError, "expected a string, got NoneType"),
        (b"What?", TypeError, "expected a string, got bytes"),
        (["What?"], TypeError, "expected a string, got list"),
        (7, TypeError, "expected a string, got int"),
        ("What\udcff?", ValueError, "expected Unicode text"),
    ],
)
def test_what_is_no_question_is_refused_by_everything_that_asks(
    preparer, tmp_path, question, error, reason
):
    names = "prepare", "prepare", "prepare", "ask", "Session.ask"
    for name, ask in zip(names, every_way_to_ask(preparer, tmp_path), strict=True):
        with pytest.raises(error, match=f"^{re.escape(name)}: question: {re.escape(reason)}"):
            ask(question)


def test_directories_that_are_no_model(directory, tmp_path):
    with pytest.raises(intp_video.ModelError, match=r"no config\.json"):
        intp_video.prepare(tmp_path, make_clip(8), "What?")
    (tmp_path / "config.json").write_text((directory / "config.json").read_text())
    with pytest.raises(intp_video.ModelError, match="no tokenizer"):
        intp_video.prepare(tmp_path, make_clip(8), "What?")
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        if (directory / name).exists():
            (tmp_path / name).write_text((directory / name).read_text())
    with pytest.raises(intp_video.ModelError, match="image_mean"):
        intp_video.prepare(tmp_path, make_clip(8), "What?")
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(intp_video.ModelError, match="not valid JSON"):
        intp_video.prepare(tmp_path, make_clip(8), "What?")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": list(MEAN)}))
    with pytest.raises(intp_video.ModelError, match="no complete preprocessor values"):
        intp_video.prepare(tmp_path, make_clip(8), "What?")


def test_a_processor_needs_the_config_beside_it():
    with pytest.raises(TypeError, match="config"):
        intp_video.prepare(object(), make_clip(8), "What?")
