"""Ways to run an extended model that its family must not notice: several videos, frames of several
sizes, gradients, a compiled decoder, an assistant, LoRA, layers on several devices."""

from __future__ import annotations

import inspect
from concurrent.futures import ThreadPoolExecutor

import intp_video
import pytest
import torch
from hf.test_families import (
    ORDINARY,
    TEXTS,
    TOLERANCE,
    answer,
    forget,
    logits,
    stock_with,
    text_model,
    visible_by_definition,
)
from hf.tiny_families import END, FAMILIES, IMAGE, IS_4, SIDE, START, TinyFamily
from intp_video import ModelError
from intp_video.hook.rotary import trained_rope
from intp_video.models import FAMILIES as SUPPORTED

by_name = {family.name: family for family in FAMILIES}
# One of each base, of each kind of positions, with recurrent layers, with pairs that turn, and with
# layers that slide.
SOME = (
    "llava_onevision",
    "internvl",
    "smolvlm",
    "qwen2_5_vl",
    "qwen3_vl",
    "qwen3_5",
    "glm4v",
    "exaone4_5",
    "gemma4",
)


@pytest.fixture(params=SOME)
def family(request) -> TinyFamily:
    return by_name[request.param]


def joined(family: TinyFamily, frames: int = ORDINARY) -> dict[str, torch.Tensor]:
    """One row with two videos and some words between them."""
    first, second = family.make_inputs(frames, ((5, 0),)), family.make_inputs(frames, ((3, 6),))
    rows = {}
    for name, one in first.items():
        two = second[name]
        along = 1 if name in ("input_ids", "attention_mask", "mm_token_type_ids") else 0
        if family.pixels == "padded images" and name == "pixel_values":
            along = 1
        rows[name] = torch.cat((one, two), dim=along)
    return rows


def test_two_videos_in_a_row(family):
    model = family.make_model()
    inputs = joined(family)
    stock = logits(model, inputs)
    with intp_video.extend(model, 2 * ORDINARY, rope="none"):
        ours = logits(model, inputs)
    torch.testing.assert_close(ours, stock, rtol=0, atol=TOLERANCE)

    if family.slides:
        return
    visible = visible_by_definition(family, inputs, window=2, sink=3, frames=ORDINARY)
    with stock_with(model, trained_rope(text_model(model), SUPPORTED[family.name]), visible):
        stock = logits(model, inputs)
    with intp_video.extend(model, 2 * ORDINARY, rope="none", window=2, sink=3):
        ours = logits(model, inputs)
    torch.testing.assert_close(ours, stock, rtol=0, atol=TOLERANCE)


def with_an_image(family: TinyFamily, image_first: bool) -> dict[str, torch.Tensor]:
    """A video and an image in one prompt; the image has tokens of its own and is text to us."""
    inputs = family.make_inputs(ORDINARY, ((5, 7),))
    generator = torch.Generator().manual_seed(3)
    if family.pixels == "grid":
        tokens = SIDE**2 // 4
        frames = 1 if family.name == "video_llama_3" else family.frames_per_unit  # of an image
        inputs["pixel_values"] = torch.randn(
            SIDE**2, 3 * frames * family.side**2, generator=generator
        )
        inputs["image_grid_thw"] = torch.tensor([[1, SIDE, SIDE]])
        if family.name == "video_llama_3":
            inputs["image_merge_sizes"] = torch.tensor([2])
    else:
        tokens = 4
        inputs["pixel_values_images"] = torch.randn(
            1, 3, family.side, family.side, generator=generator
        )
    ids = inputs["input_ids"]
    image = torch.tensor([[START, *[IMAGE] * tokens, END, 50]])
    ids = torch.cat((image, ids) if image_first else (ids, image), dim=1)
    inputs |= {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if "mm_token_type_ids" in inputs:
        inputs["mm_token_type_ids"] = (ids == IMAGE) + (ids == family.placeholder) * 2
    return inputs


@pytest.mark.parametrize("image_first", [True, False], ids=["image first", "video first"])
@pytest.mark.parametrize("name", ["video_llava", "qwen2_5_vl", "qwen3_vl", "video_llama_3"])
def test_an_image_beside_a_video(name, image_first):
    family = by_name[name]
    model = family.make_model()
    inputs = with_an_image(family, image_first)
    stock = logits(model, inputs)
    with intp_video.extend(model, ORDINARY, rope="none"):
        ours = logits(model, inputs)
    torch.testing.assert_close(ours, stock, rtol=0, atol=TOLERANCE)

    visible = visible_by_definition(family, inputs, window=2, sink=3, frames=ORDINARY)
    with stock_with(model, trained_rope(text_model(model), SUPPORTED[name]), visible):
        stock = logits(model, inputs)
    with intp_video.extend(model, ORDINARY, rope="none", window=2, sink=3):
        ours = logits(model, inputs)
    torch.testing.assert_close(ours, stock, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", ["llava_onevision", "llava_next_video"])
def test_two_videos_without_text_between_them(name):
    """Frames do not reach from one video into the next, and a newline is of the last frame: in one
    pass, repeated for beams, and in chunks, which cut the second video."""
    family = by_name[name]
    model = family.make_model()
    inputs = joined(family)
    ids = inputs["input_ids"][0]
    words = ids != family.placeholder
    first, last = words.logical_not().nonzero()[[0, -1], 0]
    words[:first] = words[last:] = False
    for key in ("input_ids", "attention_mask"):
        inputs[key] = inputs[key][:, ~words]
    rope = trained_rope(text_model(model), SUPPORTED[name])
    visible = visible_by_definition(family, inputs, window=2, sink=3, frames=ORDINARY)
    with stock_with(model, rope, visible):
        stock = logits(model, inputs)
    with intp_video.extend(model, 2 * ORDINARY, rope="none", window=2, sink=3):
        ours = logits(model, inputs)
        whole = answer(model, inputs)
        if "mm_encoder_outputs" in inspect.signature(model.model.forward).parameters:
            size = {"prefill_chunk_size": family.tokens * 11}
            assert torch.equal(answer(model, inputs, **size), whole)
    torch.testing.assert_close(ours, stock, rtol=0, atol=TOLERANCE)

    visual = inputs["input_ids"] == family.placeholder
    before = visual.cumsum(-1) - visual.long()
    causal = torch.ones_like(visible).tril()
    with stock_with(model, rope, causal, lambda positions: positions.float() - before * 0.75):
        stock = logits(model, inputs)
    with intp_video.extend(model, 2 * ORDINARY, rope="linear", span="visual", factor=4.0):
        ours = logits(model, inputs)
    torch.testing.assert_close(ours, stock, rtol=0, atol=TOLERANCE)


def test_several_videos_in_a_row_are_not_rearranged_in_attention():
    family = by_name["video_llava"]
    model = family.make_model()
    inputs = joined(family)
    ids = inputs["input_ids"][0]
    visual = (ids == family.placeholder).nonzero()[:, 0]
    keep = torch.ones_like(ids, dtype=torch.bool)
    keep[visual[0] : visual[-1]] = ids[visual[0] : visual[-1]] == family.placeholder
    inputs |= {name: inputs[name][:, keep] for name in ("input_ids", "attention_mask")}
    with (
        intp_video.extend(model, 2 * ORDINARY, rope="none", rearrange="attention"),
        pytest.raises(ModelError, match="needs one video in a row, got 2 videos"),
    ):
        logits(model, inputs)


def test_a_row_without_a_video(family):
    """Beside one that has a video, as a batch of questions may have."""
    model = family.make_model()
    inputs = family.make_inputs(ORDINARY)
    length = inputs["input_ids"].shape[1]
    words = torch.arange(10, 19)
    for name, row in (("input_ids", words), ("attention_mask", torch.ones_like(words))):
        padded = torch.cat((torch.zeros(length - len(row), dtype=torch.long), row))
        inputs[name] = torch.cat((inputs[name], padded[None]))
    if "mm_token_type_ids" in inputs:
        types = inputs["mm_token_type_ids"]
        inputs["mm_token_type_ids"] = torch.cat((types, torch.zeros_like(types)))
    if family.pixels == "padded images":
        pixels = inputs["pixel_values"]
        inputs["pixel_values"] = torch.cat((pixels, torch.zeros_like(pixels)))
    stock = logits(model, inputs)
    for options in ({},) if family.slides else ({}, {"window": 64}):  # that window sees everything
        with intp_video.extend(model, ORDINARY, rope="none", **options):
            ours = logits(model, inputs)
        torch.testing.assert_close(ours, stock, rtol=0, atol=TOLERANCE)


def test_no_frames_are_refused(family):
    model = family.make_model()
    inputs = family.make_inputs(ORDINARY)
    name = SUPPORTED[family.name].pixels
    if family.pixels == "frames":
        inputs[name] = inputs[name][:, :0]
    elif family.pixels == "padded images":
        pytest.skip("the stock model keeps one frame of those that are all padding")
    else:
        inputs[name] = inputs[name][:0]
    for name in ("video_grid_thw", "video_position_ids", "num_frames_per_video"):
        if name in inputs:
            inputs[name] = inputs[name][:0]
    with intp_video.extend(model, ORDINARY), pytest.raises(ValueError, match="got no frames"):
        logits(model, inputs)


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl"])
def test_frames_of_several_sizes(name):
    """Two rows whose videos have grids of their own."""
    family = by_name[name]
    model = family.make_model()
    inputs = joined(family)
    grid = inputs["video_grid_thw"].clone()
    grid[1, 2] = SIDE // 2  # half as wide, so half the tokens
    begin = int(grid[0].prod())
    inputs["pixel_values_videos"] = inputs["pixel_values_videos"][: begin + int(grid[1].prod())]
    inputs["video_grid_thw"] = grid
    ids = inputs["input_ids"][0]
    visual = (ids == family.placeholder).nonzero()[:, 0]
    units = visual[len(visual) // 2 :].view(-1, family.tokens)
    drop = units[:, family.tokens // 2 :].flatten()
    keep = torch.ones_like(ids, dtype=torch.bool)
    keep[drop] = False
    for key in ("input_ids", "attention_mask", "mm_token_type_ids"):
        if key in inputs:
            inputs[key] = inputs[key][:, keep]
    stock = logits(model, inputs)
    with intp_video.extend(model, 2 * ORDINARY, rope="none"):
        ours = logits(model, inputs)
    torch.testing.assert_close(ours, stock, rtol=0, atol=TOLERANCE)
    with intp_video.extend(model, 2 * ORDINARY, rope="none", window=64):
        ours = logits(model, inputs)  # a window that sees everything, found by frames
    torch.testing.assert_close(ours, stock, rtol=0, atol=TOLERANCE)


def two_sizes(family: TinyFamily) -> dict[str, torch.Tensor]:
    """Two rows; the frames of the second are half as wide, so they have half the tokens."""
    inputs = family.make_inputs(ORDINARY, (TEXTS[0], TEXTS[0]))
    ids, half = inputs["input_ids"], family.tokens // 2
    visual = (ids[1] == family.placeholder).nonzero()[:, 0]
    drop = visual.view(-1, family.tokens)[:, half:].flatten()
    keep = torch.ones_like(ids[1], dtype=torch.bool)
    keep[drop] = False
    for name in ("input_ids", "attention_mask", "mm_token_type_ids"):
        if name in inputs:
            row = inputs[name][1, keep]
            inputs[name][1] = torch.cat((torch.zeros(len(drop), dtype=row.dtype), row))
    grid = inputs["video_grid_thw"].clone()
    grid[1, 2] = SIDE // 2
    inputs["video_grid_thw"] = grid
    pixels = inputs["pixel_values_videos"]
    inputs["pixel_values_videos"] = pixels[: int(grid.prod(-1).sum())]
    return inputs


def one_row(inputs: dict[str, torch.Tensor], row: int) -> dict[str, torch.Tensor]:
    """A row of :func:`two_sizes` without its padding."""
    kept = inputs["attention_mask"][row].bool()
    grid = inputs["video_grid_thw"]
    begin = int(grid[:row].prod(-1).sum())
    patches = slice(begin, begin + int(grid[row].prod()))
    return {
        name: value[row, kept][None]
        if value.shape[-1] == len(kept)
        else value[patches if name == "pixel_values_videos" else slice(row, row + 1)]
        for name, value in inputs.items()
    }


def test_beams_over_frames_of_several_sizes():
    """Each beam is the row that it comes from, under a window too."""
    family = by_name["qwen2_5_vl"]
    model = family.make_model()
    inputs = two_sizes(family)
    with intp_video.extend(model, ORDINARY, rope="none", window=2, sink=3):
        together = answer(model, inputs, tokens=4, num_beams=3)
        apart = [answer(model, one_row(inputs, row), tokens=4, num_beams=3) for row in (0, 1)]
    for row, alone in enumerate(apart):
        assert torch.equal(together[row, -4:], alone[0, -4:])


def test_features_that_were_encoded_before():
    """They keep the size of their frames, whatever was encoded after them."""
    family = by_name["qwen2_5_vl"]
    model = family.make_model()
    if "mm_encoder_outputs" not in inspect.signature(model.model.forward).parameters:
        pytest.skip("this transformers takes no features that were encoded before")
    inputs = two_sizes(family)
    wide, narrow = one_row(inputs, 0), one_row(inputs, 1)
    with intp_video.extend(model, ORDINARY, rope="none", window=1):
        expected = logits(model, wide)
        pixels = wide.pop("pixel_values_videos")
        with torch.no_grad():
            encoded = model.model.get_video_features(pixels, wide["video_grid_thw"])
        logits(model, narrow)
        ours = logits(model, {**wide, "mm_encoder_outputs": {"video": encoded}})
    torch.testing.assert_close(ours, expected, rtol=0, atol=TOLERANCE)


def test_a_chunk_of_frames_of_several_sizes_is_refused():
    family = by_name["qwen2_5_vl"]
    model = family.make_model()
    if "mm_encoder_outputs" not in inspect.signature(model.model.forward).parameters:
        pytest.skip("this transformers does not cut features into chunks")
    with (
        intp_video.extend(model, ORDINARY, rope="none", window=2),
        pytest.raises(ModelError, match="frames of 8, 16 tokens came in a chunk of a batch"),
    ):
        answer(model, two_sizes(family), prefill_chunk_size=25)


def test_another_thread_shows_frames_of_another_size():
    """Between the encoder and the decoder of this thread's pass."""
    family = by_name["qwen2_5_vl"]
    model = family.make_model()
    inputs = two_sizes(family)
    wide, narrow = one_row(inputs, 0), one_row(inputs, 1)
    with (
        intp_video.extend(model, ORDINARY, rope="none", window=1),
        ThreadPoolExecutor(1) as other,
    ):
        expected = logits(model, wide)

        def meanwhile(module, args):
            hook.remove()
            other.submit(logits, model, narrow).result()

        hook = text_model(model).register_forward_pre_hook(meanwhile)
        ours = logits(model, wide)
    torch.testing.assert_close(ours, expected, rtol=0, atol=TOLERANCE)


def test_a_gradient_step(family):
    model = family.make_model()
    inputs = family.make_inputs(ORDINARY, TEXTS)

    def gradients():
        forget(model)
        model.zero_grad()
        kept = inputs["attention_mask"].bool()  # what stands at padding is nobody's business
        model(**inputs, use_cache=False).logits[kept].square().mean().backward()
        return [p.grad.clone() for p in text_model(model).layers[0].parameters()]

    model.set_attn_implementation("eager")
    stock = gradients()
    with intp_video.extend(model, ORDINARY, rope="none"):
        ours = gradients()
    for mine, theirs in zip(ours, stock, strict=True):
        scale = theirs.abs().max().clamp(min=1e-3)
        assert (mine - theirs).abs().max() < 1e-4 * scale


def test_an_assistant_guesses(family):
    model, assistant = family.make_model(), family.make_model(seed=1)
    inputs = family.make_inputs(ORDINARY)
    try:
        stock = answer(model, inputs, assistant_model=assistant)
    except Exception as error:
        pytest.skip(f"the stock model cannot: {type(error).__name__}: {error}")
    with intp_video.extend(model, ORDINARY, rope="none"):
        forget(assistant)
        ours = answer(model, inputs, assistant_model=assistant)
    assert torch.equal(ours, stock)


def test_an_assistant_that_is_extended(family):
    """transformers 4 shows the video to the assistant too; 5 does not, and the error says so."""
    model, assistant = family.make_model(), family.make_model(seed=1)
    inputs = family.make_inputs(ORDINARY)
    try:
        stock = answer(model, inputs, assistant_model=assistant)
    except Exception as error:
        pytest.skip(f"the stock model cannot: {type(error).__name__}: {error}")
    forget(assistant)
    with intp_video.extend(assistant, ORDINARY, rope="none"):
        if IS_4:
            assert torch.equal(answer(model, inputs, assistant_model=assistant), stock)
            return
        with pytest.raises(
            ModelError, match="In assisted generation the assistant model is not shown"
        ):
            answer(model, inputs, assistant_model=assistant)


def test_a_compiled_decoder(family):
    model = family.make_model()
    inputs = family.make_inputs(ORDINARY)
    stock = answer(model, inputs)
    torch._dynamo.reset()
    with intp_video.extend(model, ORDINARY, rope="none"):
        text = text_model(model)
        text.forward = torch.compile(text.forward, backend="eager")
        try:
            ours = answer(model, inputs)
        finally:
            del text.forward
    assert torch.equal(ours, stock)


def test_lora(family):
    peft = pytest.importorskip("peft")
    model = family.make_model()
    inputs = family.make_inputs(ORDINARY)
    targets: list[str] | str = ["q_proj", "v_proj"]  # of the tower, too
    if family.name == "gemma4":  # whose tower has layers that PEFT cannot wrap
        targets = r".*language_model\..*(q_proj|v_proj)"
    config = peft.LoraConfig(r=2, target_modules=targets, init_lora_weights=False)
    tuned = peft.get_peft_model(model, config)
    stock = answer(model, inputs)
    with intp_video.extend(tuned, ORDINARY, rope="none"):
        ours = answer(model, inputs)
        forget(model)
        tuned(**inputs).logits.mean().backward()
    assert torch.equal(ours, stock)
    trained = [p for name, p in tuned.named_parameters() if "lora" in name and "text" not in name]
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in trained)


def test_layers_that_are_offloaded(family, tmp_path):
    accelerate = pytest.importorskip("accelerate")
    model = family.make_model()
    inputs = family.make_inputs(ORDINARY)
    model.save_pretrained(tmp_path / "model")
    loaded = type(model).from_pretrained(tmp_path / "model", dtype=torch.float32)
    accelerate.cpu_offload(loaded, execution_device=torch.device("cpu"))
    loaded.generation_config = model.generation_config
    try:
        stock = answer(loaded, inputs)
    except (NotImplementedError, RuntimeError) as error:  # a parameter that nobody brings back
        pytest.skip(f"the stock model cannot: {error}")
    with intp_video.extend(loaded, ORDINARY, rope="none"):
        ours = answer(loaded, inputs)
    assert torch.equal(ours, stock)


def test_features_that_were_kept(family):
    """Features of one video, given to a pass after another video was encoded."""
    model = family.make_model()
    mine = SUPPORTED[family.name]
    module = mine.multimodal_module(model)
    inputs = family.make_inputs(ORDINARY)
    names = (mine.pixels, "video_grid_thw", "video_merge_sizes")
    names += ("video_position_ids", "num_frames_per_video")
    given = {name: inputs[name] for name in names if name in inputs}
    if "mm_encoder_outputs" not in inspect.signature(module.forward).parameters:
        pytest.skip("this transformers encodes a video in the pass alone")
    window = None if family.slides else 2
    with torch.no_grad(), intp_video.extend(model, 4 * ORDINARY, rope="none", window=window):
        whole = logits(model, inputs)
        kept = getattr(module, mine.encoder)(**given)
        if "video_grid_thw" in inputs:  # the same patches as twice as many frames, half as wide
            units, rows, columns = inputs["video_grid_thw"][0].tolist()
            grid = torch.tensor([[2 * units, rows, columns // 2]])
            getattr(module, mine.encoder)(**{**given, "video_grid_thw": grid})
        rest = {name: x for name, x in inputs.items() if name != mine.pixels}
        again = logits(model, {**rest, "mm_encoder_outputs": {mine.modality: kept}})
    torch.testing.assert_close(again, whole, rtol=0, atol=TOLERANCE)
