"""Every arm against what it says it does, on the features that the language model gets."""

import intp_video
import pytest
import torch
from intp_video import compat
from intp_video.lab.evaluation import METHODS, Arm, arms_of
from intp_video.lab.evaluation.arms import STRETCHED
from intp_video.lab.training.recipe import (
    IMAGE_SIZE,
    TOKENS_PER_FRAME,
    untrained_model,
    write_directory,
)
from intp_video.preparation import Preparer

M, N = 16, 8


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    model = untrained_model(seed=0).eval()
    directory = tmp_path_factory.mktemp("model")
    write_directory(directory, model)
    return model, Preparer.from_pretrained(directory)


@pytest.fixture(scope="module")
def pixels():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(1, M, 3, IMAGE_SIZE, IMAGE_SIZE, generator=generator)


def tower(model, frames):
    """``[F, P, C]`` of F frames, eight in a row at a time."""
    seen = model.model.video_tower(frames).last_hidden_state
    return model.model.multi_modal_projector(seen)


@torch.no_grad()
def features_of(loaded, pixels, arm):
    model, preparer = loaded
    with arm.applied(model, preparer) as prepare:
        output = model.model.get_video_features(pixels)
        assert model.model.get_video_features(pixels) is output  # encoded once
        features = compat.pooled_features(output)
        assert features.shape[1] == prepare.tokens_per_frame
    assert "get_video_features" not in vars(model.model)
    return features


@torch.no_grad()
def test_features_of_every_method(loaded, pixels):
    model = loaded[0]
    frames = pixels[0]
    groups = [tower(model, frames[g::2]) for g in range(2)]  # interleaved
    in_time = torch.stack(groups, dim=1).flatten(0, 1)
    in_a_row = tower(model, frames)
    alone = torch.stack(
        [tower(model, frames[f : f + 1].expand(N, -1, -1, -1))[f * N // M] for f in range(M)]
    )
    expected = {
        "stock": in_a_row,
        "intp": in_time,
        "unrearranged": torch.cat(groups),
        "contiguous": in_a_row,
        "alone": alone,
    }
    for method, features in expected.items():
        rope = None if method == "stock" else "ntk"
        found = features_of(loaded, pixels, Arm(method, M, rope))
        torch.testing.assert_close(found, features, rtol=1e-4, atol=1e-5, msg=method)
    assert not torch.allclose(in_time, in_a_row) and not torch.allclose(in_time, alone)


@torch.no_grad()
def test_pooled_keeps_the_budget_of_eight_frames(loaded, pixels):
    full = features_of(loaded, pixels, Arm("intp", M, "none"))
    pooled = features_of(loaded, pixels, Arm("pooled", M))
    assert pooled.shape[:2] == (M, TOKENS_PER_FRAME * N // M)
    torch.testing.assert_close(pooled[:, 0], full[:, 0])  # the class token
    cut = torch.nn.functional.adaptive_avg_pool1d(full[:, 1:].mT, pooled.shape[1] - 1).mT
    torch.testing.assert_close(pooled[:, 1:], cut)
    long = pixels.repeat(1, 8, 1, 1, 1)  # 128 frames: one token each is the least
    assert features_of(loaded, long, Arm("pooled", 128)).shape[1] == 1


def test_what_an_arm_asks_of_extend(loaded):
    model, preparer = loaded
    with Arm("intp", 32, "visual", 4).applied(model, preparer):
        handle = model._intp_handle
        assert (handle.options.rope, handle.options.span) == ("linear", "visual")
        assert handle.options.window == 4
    with Arm("contiguous", 32, "yarn").applied(model, preparer):
        assert model._intp_handle.options.grouping == "contiguous"
        assert model._intp_handle.options.rope == "yarn"
    with Arm("pooled", 32).applied(model, preparer):
        assert model._intp_handle.options.rope == "none"
    with Arm("intp", 32, "yarn", None, 4).applied(model, preparer):
        assert model._intp_handle.options.kv_bits == 4
    with Arm("stock", 32).applied(model, preparer):
        assert not hasattr(model, "_intp_handle")
    intp_video.extend(model, 8).restore()  # nothing was left behind


def test_the_grid_of_arms():
    arms = arms_of([8, 32], list(METHODS), ["ntk", "none"], [None, 4], 8)
    assert arms[0] == Arm("stock", 8) and len(set(arms)) == len(arms)
    assert len(arms) == 2 * (2 + 4 * 4)  # stock and pooled have neither RoPE nor window
    assert len({arm.name for arm in arms}) == len(arms)
    packed = arms_of([8], ["stock", "intp"], ["ntk"], [None], 8, [None, 16, 4])
    assert [arm.name for arm in packed] == [
        *("stock-8", "intp-8-ntk", "intp-8-ntk-kv16", "intp-8-ntk-kv4")
    ]
    for bad in (([12], ["intp"], ["ntk"]), ([8], ["best"], ["ntk"]), ([8], ["intp"], ["rotary"])):
        with pytest.raises(ValueError, match=r"eval: (frames|method|rope): expected"):
            arms_of(*bad, [None], 8)


@torch.no_grad()
@pytest.mark.parametrize("method", METHODS)
def test_every_method_answers_through_generate(loaded, method):
    """generate() may encode the video before the pass, which the extended model looks for."""
    model, preparer = loaded
    pixels = torch.zeros(1, M, 3, IMAGE_SIZE, IMAGE_SIZE)
    with Arm(method, M, "ntk" if method in STRETCHED else None).applied(model, preparer) as prepare:
        for text in ("how many shapes were there?", "was there a bar?"):
            ids = prepare.prompt_ids(text, M)
            output = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                pixel_values_videos=pixels,
                max_new_tokens=2,
                do_sample=False,
            )
            assert output.shape[1] > ids.shape[1]
