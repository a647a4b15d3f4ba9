"""Accuracy against bits: simulated caches are packed ones, and answers are those of generate."""

import kv_accuracy
import pytest
import torch
from intp_video import SMALL_MODEL, load
from intp_video.lab.evaluation import Arm, VideoQuestion, is_right
from intp_video.lab.evaluation.run import ask_all
from intp_video.lab.shapes import held_out_world, write_world
from intp_video.video import read_video
from kv_accuracy import EXACT, Asker, judge, summarize
from kv_schemes import Scheme, SimulatedLayer
from ops.kv_inputs import packing_cache

from intp_ext import kv_cache

FRAMES = 32


class Simulated(Scheme):
    simulated = True


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(
    "scheme",
    [
        Scheme(4, 4),
        Scheme(2, 8, key_group=128),
        Scheme(8, 2, value_group=16),
        Scheme(16, 4),
        Scheme(2, 16),
    ],
)
def test_a_simulated_layer_is_a_packed_cache(scheme, dtype):
    """Keys and values to the bit, in whatever pieces they come."""
    torch.manual_seed(0)
    k, v = (torch.randn(1, 3, 300, 32).to(dtype) for _ in range(2))
    layer = SimulatedLayer(scheme)
    for piece in (slice(0, 100), slice(100, 101), slice(101, 300)):
        keys, values = layer.update(k[:, :, piece], v[:, :, piece])
    groups = {"key_group": scheme.key_group, "value_group": scheme.value_group}
    of_keys, of_values = (
        packing_cache(bits, **groups, **scheme.kept)
        for bits in (scheme.key_bits, scheme.value_bits)
    )
    for cache in (of_keys, of_values):
        cache.append(k, v)
    assert torch.equal(keys, of_keys.dequantize()[0])
    assert torch.equal(values, of_values.dequantize()[1])
    packed = scheme.packed(300)
    assert 0 < packed < 300 and torch.equal(values[:, :, packed:], v[:, :, packed:])


def test_values_per_channel_are_quantised_like_keys():
    torch.manual_seed(0)
    x = torch.randn(1, 2, 128, 32).bfloat16()
    scheme = Scheme(2, 2, values="channel")
    assert torch.equal(scheme.round_values(x), scheme.round_keys(x))
    assert not torch.equal(scheme.round_values(x), Scheme(2, 2).round_values(x))


@pytest.mark.parametrize("head_dim", [32, 80, 128])
@pytest.mark.parametrize("groups", [(64, 64), (256, 16), (128, 128)])
def test_bytes_are_those_of_the_cache(head_dim, groups):
    for bits in kv_cache.BITS:
        cache = packing_cache(bits, key_group=groups[0], value_group=groups[1])
        cache.append(*torch.zeros(2, 1, 1, 256, head_dim, dtype=torch.bfloat16))
        scheme = Scheme(bits, bits, *groups)
        assert cache.nbytes == scheme.share_of_16_bits(head_dim) * 256 * 4 * head_dim
        assert scheme.share_of_16_bits(head_dim, ranges=False) == bits / 16


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    path = tmp_path_factory.mktemp("world") / "shapes-32-000.mp4"
    world, questions = held_out_world(0, 1 / 32)
    write_world(path, world, frames=64)
    asked = [
        VideoQuestion(str(i), str(path), q.text, q.answer, q.options)
        for i, q in enumerate(questions)
    ]
    return path, asked


def test_logits_and_answers_are_those_of_the_model(world):
    torch.set_num_threads(1)
    path, questions = world
    model, preparer = load(SMALL_MODEL)
    asker = Asker(model, preparer, FRAMES)
    prompts = asker.prompts(path, questions)
    exact = asker.log_probabilities(EXACT, prompts)
    for bits in (4, 2):
        packed = asker.log_probabilities(Scheme(bits, bits), prompts)
        simulated = asker.log_probabilities(Simulated(bits, bits), prompts)
        for ours, theirs, full in zip(packed, simulated, exact, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-3)
            assert (ours - full).abs().max() > 2e-3  # so that the simulation is seen
    judged = [
        judge(*pair, answer) for *pair, (_, answer) in zip(exact, packed, prompts, strict=True)
    ]
    clip = read_video(path, FRAMES)
    said = ask_all(
        model, preparer, clip, questions, Arm("intp", FRAMES, "yarn", None, 2),
        max_new_tokens=3, show_options=False,
    )  # fmt: skip
    expected = [is_right(p.said, q.answer, q.options) for p, q in zip(said, questions, strict=True)]
    assert [bool(x["right"]) for x in judged] == expected


def test_judgements_add_up():
    exact = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]]).log()
    other = torch.tensor([[0.3, 0.6, 0.1], [0.1, 0.8, 0.1]]).log()
    answer = torch.tensor([0, 1])
    same, changed = judge(exact, exact, answer), judge(exact, other, answer)
    assert (same["right"], same["changed"], same["kl"]) == (1, 0, 0)
    assert (changed["right"], changed["changed"]) == (0, 1)
    assert changed["kl"] == pytest.approx((0.7 * 0.8473 - 0.2 * 1.0986) / 2, abs=1e-4)
    assert changed["nll"] == pytest.approx((1.2040 + 0.2231) / 2, abs=1e-4)
    found = summarize({"a": [changed, same], "b": [same]}, {"a": [same, same], "b": [same]})
    assert found["over_16_bits"]["mean"] == pytest.approx(-1 / 3)
    assert found["changed"]["mean"] == pytest.approx(1 / 3)
    assert found["kl"]["max"] == pytest.approx(changed["kl"])
    assert found["kl"]["mean"] == pytest.approx(changed["kl"] / 3)
    assert found["kl"]["low"] == 0 < found["kl"]["mean"] < found["kl"]["high"]


def test_every_scheme_is_told_apart():
    assert len({scheme.name for scheme in kv_accuracy.SCHEMES}) == len(kv_accuracy.SCHEMES)
    assert [s for s in kv_accuracy.SCHEMES if not s.simulated] == [
        *(Scheme(bits, bits) for bits in (16, 8, 4, 3, 2)),
        *(Scheme(bits, bits, rotate="on_read") for bits in (4, 2)),
    ]
