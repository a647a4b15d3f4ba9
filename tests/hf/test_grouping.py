"""Groups of frames through a fixed encoder, and their tokens back in time order."""

from __future__ import annotations

import intp_video
import pytest
import torch
from hf.tiny_model import TOKENS_PER_FRAME, make_inputs
from intp_video.grouping import encode_in_groups, encoder_order, storage_order
from torch import nn

import intp_ext


@pytest.mark.parametrize("grouping", ["interleaved", "contiguous"])
@pytest.mark.parametrize("groups_per_chunk", [1, 3, 4])
def test_per_frame_tower_equals_in_order_encoding(model, grouping, groups_per_chunk, monkeypatch):
    """A tower that sees one frame at a time cannot tell how frames were grouped: equal to the
    bit."""
    pixels = make_inputs(32)["pixel_values_videos"]
    stock = model.model.get_video_features

    def one_frame_at_a_time(
        chunk, **kwargs
    ):  # the last bit of a matrix product depends on its batch
        outputs = [stock(frame[None, None], **kwargs) for group in chunk for frame in group]
        features = torch.cat([_features_of(output) for output in outputs])
        if isinstance(outputs[0], tuple):
            return features, len(features)
        return type(outputs[0])(pooler_output=features)

    with torch.no_grad():
        in_order = torch.stack(
            [
                torch.cat([_features_of(stock(frame[None, None])) for frame in video])
                for video in pixels
            ]
        )  # [V, M, P, C], frame by frame
        monkeypatch.setattr(model.model, "get_video_features", one_frame_at_a_time)
        with intp_video.extend(model, 32, grouping=grouping, groups_per_chunk=groups_per_chunk):
            grouped = _features_of(model.model.get_video_features(pixels))
    assert torch.equal(grouped.view_as(in_order), in_order)


def _features_of(output):
    return output[0] if isinstance(output, tuple) else output.pooler_output


class TemporalTower(nn.Module):
    """A tower with attention over exactly 8 frames: per patch, across the frames of a group.

    ``[F, 3, H, W] -> hidden_states [F, P, C]``, F a multiple of 8.
    """

    FRAMES = 8

    def __init__(self, hidden: int, patches: int) -> None:
        super().__init__()
        self.embed = nn.Linear(3, hidden)
        self.frame_embedding = nn.Parameter(torch.randn(self.FRAMES, 1, hidden))
        self.attention = nn.MultiheadAttention(hidden, 2, batch_first=True)
        self.patches = patches

    def forward(self, pixel_values, **kwargs):
        x = self.embed(pixel_values.mean((-1, -2)))[:, None].expand(
            -1, self.patches, -1
        )  # [F, P, C]
        x = x.unflatten(0, (-1, self.FRAMES)) + self.frame_embedding  # [g, 8, P, C]
        per_patch = x.transpose(1, 2).flatten(0, 1)  # [g * P, 8, C]
        mixed = self.attention(per_patch, per_patch, per_patch, need_weights=False)[0]
        x = mixed.unflatten(0, (-1, self.patches)).transpose(1, 2).flatten(0, 1)
        return type("Output", (), {"hidden_states": [x]})()


def encoded(encode, pixels, grouping):
    """``[V, M * P, C]`` in storage order, from ``encode [g, N, 3, H, W] -> [g * N, P, C]``."""
    order = encoder_order(pixels.shape[1], 8, grouping)
    videos = [
        encode_in_groups(lambda units, v=video: [encode(v[units]).flatten(0, 1)], order, 8)[0]
        for video in pixels
    ]
    return torch.stack(videos)


@pytest.mark.parametrize("grouping", ["interleaved", "contiguous"])
def test_temporal_tower_equals_a_slow_loop(model, grouping):
    """Frame f of the result is place n of group g, straight from the definition."""
    torch.manual_seed(3)
    frames, per_group = 32, 8
    groups = frames // per_group
    tower = TemporalTower(32, TOKENS_PER_FRAME).eval()
    projector = model.model.multi_modal_projector
    pixels = make_inputs(frames)["pixel_values_videos"]

    def encode(chunk):  # [g, N, 3, H, W] -> [g * N, P, C]
        return projector(tower(chunk.flatten(0, 1)).hidden_states[-1])

    with torch.no_grad():
        features = encoded(encode, pixels, grouping)
        order = storage_order(frames, per_group, TOKENS_PER_FRAME, grouping)
        ours = intp_ext.rearrange(features, order).view(len(pixels), frames, TOKENS_PER_FRAME, -1)
        for v, video in enumerate(pixels):
            for g in range(groups):
                if grouping == "interleaved":
                    members = [g + n * groups for n in range(per_group)]
                else:
                    members = [g * per_group + n for n in range(per_group)]
                slow = encode(torch.stack([video[f] for f in members])[None])
                for n, f in enumerate(members):
                    torch.testing.assert_close(ours[v, f], slow[n], rtol=0, atol=1e-6)


def test_temporal_tower_tells_groupings_apart():
    torch.manual_seed(3)
    tower = TemporalTower(32, TOKENS_PER_FRAME).eval()
    pixels = make_inputs(32)["pixel_values_videos"]

    def in_time_order(grouping):
        with torch.no_grad():
            features = encoded(lambda x: tower(x.flatten(0, 1)).hidden_states[-1], pixels, grouping)
        return intp_ext.rearrange(features, storage_order(32, 8, TOKENS_PER_FRAME, grouping))

    difference = in_time_order("interleaved") - in_time_order("contiguous")
    assert difference.abs().max() > 1e-2


def test_memory_is_bounded_by_one_chunk_of_groups():
    seen, done = [], []

    def encode(units):
        seen.append(units)
        return [units.flatten()[:, None].float()]

    rows = encode_in_groups(encode, torch.arange(60), 8, groups_per_chunk=3, progress=done.append)
    assert [tuple(units.shape) for units in seen] == [(3, 8), (3, 8), (1, 8), (1, 4)]
    assert done == [3, 3, 1, 1]
    assert torch.equal(rows[0][:, 0], torch.arange(60.0))
