"""Videos whose frames know their own number, written by PyAV."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av")

BITS = 8
CELL = 16
WIDTH, HEIGHT = BITS * CELL, 4 * CELL


def numbered_image(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """uint8 ``[H, W, 3]``: `number` in black and white squares along the top, red at the left.

    The red corner is off center, so that a turned or mirrored frame is told from an upright one.
    """
    image = np.full((height, width, 3), 90, dtype=np.uint8)
    for bit in range(BITS):
        image[:CELL, bit * CELL : (bit + 1) * CELL] = 255 if number >> bit & 1 else 0
    image[CELL:, :CELL] = (220, 20, 20)
    return image


def number_of(image: np.ndarray) -> int:
    """Reads the number back; survives lossy coding."""
    centers = image[CELL // 2, CELL // 2 : BITS * CELL : CELL].mean(axis=-1)
    return sum(1 << bit for bit in range(BITS) if centers[bit] > 127)


def numbers_of(frames: np.ndarray) -> list[int]:
    return [number_of(image) for image in frames]


def write_video(
    path: Path,
    count: int,
    *,
    codec: str = "h264",
    fps: int | Fraction = 10,
    gop: int = 12,
    b_frames: int = 0,
    rotation: int = 0,
    pts: list[int] | None = None,
    container_options: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
    context: dict[str, object] | None = None,
    pix_fmt: str = "yuv420p",
    images: list[np.ndarray] | None = None,
) -> Path:
    """Writes `count` numbered frames. `pts` are in units of ``1 / fps``; 0, 1, 2, ... by default.

    `rotation`: how many degrees a player turns the picture counter-clockwise, as metadata.
    `options`, `context`: options and attributes of the encoder. `images`: other frames than those
    with numbers.
    """
    images = images or [numbered_image(number) for number in range(count)]
    with av.open(str(path), "w", container_options=container_options) as container:
        stream = container.add_stream(codec, rate=fps, options=options or {})
        height, width, _ = images[0].shape if images else (HEIGHT, WIDTH, 3)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.time_base = 1 / Fraction(fps)
        stream.codec_context.gop_size = gop
        stream.codec_context.max_b_frames = b_frames
        for name, value in (context or {}).items():
            setattr(stream.codec_context, name, value)
        if rotation:
            if not hasattr(stream, "set_display_rotation"):
                pytest.skip("this PyAV cannot write rotation metadata")
            stream.set_display_rotation(rotation)
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = pts[number] if pts else number
            frame.time_base = 1 / Fraction(fps)
            container.mux(stream.encode(frame))
        container.start_encoding()  # writes the header also where no frame does
        container.mux(stream.encode())
    return path


def set_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Writes into an MP4 how a player shows it: the pixel x, y goes to a x + c y, b x + d y."""
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    rows = (a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    data[matrix : matrix + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in rows)
    path.write_bytes(data)
    return path


def write_audio(path: Path) -> Path:
    """Half a second of silence and no video stream."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        for _ in range(8):
            frame = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono"
            )
            frame.sample_rate = 16000
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def damage(source: Path, target: Path, *, packet: int) -> Path:
    """Copies `source` with one packet (counted in decoding order) overwritten by garbage."""
    with av.open(str(source)) as container:
        positions = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(source.read_bytes())
    begin, size = positions[packet]
    data[begin : begin + size] = b"\xff" * size
    target.write_bytes(data)
    return target
