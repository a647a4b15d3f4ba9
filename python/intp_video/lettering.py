"""A font that has the letters of a text, and the text as that font can show it."""

from functools import lru_cache

from PIL import ImageFont

__all__ = ["legible"]

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# PIL's own has ASCII. These are looked for among the fonts of the machine; the first one that
# shows most of a text is taken.
_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "LiberationSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKjp-Regular.otf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
    "Arial Unicode.ttf",
    "PingFang.ttc",
    "msyh.ttc",
    "arial.ttf",
)
_NO_LETTER = "\uffff"  # every font draws its box for it


def legible(text: str, size: int) -> tuple[Font, str]:
    """The font, and `text` with letters that no font shows as their numbers: ``\\u4e16``."""
    own = ImageFont.load_default(size)
    if text.isascii() and text.isprintable():
        return own, text
    font, missing = own, _missing(own, text)
    for name in _FONTS:
        if not missing:
            break
        other = _font(name, size)
        if other is not None and len(without := _missing(other, text)) < len(missing):
            font, missing = other, without
    return font, "".join(_number(letter) if letter in missing else letter for letter in text)


@lru_cache(maxsize=64)
def _font(name: str, size: int) -> ImageFont.FreeTypeFont | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


def _missing(font: Font, text: str) -> set[str]:
    """The letters of `text` that `font` draws as a box, or not at all."""
    return {
        letter
        for letter in set(text)
        if not letter.isprintable() or _drawing(font, letter) == _drawing(font, _NO_LETTER)
    }


def _drawing(font: Font, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)


def _number(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
