"""The small model, a video of shapes, and a desk."""

import intp_video
import pytest
from intp_video.app.desk import Desk
from intp_video.app.showing import Projector
from intp_video.lab.shapes import held_out_world, write_world


@pytest.fixture(scope="session")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("app") / "shapes.mp4"
    write_world(path, held_out_world(0, 1 / 32)[0], frames=64, size=64)
    return str(path)


@pytest.fixture
def loaded():
    return intp_video.load(intp_video.SMALL_MODEL)


@pytest.fixture
def desk(loaded):
    desk = Desk(*loaded, max_new_tokens=8)
    yield desk
    desk.close()


@pytest.fixture
def projector(loaded):
    model, preparer = loaded
    return Projector(model.config, preparer, model.dtype)
