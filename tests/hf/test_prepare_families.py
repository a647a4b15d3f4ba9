"""A clip and a question become inputs that each family's model takes, and answers."""

from __future__ import annotations

import json

import intp_video
import numpy as np
import pytest
import torch
import transformers
from hf.processing_cases import CHECKPOINTS, CLIPS, QUESTION, TEMPLATE, token_id
from hf.tiny_families import FAMILIES
from intp_video import ModelError, Preparer
from intp_video.models import FAMILIES as SUPPORTED
from intp_video.planning import text_reserve
from intp_video.processing import processing_for
from intp_video.processing.pixels import CLIP
from intp_video.video import Clip
from transformers import CONFIG_MAPPING

CHECKPOINT_OF = {checkpoint.model_type: checkpoint for checkpoint in CHECKPOINTS}
for name, like in (
    ("qwen3_vl_moe", "qwen3_vl"),
    ("qwen3_5_moe", "qwen3_5"),
    ("glm4v_moe", "glm4v"),
):
    CHECKPOINT_OF[name] = CHECKPOINT_OF[like]
OTHERS = {
    "image": "<pad>",
    "video": "<pad>",
    "vision_start": "<|vision_start|>",
    "vision_end": "<|vision_end|>",
    "image_start": "<|begin_of_image|>",
    "image_end": "<|end_of_image|>",
    "video_start": "<|begin_of_video|>",
    "video_end": "<|end_of_video|>",
}
RELEASE = tuple(map(int, transformers.__version__.split(".")[:2]))
BYTES = 300  # tokens, more than the tokenizer of bytes has


@pytest.fixture(params=FAMILIES, ids=lambda family: family.name)
def family(request):
    if not request.param.available():
        pytest.skip(f"transformers {transformers.__version__} has no {request.param.name}")
    return request.param


def make_clip(frames: int = 8) -> Clip:
    shown = CLIPS["odd"]
    pixels = np.random.default_rng(0).integers(0, 256, (frames, 40, 60, 3), dtype=np.uint8)
    return Clip(
        frames=pixels,
        timestamps=np.arange(frames) / shown.fps,
        indices=np.arange(frames),
        fps=shown.fps,
        duration=frames / shown.fps,
        backend="none",
        path="made here",
    )


def make_config(family):
    """Of the family's tiny model, for the tokens of the tokenizer of bytes."""
    config = family.config()
    config["text_config"] = {**config["text_config"], "vocab_size": BYTES}
    shown_as = processing_for(family.name).shown_as
    for name in config:
        if name.startswith(f"{shown_as}_token"):
            config[name] = token_id(CHECKPOINT_OF[family.name].placeholder)
        elif (named := name.partition("_token_")[0]) in OTHERS:
            config[name] = token_id(OTHERS[named])
    return getattr(transformers, family.classes[0])(**config)


def make_values(family):
    """Preprocessor values for the size of frames, or of patches, that the tiny model takes."""
    if family.pixels == "grid":
        sizes = {"patch_size": family.side, "size": {"shortest_edge": 64, "longest_edge": 12800}}
    elif family.pixels == "patches":
        sizes = {"patch_size": 2, "pooling_kernel_size": 2, "max_soft_tokens": 6}
    elif family.pixels == "padded images":
        edges = ("size", 2 * family.side), ("max_image_size", family.side)
        sizes = {name: {"longest_edge": edge} for name, edge in edges}
    else:
        square = {"height": family.side, "width": family.side}
        sizes = {"size": square, "do_center_crop": False}
    return {**CLIP, **sizes}


@pytest.fixture
def loaded(family):
    return load(family)


def load(family):
    """A model with random weights, and what prepares its inputs."""
    config = make_config(family)
    torch.manual_seed(0)
    model = getattr(transformers, family.classes[1])(config).float().eval()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    processing = processing_for(family.name).from_values(make_values(family), config)
    checkpoint = CHECKPOINT_OF[family.name]
    tokenizer = checkpoint.tokenizer(TEMPLATE.replace("VIDEO", checkpoint.marker))
    return model, Preparer(tokenizer, processing)


def test_the_stretch_follows_the_size_of_the_video(family, loaded):
    """``ask`` extends the model for the frames that the encoder gets, not for assumed ones."""
    if family.name == "gemma4":
        pytest.skip("the preprocessor's budget of tokens a frame is not in the config")
    model, preparer = loaded
    clip, mine = make_clip(), SUPPORTED[family.name]
    inputs = preparer(clip, QUESTION)
    size = preparer.frame_size(clip)
    assert (size is None) == (family.pixels != "grid")
    answer = intp_video.ask(model, preparer, clip, QUESTION, max_new_tokens=1)
    layout = mine.layout(model.config, len(clip), *(size or ()))
    visual = int((inputs["input_ids"] == preparer.video_token_id).sum())
    assert layout.visual_tokens == visual
    trained = model.config.get_text_config().max_position_embeddings
    together = mine.layout(model.config, mine.frames_per_group(model.config), *(size or ()))
    planned = layout.positions + text_reserve(together.positions, trained)
    planned = mine.rope_distance(model.config, planned)
    assert answer.factor == max(1, planned / trained)


def test_the_model_answers(family, loaded):
    """Extended or not, it takes what was prepared, and nothing is missing."""
    if family.name == "smolvlm" and RELEASE == (5, 20):
        pytest.skip("this release takes the side of a patch for the tokens of a frame")
    model, preparer = loaded
    clip = make_clip()
    inputs = intp_video.prepare(preparer, clip, QUESTION)
    stock = model.generate(**inputs, max_new_tokens=4, do_sample=False)
    answer = intp_video.ask(model, preparer, clip, QUESTION, max_new_tokens=4, rope="none")
    assert answer.token_ids == stock[0, inputs["input_ids"].shape[1] :].tolist()
    assert answer.frames == 8
    assert answer.prompt_tokens == inputs["input_ids"].shape[1]


def test_whole_directories(family, loaded, tmp_path):
    """As a checkpoint on disk, with the template where processors keep it."""
    model, preparer = loaded
    model.config.save_pretrained(tmp_path)
    template, preparer.tokenizer.chat_template = preparer.tokenizer.chat_template, None
    preparer.tokenizer.save_pretrained(tmp_path)
    values = make_values(family)
    (tmp_path / "video_preprocessor_config.json").write_text(json.dumps(values))
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    known = family.name in CONFIG_MAPPING  # early releases do not know the thinkers of Qwen Omni
    read = Preparer.from_pretrained(tmp_path, None if known else model.config)
    assert read.frames_per_group == preparer.frames_per_group
    inputs = read(make_clip(), QUESTION)
    preparer.tokenizer.chat_template = template
    assert inputs["input_ids"].equal(preparer(make_clip(), QUESTION)["input_ids"])


def test_what_depends_on_the_size_of_frames_is_refused(family, loaded):
    _, preparer = loaded
    if family.pixels not in ("grid", "patches"):
        assert preparer.tokens_per_frame == family.tokens
        assert preparer.prompt_ids(QUESTION, 16).shape[1] > 16 * family.tokens
        return
    for ask in (
        lambda: preparer.tokens_per_frame,
        lambda: preparer.frame_processor,
        lambda: preparer.prompt_ids(QUESTION, 16),
    ):
        with pytest.raises(ModelError, match="expected a family with frames of one size"):
            ask()
