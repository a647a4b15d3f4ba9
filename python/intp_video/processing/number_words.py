"""Whole numbers in English words, as num2words writes them."""

# fmt: off
_SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
)
# fmt: on
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def number_words(number: int) -> str:
    """0 to 999,999: 121 -> "one hundred and twenty-one".

    Raises:
        ValueError: outside of that.
    """
    if not 0 <= number < 1_000_000:
        raise ValueError(f"number_words: number: expected 0 to 999,999, got {number:,}")
    thousands, rest = divmod(number, 1000)
    if thousands == 0:
        return _below_thousand(rest)
    words = f"{_below_thousand(thousands)} thousand"
    if rest == 0:
        return words
    return f"{words}{' and ' if rest < 100 else ', '}{_below_thousand(rest)}"


def _below_thousand(number: int) -> str:
    hundreds, rest = divmod(number, 100)
    if hundreds == 0:
        return _below_hundred(rest)
    words = f"{_SMALL[hundreds]} hundred"
    return words if rest == 0 else f"{words} and {_below_hundred(rest)}"


def _below_hundred(number: int) -> str:
    if number < len(_SMALL):
        return _SMALL[number]
    tens, ones = divmod(number, 10)
    return _TENS[tens - 2] if ones == 0 else f"{_TENS[tens - 2]}-{_SMALL[ones]}"
