"""The tower with attention over time, and the model class around it."""

import intp_video
import pytest
import torch
from intp_video import compat
from intp_video.errors import ModelError
from intp_video.lab.model_directory import FRAMES
from intp_video.lab.training.recipe import IMAGE_SIZE, untrained_model, write_directory
from intp_video.towers import TemporalClipConfig, TemporalClipModel, TemporalVideoLlava
from transformers import CLIPVisionModel

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
    "projection_dim": 32,
}
# LanguageBind's names under vision_model.encoder.layers.N
LINEAR = [f"{name}.{part}" for name in ("k_proj", "v_proj", "q_proj", "out_proj") for part in "wb"]
LAYER = {
    "temporal_embedding",
    *(f"{attn}.{name}" for attn in ("self_attn", "temporal_attn") for name in LINEAR),
    *(f"mlp.{fc}.{part}" for fc in ("fc1", "fc2") for part in "wb"),
    *(f"{n}.{p}" for n in ("layer_norm1", "layer_norm2", "temporal_layer_norm1") for p in "wb"),
}


@pytest.fixture(scope="module")
def tower():
    torch.manual_seed(0)
    return TemporalClipModel(TemporalClipConfig(**SIZES, num_frames=4)).eval()


def frames(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def test_parameters_have_the_names_of_the_original(tower):
    names = {
        name.split("layers.0.")[1].replace("weight", "w").replace("bias", "b")
        for name in tower.state_dict()
        if "layers.0." in name
    }
    assert names == LAYER
    assert tower.encoder.layers[0].temporal_embedding.shape == (1, 4, 32)


@torch.no_grad()
def test_without_its_temporal_part_it_is_clip(tower):
    torch.manual_seed(1)
    plain = TemporalClipModel(TemporalClipConfig(**SIZES, num_frames=4)).eval()
    for layer in plain.encoder.layers:
        layer.temporal_embedding.zero_()
        layer.temporal_attn.out_proj.weight.zero_()
    clip = CLIPVisionModel(intp_video.towers.temporal_clip.CLIPVisionConfig(**SIZES)).eval()
    weights = {n: t for n, t in plain.state_dict().items() if "temporal" not in n}
    getattr(clip, "vision_model", clip).load_state_dict(weights)  # transformers 4 wraps it
    pixels = frames(8)
    ours = plain(pixels, output_hidden_states=True)
    theirs = clip(pixels, output_hidden_states=True)
    torch.testing.assert_close(ours.last_hidden_state, theirs.last_hidden_state)
    torch.testing.assert_close(ours.pooler_output, theirs.pooler_output)
    torch.testing.assert_close(ours.hidden_states, tuple(theirs.hidden_states))


@torch.no_grad()
def test_a_layer_is_what_its_docstring_says(tower):
    layer = tower.encoder.layers[1]
    x = torch.randn(2, 4, 5, 32, generator=torch.Generator().manual_seed(3))  # [B, N, P, D]
    y = x + layer.temporal_embedding.view(1, 4, 1, 32)
    mixed = torch.empty_like(y)
    for group in range(2):
        for place in range(5):
            over_time = layer.temporal_layer_norm1(y[group, :, place])[None]
            mixed[group, :, place] = y[group, :, place] + layer.temporal_attn(over_time)[0][0]
    for group in range(2):
        for frame in range(4):
            z = mixed[group, frame]
            z = z + layer.self_attn(layer.layer_norm1(z)[None])[0][0]
            mixed[group, frame] = z + layer.mlp(layer.layer_norm2(z))
    torch.testing.assert_close(layer(x.flatten(0, 1)), mixed.flatten(0, 1))


@torch.no_grad()
def test_frames_see_their_own_group_in_its_order(tower):
    pixels = frames(8)
    whole = tower(pixels).last_hidden_state
    torch.testing.assert_close(tower(pixels[4:]).last_hidden_state, whole[4:])
    swapped = tower(pixels[[1, 0, 2, 3]]).last_hidden_state
    for frame in range(4):  # every frame of the group notices, wherever it stands itself
        place = (1, 0, 2, 3)[frame]
        assert (swapped[place] - whole[frame]).abs().max() > 1e-3


def test_half_a_group_is_refused(tower):
    with pytest.raises(ModelError, match="whole groups of 4 frames, got 6"):
        tower(frames(6))


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    model = untrained_model(seed=0)
    directory = tmp_path_factory.mktemp("model")
    write_directory(directory, model)
    return directory, model.eval()


@torch.no_grad()
def test_load_finds_the_tower(directory):
    path, written = directory
    model, preparer = intp_video.load(path)
    assert type(model) is TemporalVideoLlava
    assert isinstance(model.model.video_tower, TemporalClipModel)
    assert preparer.frames_per_group == FRAMES
    for name, tensor in written.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    total = sum(parameter.numel() for parameter in model.parameters())
    assert intp_video.plan(path).weight_bytes == 4 * total
    with pytest.raises(ModelError, match="no image tower"):
        model.model.image_tower(frames(1))


@torch.no_grad()
def test_extended_it_gets_interleaved_groups(directory):
    model = directory[1]
    pixels = torch.randn(1, 16, 3, IMAGE_SIZE, IMAGE_SIZE)
    with intp_video.extend(model, frames=16):
        output = model.model.get_video_features(pixels)
        extended = compat.pooled_features(output)
    for group in range(2):
        output = model.model.get_video_features(pixels[:, group::2])
        alone = compat.pooled_features(output)
        torch.testing.assert_close(extended[group::2], alone)
