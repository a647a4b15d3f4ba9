"""``intp-video random-model``."""

from intp_video.lab.random_model import make_random_model


def test_it_writes_what_the_function_writes(cli, tmp_path):
    outcome = cli("random-model", "models/tiny", "--seed", 3)
    assert (outcome.code, outcome.out) == (0, "models/tiny\n")
    expected = make_random_model(tmp_path / "x", seed=3) / "model.safetensors"
    assert (tmp_path / "models/tiny/model.safetensors").read_bytes() == expected.read_bytes()
