"""Tells from its bytes why a file is not a readable video: decoders only say "invalid data"."""

import os
import string
from typing import BinaryIO

__all__ = ["looks_like_text", "missing_bytes"]

_LARGEST_FILE = 1 << 44  # 16 TiB
_TEXT = frozenset(string.printable.encode())


def looks_like_text(path: str) -> bool:
    with open(path, "rb") as file:
        head = file.read(512)
    return bool(head) and all(byte in _TEXT for byte in head)


def missing_bytes(path: str) -> int:
    """How many bytes an MP4, QuickTime or Matroska file lacks by its own account; else 0."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(8)
        file.seek(0)
        if head.startswith(b"\x1a\x45\xdf\xa3"):
            end = _matroska_end(file, size)
        elif head[4:] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            end = _mp4_end(file, size)
        else:
            return 0
    # Beyond any real file it is the length that is damaged.
    return end - size if size < end < _LARGEST_FILE else 0


def _mp4_end(file: BinaryIO, size: int) -> int:
    """Where the last box ends. A file is a row of boxes, each of which begins with its length (4
    bytes; 0 is "to the end", 1 is "in the 8 bytes after the type") and a four-letter type."""
    offset = 0
    while offset < size:
        file.seek(offset)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:], "big")
        if length < 8:
            return 0
        offset += length
    return offset


def _matroska_end(file: BinaryIO, size: int) -> int:
    """Where the segment ends, 0 if it does not say. A file is a header element and the segment,
    each a 4-byte identifier, a length and as many bytes."""
    offset = 0
    for _ in range(2):
        if offset >= size:
            break
        file.seek(offset + 4)
        first = (file.read(1) or b"\0")[0]
        width = 9 - first.bit_length()  # of the length: as many bytes as leading zero bits, and one
        length = int.from_bytes(bytes([first & (0xFF >> width)]) + file.read(width - 1), "big")
        if length == (1 << 7 * width) - 1:  # a live recording: unknown
            return 0
        offset += 4 + width + length
    return offset
