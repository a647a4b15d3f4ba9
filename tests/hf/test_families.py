"""Every family: extended, it is the stock model at its ordinary frames, and at four times as many
what stock eager attention makes of the same frequencies, masks and positions."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import intp_video
import pytest
import torch
import transformers
from hf.test_kv_bits import over_dequantized
from hf.test_restore import assert_same, everything
from hf.tiny_families import END, FAMILIES, IMAGE, SIDE, START, TRAINED, TinyFamily
from intp_video import ModelError, compat
from intp_video.hook import attention as hook_attention
from intp_video.hook.rotary import trained_rope, with_frequencies
from intp_video.models import FAMILIES as SUPPORTED
from intp_video.models import WHY_NOT, family_for
from intp_video.processing import processing_for
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache

import intp_ext

TOLERANCE = 3e-5  # float32 logits of size 1 to 5 through three layers
ORDINARY, LONG = 8, 32
TEXTS = ((5, 7), (3, 4))


@pytest.fixture(params=FAMILIES, ids=lambda family: family.name)
def family(request) -> TinyFamily:
    return request.param


def family_of(name: str) -> TinyFamily:
    return next(family for family in FAMILIES if family.name == name)


def forget(model) -> None:
    """The offset of M-RoPE is state that a stock model keeps from one call to the next."""
    module = family_for(model.config).multimodal_module(model)
    if hasattr(module, "rope_deltas"):
        module.rope_deltas = None


@torch.no_grad()
def logits(model, inputs) -> torch.Tensor:
    """``[tokens, V]`` of the tokens that are not padding."""
    forget(model)
    return model(**inputs).logits[inputs["attention_mask"].bool()]


def answer(model, inputs, tokens: int = 6, **options) -> torch.Tensor:
    forget(model)
    torch.manual_seed(0)
    return model.generate(**inputs, max_new_tokens=tokens, **{"do_sample": False, **options})


def text_model(model):
    return family_for(model.config).text_model(model)


@contextmanager
def stock_with(model, rope, visible=None, stretch=None):
    """The stock model with other frequencies, with a mask ``[B, S, S]`` of its own, and with
    ``stretch`` of its positions; attention as eager as it gets."""
    text = text_model(model)
    own, implementation = text.rotary_emb, text.config._attn_implementation

    class Rotary(torch.nn.Module):
        def forward(self, x, position_ids, *rest):
            slides = rest == ("sliding_attention",)  # stays as trained
            positions = position_ids if stretch is None or slides else stretch(position_ids)
            return with_frequencies(own, rope)(x, positions, *rest)

        def __getattr__(self, name):
            return getattr(own, name)

    def attend(module, query, key, value, mask, scaling=None, sliding_window=None, **others):
        groups = query.shape[1] // key.shape[1]
        key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        scores = (query @ key.transpose(2, 3)) * scale
        seen = visible
        if sliding_window is not None:
            seen = visible & torch.ones_like(visible).triu(1 - sliding_window)
        weights = scores.masked_fill(~seen[:, None], float("-inf")).softmax(-1).nan_to_num()
        return (weights @ value).transpose(1, 2).contiguous(), None

    text.rotary_emb = Rotary()
    if visible is not None:
        AttentionInterface.register("slow", attend)
        AttentionMaskInterface.register("slow", lambda **others: None)
    text.set_attn_implementation("eager" if visible is None else "slow")
    try:
        yield
    finally:
        text.rotary_emb = own
        text.set_attn_implementation(implementation)
        for interface in (AttentionInterface, AttentionMaskInterface):
            interface._global_mapping.pop("slow", None)


def frames_of(family: TinyFamily, ids: torch.Tensor, units: int) -> list[list[int | None]]:
    """The unit of time that each token shows, or belongs to as text before it; None otherwise.
    Every video has ``units`` units."""
    tokens = units * family.tokens
    rows = []
    for row in ids.tolist():
        frames: list[int | None] = [None] * len(row)
        unit, run, shown = -1, 0, 0
        for at, token in enumerate(row):
            if token != family.placeholder:
                run = 0
                continue
            if family.between is None:
                place = shown % (tokens + family.newline)  # in its video
                unit += place % family.tokens == 0 and place < tokens
            else:
                unit += run == 0
            run, shown = run + 1, shown + 1
            frames[at] = unit
        visual = [at for at, frame in enumerate(frames) if frame is not None]
        for at in range(visual[0], visual[-1]):  # text between frames
            if frames[at] is None:
                frames[at] = next(frame for frame in frames[at:] if frame is not None)
        rows.append(frames)
    return rows


def visible_by_definition(family, inputs, window: int, sink: int, frames: int) -> torch.Tensor:
    """bool ``[B, S, S]``, pair by pair; every video has ``frames`` frames."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"].bool().tolist()
    seen = torch.zeros(*ids.shape, ids.shape[1], dtype=torch.bool).tolist()  # quicker to write to
    for b, shown in enumerate(frames_of(family, ids, family.units(frames))):
        lo = mask[b].index(True)
        for i in range(len(shown)):
            for j in range(lo, i + 1):
                oldest = None if shown[i] is None else shown[i] - window + 1
                # text between frames is part of the frame that it stands before
                inside = oldest is None or oldest < 0
                inside = inside or (shown[j] is not None and shown[j] >= oldest)
                seen[b][i][j] = mask[b][j] and (inside or j - lo < sink)
    return torch.tensor(seen)


@pytest.mark.parametrize("options", [{}, {"fused": False}, {"kv_bits": 8}], ids=str)
def test_at_ordinary_frames_it_is_the_stock_model(family, options):
    model = family.make_model()
    inputs = family.make_inputs(ORDINARY, TEXTS)
    model.set_attn_implementation("eager")
    stock, tokens = logits(model, inputs), answer(model, inputs)
    with intp_video.extend(model, ORDINARY, rope="none", **options):
        ours, our_tokens = logits(model, inputs), answer(model, inputs)
    if options.get("kv_bits") == 8:  # keys are packed from the 64th on
        assert (ours - stock).abs().max() < 0.05 * stock.abs().max()
        return
    torch.testing.assert_close(ours, stock, rtol=0, atol=TOLERANCE)
    assert torch.equal(our_tokens, tokens)
    torch.testing.assert_close(logits(model, inputs), stock, rtol=0, atol=0)


def test_a_video_shorter_than_a_group(family):
    """One call of the encoder, for all that there is."""
    model, mine = family.make_model(), SUPPORTED[family.name]
    if mine.groups_are_real:
        pytest.skip("its videos are whole groups")
    frames = mine.frames_per_unit(model.config)
    inputs = family.make_inputs(frames)
    stock, calls = logits(model, inputs), []
    with intp_video.extend(model, ORDINARY, rope="none", on_encode=lambda *at: calls.append(at)):
        ours = logits(model, inputs)
    torch.testing.assert_close(ours, stock, rtol=0, atol=TOLERANCE)
    assert all(done > 0 for done, _ in calls) and calls[-1] == (len(calls), len(calls))


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "unfused"])
def test_at_four_times_the_frames_with_yarn(family, fused):
    """Encoded in groups, over frequencies of yarn x4."""
    model = family.make_model()
    inputs = family.make_inputs(LONG, TEXTS)
    mine = SUPPORTED[family.name]
    trained = trained_rope(text_model(model), mine)
    rope = intp_ext.rope_frequencies(
        "yarn",
        trained.rotary_dim,
        base=10000.0,
        factor=4.0,
        original_max_position=TRAINED,
        sections=trained.sections,
        interleaved_sections=trained.interleaved_sections,
    )
    inv_freq = rope.inv_freq * (trained.inv_freq != 0)  # some channels of Gemma 4 do not turn
    with stock_with(model, replace(rope, inv_freq=inv_freq)):
        stock = logits(model, inputs)
    calls = []
    with intp_video.extend(
        model, LONG, rope="yarn", factor=4.0, fused=fused, on_encode=lambda *at: calls.append(at)
    ):
        ours = logits(model, inputs)
    assert len(calls) == calls[-1][1] >= LONG // 8
    torch.testing.assert_close(ours, stock, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("window", [1, 3])
@pytest.mark.parametrize("sink", [None, 2])
def test_window(family, window, sink):
    model = family.make_model()
    if family.slides:
        with pytest.raises(ValueError, match=f"window: expected None for {family.name} .*sliding"):
            intp_video.extend(model, 24, rope="none", window=window, sink=sink)
        return
    inputs = family.make_inputs(24, TEXTS)
    first_tokens = family.tokens if sink is None else sink
    visible = visible_by_definition(family, inputs, window, first_tokens, 24)
    with stock_with(model, trained_rope(text_model(model), SUPPORTED[family.name]), visible):
        stock = logits(model, inputs)
    with intp_video.extend(model, 24, rope="none", window=window, sink=sink):
        ours = logits(model, inputs)
        plain = logits(model, {**inputs})
    torch.testing.assert_close(ours, stock, rtol=0, atol=TOLERANCE)
    assert torch.equal(plain, ours)


def test_span_visual(family):
    """A visual token is a step of 1/s, any other token a step of 1."""
    model = family.make_model()
    inputs = family.make_inputs(24, TEXTS)
    if SUPPORTED[family.name].mrope is not None:
        with pytest.raises(ValueError, match="span: 'visual' counts positions by tokens"):
            intp_video.extend(model, 24, rope="linear", span="visual")
        return

    visual = inputs["input_ids"] == family.placeholder
    before = visual.cumsum(-1) - visual.long()

    def stretch(positions):
        return positions.float() - before * (1 - 1 / 4.0)

    causal = torch.ones(*visual.shape, visual.shape[1], dtype=torch.bool).tril()
    causal &= inputs["attention_mask"].bool()[:, None]
    rope = trained_rope(text_model(model), SUPPORTED[family.name])
    with stock_with(model, rope, causal, stretch):
        stock = logits(model, inputs)
    for fused in (True, False):
        with intp_video.extend(model, 24, rope="linear", span="visual", factor=4.0, fused=fused):
            ours = logits(model, inputs)
        torch.testing.assert_close(ours, stock, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("bits", [16, 8])
def test_keys_that_turn_when_they_are_read(family, bits):
    """As those that were rotated when they were written: the same frequencies and positions."""
    model = family.make_model()
    if SUPPORTED[family.name].rotates_pairs(model.config):
        with pytest.raises(ValueError, match="whose keys turn in pairs"):
            intp_video.extend(model, LONG, kv_rotate="on_read")
        return
    if family.slides:
        with pytest.raises(ValueError, match=r"kv_rotate: expected 'on_write' .*sliding_window"):
            intp_video.extend(model, LONG, kv_rotate="on_read", kv_bits=bits)
        return
    inputs = family.make_inputs(LONG, TEXTS)
    found = {}
    for rotate in ("on_write", "on_read"):
        options = {"rope": "yarn", "factor": 4.0, "window": 2, "kv_bits": bits}
        with intp_video.extend(model, LONG, kv_rotate=rotate, **options):
            found[rotate] = logits(model, inputs), answer(model, inputs)
    (written, tokens), (read, read_tokens) = found["on_write"], found["on_read"]
    if bits != 16:  # other codes: rotated keys have other ranges
        assert (read - written).abs().max() < 0.1 * written.abs().max()
        return
    torch.testing.assert_close(read, written, rtol=0, atol=TOLERANCE)
    assert torch.equal(read_tokens, tokens)


@torch.no_grad()
def test_restretch_beside_recurrent_layers():
    """It leaves them alone; there and back again is the way it was."""
    family = family_of("qwen3_5")
    model = family.make_model()
    inputs = family.make_inputs(ORDINARY)
    options = {"rope": "linear", "factor": 1.0, "kv_rotate": "on_read"}
    found = []
    for factors in ([], [4.0], [4.0, 1.0]):
        forget(model)
        with intp_video.extend(model, ORDINARY, **options) as handle:
            cache = compat.cache_of(model(**inputs, use_cache=True))
            for factor in factors:
                handle.restretch(cache, factor)
            going_on = {handle.cache_argument: cache, "input_ids": torch.tensor([[5]])}
            found.append(model(**going_on).logits)
    assert torch.equal(found[0], found[2])
    assert (found[0] - found[1]).abs().max() > 1e-3


@pytest.mark.parametrize("rotate", ["on_write", "on_read"])
@pytest.mark.parametrize("bits", [2, 4])
def test_low_bits_are_those_of_the_dequantized_cache(family, monkeypatch, bits, rotate):
    """Prefill and a few tokens over packed keys, with a window where no layer slides; in every
    packed layer by itself, as a rounding to a neighboring code would show in all that follow."""
    model = family.make_model()
    pairs = SUPPORTED[family.name].rotates_pairs(model.config)
    if rotate == "on_read" and (pairs or family.slides):
        return
    inputs = family.make_inputs(LONG, TEXTS)
    attend_cached, compared = hook_attention.attend_cached, []
    # angles of keys that turn when they are read are rounded twice, at 700 positions
    tolerance = 2e-4 if rotate == "on_read" else TOLERANCE

    def both(q, cache, bounds, scale):
        ours = attend_cached(q, cache, bounds, scale)
        defined = over_dequantized(q, cache, bounds, scale)
        torch.testing.assert_close(ours, defined, rtol=0, atol=tolerance)
        compared.append(cache.packed)
        return ours

    monkeypatch.setattr(hook_attention, "attend_cached", both)
    window = None if family.slides else 2
    with intp_video.extend(model, LONG, kv_bits=bits, kv_rotate=rotate, window=window) as handle:
        answer(model, inputs, tokens=3)
        assert (f"{bits} bits in layers" in str(handle)) == family.slides
    packed = [
        layer
        for layer in text_model(model).layers
        if hasattr(layer, "self_attn") and not getattr(layer.self_attn, "is_sliding", False)
    ]
    assert len(compared) == 3 * len(packed) and min(compared) >= 64


WAYS = {
    "beams": {"num_beams": 3},
    "several answers": {"do_sample": True, "num_return_sequences": 2},
    "static cache": {"cache_implementation": "static"},
    "chunked prefill": {"prefill_chunk_size": 11},
    "no cache": {"use_cache": False},
}

# Stock shows a video to the first token alone, or to the first chunk, and answers on.
LOSES_VIDEOS = {
    ("smolvlm", "no cache"): ("5.0.", "5.1.", "5.2.", "5.3."),
    ("gemma4", "chunked prefill"): ("5.17.",),
}


@pytest.mark.parametrize("way", WAYS)
def test_ways_to_generate(family, way):
    model = family.make_model()
    inputs = family.make_inputs(ORDINARY)
    try:
        stock = answer(model, inputs, **WAYS[way])
        if way == "chunked prefill":
            assert torch.equal(stock, answer(model, inputs))
    except Exception as error:
        pytest.skip(f"the stock model cannot: {type(error).__name__}: {error}")
    with intp_video.extend(model, ORDINARY, rope="none"):
        if transformers.__version__.startswith(LOSES_VIDEOS.get((family.name, way), ("none",))):
            with pytest.raises(ModelError, match="visual tokens came without a video"):
                answer(model, inputs, **WAYS[way])
            return
        ours = answer(model, inputs, **WAYS[way])
    assert torch.equal(ours, stock)


def test_a_video_in_chunks_under_a_window(family):
    """A prompt cut through its frames: as in one pass, or refused where text stands between."""
    model = family.make_model()
    inputs = family.make_inputs(16)
    size = {"prefill_chunk_size": family.tokens * 3 + 1}
    try:
        if not torch.equal(answer(model, inputs), answer(model, inputs, **size)):
            pytest.skip("the stock model loses the video")
    except (ValueError, RuntimeError, IndexError, TypeError, AttributeError) as error:
        pytest.skip(f"the stock model cannot cut the prompt: {type(error).__name__}")
    if family.slides:
        pytest.skip("no window over frames")
    with intp_video.extend(model, 16, rope="none", window=2):
        if SUPPORTED[family.name].text_between_frames:
            with pytest.raises(ModelError, match="text between frames and a prompt in chunks"):
                answer(model, inputs, **size)
            return
        whole, chunked = answer(model, inputs), answer(model, inputs, **size)
    assert torch.equal(whole, chunked)


def test_restore_leaves_no_trace(family):
    model = family.make_model()
    inputs = family.make_inputs(ORDINARY)
    answer(model, inputs, tokens=2)  # transformers hooks a model at its first pass
    before = everything(model, text_model(model))
    for options in ({} if family.slides else {"window": 2}, {"fused": False}, {"kv_bits": 4}):
        handle = intp_video.extend(model, ORDINARY, **options)
        answer(model, inputs, tokens=3)
        handle.restore()
    forget(model)
    after = everything(model, text_model(model))
    for state in (before, after):
        for name in ("model.rope_deltas", ".rope_deltas"):  # of the stock model
            state.pop(name, None)
    assert_same(after, before)


def test_a_pass_that_failed_spoils_layers_that_cannot_go_back(monkeypatch):
    family = family_of("qwen3_5")
    model = family.make_model()
    inputs = family.make_inputs(ORDINARY)
    inputs["use_cache"] = True
    with torch.no_grad(), intp_video.extend(model, ORDINARY, rope="none") as handle:
        whole = model(**inputs)
        name = handle.cache_argument
        for cache in (compat.cache_of(whole), DynamicCache(config=handle.text_config)):
            going_on = {name: cache, "use_cache": True}
            if cache.get_seq_length() == 0:
                going_on |= inputs
            else:
                going_on["input_ids"] = torch.tensor([[5]])
            with pytest.raises(TypeError), monkeypatch.context() as patch:
                patch.setattr(hook_attention, "attend", None)
                model(**going_on)
            with pytest.raises(ModelError, match="LinearAttentionLayer cannot go back"):
                model(**going_on)
        forget(model)
        assert torch.equal(model(**inputs).logits, whole.logits)


def test_a_cache_without_layers_is_refused(monkeypatch):
    model = family_of("qwen3_5").make_model()
    monkeypatch.setattr(compat, "caches_recurrent_layers", lambda: False)
    with pytest.raises(ModelError, match="'qwen3_5' needs a newer transformers"):
        intp_video.extend(model, ORDINARY)


@pytest.mark.parametrize("name", ["qwen3_vl", "qwen3_vl_moe"])
def test_qwen3_vl_is_refused_where_stock_cannot_run_it(name, monkeypatch):
    """By name at once, where stock would end in a StopIteration."""
    family = replace(family_of(name), needs=None)
    model, inputs = family.make_model(), family.make_inputs(ORDINARY)
    if not compat.takes_text_between_patches():
        with pytest.raises(StopIteration), torch.no_grad():
            model(**inputs)
    monkeypatch.setattr(compat, "takes_text_between_patches", lambda: False)
    with pytest.raises(ModelError, match=f"'{name}' needs another transformers than"):
        intp_video.extend(model, ORDINARY)


@pytest.mark.parametrize("name", ["glm4v", "glm4v_moe", "glm46v"])
def test_an_image_may_stand_where_a_video_would(name):
    """The placeholder is that of both: an extended model takes an image as the stock one does."""
    family = family_of(name)
    model = family.make_model()
    ids = torch.tensor([[5, 6, START, *[IMAGE] * family.tokens, END, 7, 8]])
    video = family.make_pixels(2, 1, torch.Generator().manual_seed(0))
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values": video["pixel_values_videos"],
        "image_grid_thw": video["video_grid_thw"],
    }
    if compat.takes_token_types():
        inputs["mm_token_type_ids"] = (ids == IMAGE).int()
    model.set_attn_implementation("eager")
    stock, tokens = logits(model, inputs), answer(model, inputs)
    with intp_video.extend(model, ORDINARY, rope="none", window=2):
        torch.testing.assert_close(logits(model, inputs), stock, rtol=0, atol=TOLERANCE)
        assert torch.equal(answer(model, inputs), tokens)


def test_layout_is_what_the_prompt_takes(family):
    """``plan`` and the default factor go by it: real tokens, and at least as many positions."""
    model = family.make_model()
    mine = SUPPORTED[family.name]
    side = family.side * SIDE  # of a frame that is cut into a grid
    frames = 16
    layout = mine.layout(model.config, frames, side, side)
    if family.pixels == "patches":  # as many as the processor makes, which the tiny frames have not
        processing = processing_for(family.name).from_values({}, model.config)
        made = processing.units(frames, side, side, range(frames))
        assert layout.tokens_per_unit == made.tokens[0] == layout.visual_tokens // frames
        assert layout.positions == layout.tokens > layout.visual_tokens
        return
    ids = family.make_inputs(frames)["input_ids"]
    assert layout.tokens_per_unit == family.tokens
    assert layout.visual_tokens == int((ids == family.placeholder).sum())
    assert layout.tokens >= layout.visual_tokens
    assert mine.frames_per_unit(model.config) == family.frames_per_unit
    if mine.mrope is None:
        assert layout.positions == layout.tokens
    else:
        assert layout.positions < layout.tokens


def test_positions_choose_the_stretch(family):
    model = family.make_model()
    mine = SUPPORTED[family.name]
    with intp_video.extend(model, LONG) as handle:
        positions = mine.layout(model.config, LONG).positions
        distance = mine.rope_distance(model.config, positions)
        if mine.mrope is None and distance == positions:
            assert handle.factor > 1
        assert handle.factor <= max(1, (distance + 256) / TRAINED)
        assert distance == positions or handle.factor == 1


def test_dynamic_ntk_stretches_what_a_layer_sees():
    """No two tokens that RoPE turns are further apart than the sliding window of EXAONE 4.5."""
    family = family_of("exaone4_5")
    model = family.make_model()
    inputs = family.make_inputs(LONG, TEXTS)
    stock = logits(model, inputs)
    with intp_video.extend(model, LONG, rope="dynamic_ntk"):
        ours = logits(model, inputs)
    torch.testing.assert_close(ours, stock, rtol=0, atol=TOLERANCE)


def test_too_many_frames(family):
    model = family.make_model()
    inputs = family.make_inputs(LONG)
    with intp_video.extend(model, ORDINARY):
        if not SUPPORTED[family.name].frames_are_of_one_video:
            pytest.skip("a call does not say which video a frame is of")
        with pytest.raises(ValueError, match="expected at most the 8 frames"):
            logits(model, inputs)


def test_options_that_mean_nothing_are_refused(family):
    model = family.make_model()
    if SUPPORTED[family.name].groups_are_real:
        return
    for options in ({"rearrange": "attention"}, {"grouping": "contiguous"}):
        with pytest.raises(ValueError, match="its encoder never looks across frames"):
            intp_video.extend(model, ORDINARY, **options)


def test_every_family_is_tested():
    assert {family.name for family in FAMILIES} == set(SUPPORTED)


@pytest.mark.parametrize("model_type", WHY_NOT)
def test_a_model_that_cannot_be_extended_says_why(model_type):
    class Config:
        pass

    Config.model_type = model_type
    with pytest.raises(ModelError, match=f"{model_type}.*cannot be extended: "):
        family_for(Config())


def test_cache_argument_is_known(family):
    model = family.make_model()
    module = SUPPORTED[family.name].multimodal_module(model)
    assert compat.cache_argument(module.forward) is not None


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl"])
def test_text_after_the_last_frame(name):
    """positions="after": each text begins after the largest position before it, in every release,
    and the answer goes on from there."""
    family = next(family for family in FAMILIES if family.name == name)
    model = family.make_model()
    inputs = family.make_inputs(40, TEXTS)
    ids, mask = inputs["input_ids"], inputs["attention_mask"].bool()

    def positions_of(**options):
        seen = []
        hook = text_model(model).register_forward_pre_hook(
            lambda module, args, kwargs: seen.append(kwargs["position_ids"][-3:]), with_kwargs=True
        )
        with intp_video.extend(model, 40, rope="none", **options):
            tokens = answer(model, inputs, tokens=3)
        hook.remove()
        return seen, tokens

    stock, _ = positions_of()
    after, tokens = positions_of(positions="after")
    for row in range(2):
        kept = mask[row]
        visual = (ids[row] == family.placeholder)[kept]
        mine, theirs = after[0][:, row, kept], stock[0][:, row, kept]
        assert torch.equal(mine[:, visual], theirs[:, visual])
        last = int(visual.nonzero()[-1])
        text = mine[:, last + 1 :]
        first = int(mine[:, : last + 1].max()) + 1
        assert torch.equal(text[0], torch.arange(first, first + text.shape[1]))
        assert torch.equal(after[1][:, row, 0], text[:, -1] + 1)  # the first token of the answer
    with torch.no_grad():
        forget(model)
        model.set_attn_implementation("eager")
        expected = model(**inputs, position_ids=after[0]).logits[:, -1].argmax(-1)
    assert torch.equal(tokens[:, -3], expected)


def test_positions_after_are_refused_where_stock_has_them(family):
    """Where text stands after every frame, in all rows, nothing is left to ask for."""
    model, mine = family.make_model(), SUPPORTED[family.name]
    if mine.text_overtakes_frames:
        intp_video.extend(model, 8, positions="after").restore()
        return
    with pytest.raises(ValueError, match=f"positions: expected 'stock' for {family.name}"):
        intp_video.extend(model, 8, positions="after")
    if mine.mrope is None:
        return
    inputs, seen = family.make_inputs(40, TEXTS), []
    hook = text_model(model).register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["position_ids"][-3:]), with_kwargs=True
    )
    logits(model, inputs)
    hook.remove()
    for row, ids in enumerate(inputs["input_ids"]):
        last = int((ids == family.placeholder).nonzero()[-1])
        positions = seen[0][:, row]
        kept = inputs["attention_mask"][row].bool()
        kept[last + 1 :] = False
        assert int(positions[:, last + 1 :].min()) > int(positions[:, kept].max())
