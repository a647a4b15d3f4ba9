"""What a player does to a picture before it shows it: turn, mirror, stretch, deinterlace, tone-map.

PyAV's frames are shown that way. Other decoders' are not, and a note says what is missing.
"""

from fractions import Fraction

import numpy as np
import pytest
from intp_video.video import backend_status, read_video
from video.make_videos import (
    HEIGHT,
    WIDTH,
    numbered_image,
    numbers_of,
    set_display_matrix,
    write_video,
)

PQ, HLG, BT2020 = 16, 18, 9
needs_decord = pytest.mark.skipif(
    not backend_status("decord").usable, reason="decord does not work here"
)
MATRICES = {
    "as it is": (1, 0, 0, 1),
    "mirrored left to right": (-1, 0, 0, 1),
    "mirrored top to bottom": (1, 0, 0, -1),
    "half a turn": (-1, 0, 0, -1),
    "quarter turn": (0, 1, -1, 0),
    "quarter turn the other way": (0, -1, 1, 0),
    "mirrored at the diagonal": (0, 1, 1, 0),
    "mirrored at the other diagonal": (0, -1, -1, 0),
}


def as_shown(image: np.ndarray, a: int, b: int, c: int, d: int) -> np.ndarray:
    """The definition, pixel by pixel: x, y goes to a x + c y, b x + d y."""
    height, width, _ = image.shape
    y, x = np.mgrid[:height, :width]
    column, row = a * x + c * y, b * x + d * y
    column, row = column - column.min(), row - row.min()
    shown = np.empty((row.max() + 1, column.max() + 1, 3), dtype=np.uint8)
    shown[row, column] = image
    return shown


def difference(one: np.ndarray, other: np.ndarray) -> float:
    assert one.shape == other.shape
    return float(np.abs(one.astype(int) - other).mean())


# -- display matrices -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", MATRICES)
def test_display_matrix(tmp_path, name):
    plain = read_video(write_video(tmp_path / "plain.mp4", 4), 4).frames
    path = set_display_matrix(write_video(tmp_path / "v.mp4", 4), *MATRICES[name])
    clip = read_video(path, 4, "pyav")
    for got, stored in zip(clip.frames, plain, strict=True):
        assert difference(got, as_shown(stored, *MATRICES[name])) < 1
    assert clip.notes == ()


def test_a_slanted_display_matrix_is_shown_upright_and_said(tmp_path):
    path = write_video(tmp_path / "v.mp4", 4, rotation=20)
    clip = read_video(path, 4, "pyav")
    assert clip.frames.shape[1:3] == (HEIGHT, WIDTH)
    assert clip.notes == (
        "its metadata turn the picture by 20 degrees: it is shown in the nearest quarter turn",
    )


@needs_decord
def test_decord_says_that_it_does_not_mirror(tmp_path):
    path = set_display_matrix(
        write_video(tmp_path / "v.mp4", 4), *MATRICES["mirrored left to right"]
    )
    assert read_video(path, 4, "decord").notes == (
        "decord does not mirror the picture as its metadata say",
    )


# -- pixels that are not square -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratio", "size"),
    [
        (Fraction(16, 11), (64, 186)),  # wide pixels: rows are kept, columns are added
        (Fraction(1, 2), (128, 128)),  # tall pixels: columns are kept, rows are added
        (Fraction(1, 1), (64, 128)),
    ],
)
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_sample_aspect_ratio(tmp_path, ratio, size, suffix):
    path = write_video(tmp_path / f"v.{suffix}", 4, context={"sample_aspect_ratio": ratio})
    clip = read_video(path, 4, "pyav")
    assert clip.frames.shape == (4, *size, 3)
    said = f"pixels are not square ({ratio.numerator}:{ratio.denominator}): the picture of 128x64 "
    said += f"is shown as {size[1]}x{size[0]}"
    assert clip.notes == (() if ratio == 1 else (said,))


def test_sample_aspect_ratio_and_rotation(tmp_path):
    path = write_video(
        tmp_path / "v.mp4", 4, rotation=90, context={"sample_aspect_ratio": Fraction(16, 11)}
    )
    assert read_video(path, 4, "pyav").frames.shape == (4, 186, 64, 3)


def test_an_absurd_sample_aspect_ratio_is_not_followed(tmp_path):
    path = write_video(tmp_path / "v.mp4", 4, context={"sample_aspect_ratio": Fraction(30, 1)})
    clip = read_video(path, 4, "pyav")
    assert clip.frames.shape == (4, 64, 128, 3)
    assert clip.notes == ("its metadata tell pixels of 30:1, which no camera has: not followed",)


def test_a_sample_aspect_ratio_that_changes(tmp_path):
    """As between films and news: each frame with its own, also after a jump."""
    data, ratios = b"", [Fraction(1), Fraction(2), Fraction(1, 2)]
    for part, ratio in enumerate(ratios):
        path = tmp_path / f"{part}.ts"
        pts = [10 * part + i for i in range(10)]
        images = [numbered_image(n) for n in pts]
        write_video(path, 10, images=images, pts=pts, context={"sample_aspect_ratio": ratio})
        data += path.read_bytes()
    (tmp_path / "joined.ts").write_bytes(data)
    clip = read_video(tmp_path / "joined.ts", 15, "pyav")
    assert clip.frames.shape == (15, HEIGHT, WIDTH, 3)
    assert clip.notes == (
        "the stream changes the shape of its pixels (1:1, 2:1, 1:2): every frame is shown with "
        "square ones at 128x64",
    )
    plain, wide, tall = clip.frames[:5], clip.frames[5:10], clip.frames[10:]
    assert numbers_of(plain) == [1, 3, 5, 7, 9]
    # 256x64 on 128x64: half as high, between margins; 128x128: half as wide
    assert max(wide[:, :15].max(), wide[:, -15:].max()) < 8 < wide[:, 18:46].max()
    assert max(tall[:, :, :31].max(), tall[:, :, -31:].max()) < 8 < tall[:, :, 34:94].max()


def test_the_ratio_of_the_container_is_for_all_frames(tmp_path):
    path = write_video(tmp_path / "v.mp4", 4, context={"sample_aspect_ratio": Fraction(16, 11)})
    data = path.read_bytes()
    at = data.index(b"pasp") + 4  # and 16:11 stays in the stream
    path.write_bytes(data[:at] + bytes([0, 0, 0, 2, 0, 0, 0, 1]) + data[at + 8 :])
    assert read_video(path, 4, "pyav").frames.shape == (4, 64, 256, 3)


@needs_decord
def test_decord_says_that_it_does_not_stretch(tmp_path):
    path = write_video(tmp_path / "v.mp4", 4, context={"sample_aspect_ratio": Fraction(16, 11)})
    assert read_video(path, 4, "decord").notes == (
        "decord does not stretch pixels that are not square (16:11)",
    )


# -- interlaced -----------------------------------------------------------------------------------


def combed() -> list[np.ndarray]:
    """A bar that moves between the two fields of a frame: its edges are combs."""
    images = []
    for i in range(8):
        image = np.full((HEIGHT, WIDTH, 3), 40, dtype=np.uint8)
        image[::2, 8 * i : 8 * i + 24] = 220
        image[1::2, 8 * i + 12 : 8 * i + 36] = 220
        images.append(image)
    return images


def combing(frames: np.ndarray) -> float:
    """How much rows differ from their neighbors in ways that the next ones take back."""
    rows = frames.astype(int).mean(axis=-1)
    return float(np.abs(rows[:, 1:-1] - (rows[:, :-2] + rows[:, 2:]) / 2).mean())


INTERLACED = {
    "h264": {"options": {"x264-params": "tff=1"}},
    "mpeg2video": {"options": {"flags": "+ildct+ilme", "b": "4M"}},
}


@pytest.mark.parametrize("codec", INTERLACED)
def test_interlaced_pictures_are_deinterlaced(tmp_path, codec):
    path = write_video(tmp_path / "v.mkv", 8, codec=codec, images=combed(), **INTERLACED[codec])
    clip = read_video(path, 8, "pyav")
    assert clip.indices.tolist() == list(range(8))
    assert combing(np.stack(combed())) > 10
    assert combing(clip.frames) < 3
    assert clip.notes == ("the video is interlaced: each frame was deinterlaced by itself",)


def test_progressive_pictures_are_left_alone(tmp_path):
    """The same combs, not marked as fields, are a picture of combs."""
    path = write_video(tmp_path / "v.mkv", 8, images=combed(), options={"crf": "4"})
    clip = read_video(path, 8, "pyav")
    assert combing(clip.frames) > 10 and clip.notes == ()


@needs_decord
def test_decord_says_that_it_does_not_deinterlace(tmp_path):
    path = write_video(tmp_path / "v.mp4", 8, images=combed(), **INTERLACED["h264"])
    assert read_video(path, 8, "decord").notes == ("decord does not deinterlace",)


# -- high dynamic range ---------------------------------------------------------------------------


def pq(nits: float) -> float:
    """SMPTE ST 2084: the signal, 0 to 1, of so many candela per square metre."""
    y = (nits / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375


NITS = [0, 1, 10, 50, 100, 203, 400, 1000]


def bright_steps() -> np.ndarray:
    """Gray columns of `NITS` as PQ has them."""
    image = np.empty((HEIGHT, WIDTH, 3), dtype=np.uint8)
    for i, nits in enumerate(NITS):
        image[:, i * 16 : (i + 1) * 16] = round(255 * pq(nits))
    return image


def write_hdr(path, transfer: int):
    return write_video(
        path,
        4,
        images=[bright_steps()] * 4,
        pix_fmt="yuv420p10le",
        options={"crf": "4"},
        context={
            "color_trc": transfer,
            "color_primaries": BT2020,
            "colorspace": BT2020,
            "color_range": 1,
        },
    )


@pytest.mark.parametrize(("transfer", "name"), [(PQ, "PQ"), (HLG, "HLG")])
def test_high_dynamic_range_is_mapped_or_said(tmp_path, transfer, name):
    clip = read_video(write_hdr(tmp_path / "v.mkv", transfer), 4, "pyav")
    assert clip.frames.shape == (4, HEIGHT, WIDTH, 3)
    if clip.notes == (f"high dynamic range ({name}): this FFmpeg cannot map it, colors are pale",):
        pytest.skip("this FFmpeg has no tone mapping")
    assert clip.notes == (f"high dynamic range ({name}) was mapped to the range of a screen",)
    shown = clip.frames[0, 32, 8::16].mean(axis=-1)
    assert (np.diff(shown) > 0).all(), "brighter is brighter, up to the top"
    assert shown[0] < 4 and shown[-1] < 255
    if transfer == PQ:  # the signal of 1 candela is 38 of 255; on a screen of 203 it is 20
        assert shown[1] < 30


def test_an_ffmpeg_without_the_filters_says_so(tmp_path, monkeypatch):
    def refuse(*_):
        raise ValueError("no such filter")

    hdr = write_hdr(tmp_path / "hdr.mkv", PQ)
    combs = write_video(tmp_path / "v.mkv", 8, images=combed(), **INTERLACED["h264"])
    monkeypatch.setattr("intp_video.video.picture._graph", refuse)
    assert read_video(hdr, 4, "pyav").notes == (
        "high dynamic range (PQ): this FFmpeg cannot map it, colors are pale",
    )
    assert read_video(combs, 4, "pyav").notes == (
        "the video is interlaced and this FFmpeg cannot deinterlace it: moving edges are combs",
    )


@needs_decord
def test_decord_says_that_it_does_not_map_high_dynamic_range(tmp_path):
    path = write_hdr(tmp_path / "v.mp4", PQ)
    assert read_video(path, 4, "decord").notes == (
        "decord does not map high dynamic range (PQ): colors are pale",
    )


# -- a stream that changes its resolution ---------------------------------------------------------


def joined(folder, sizes, suffix="ts"):
    """Transport streams one after the other: each has its own resolution, the clock goes on."""
    data, shown = b"", []
    for part, (height, width) in enumerate(sizes):
        images = [numbered_image(10 * part + i, 128, 64) for i in range(10)]
        images = [np.resize(im, (64, 128, 3)) for im in images]
        rows, columns = np.arange(height) * 64 // height, np.arange(width) * 128 // width
        images = [image[rows][:, columns] for image in images]
        pts = [10 * part + i for i in range(10)]
        path = write_video(folder / f"{part}.{suffix}", 10, images=images, pts=pts)
        data += path.read_bytes()
        shown += pts
    (folder / f"joined.{suffix}").write_bytes(data)
    return folder / f"joined.{suffix}"


def test_a_change_of_resolution_loses_no_frame(tmp_path):
    path = joined(tmp_path, [(64, 128), (128, 256), (32, 64)])
    clip = read_video(path, 30)
    assert clip.backend == "pyav" and clip.frames.shape == (30, 64, 128, 3)
    assert numbers_of(clip.frames) == list(range(30))
    assert clip.notes == (
        "the stream changes its resolution (128x64, 256x128, 64x32): every frame is shown at "
        "128x64",
    )


def test_a_change_of_shape_gets_margins(tmp_path):
    path = joined(tmp_path, [(64, 128), (128, 128)])
    clip = read_video(path, 20)
    assert clip.frames.shape == (20, 64, 128, 3)
    margins = np.concatenate((clip.frames[10:, :, :30], clip.frames[10:, :, -30:]), axis=2)
    assert margins.max() < 8, "a square in a frame twice as wide has black at both sides"
    assert clip.frames[10:, :, 34:94].max() > 200
