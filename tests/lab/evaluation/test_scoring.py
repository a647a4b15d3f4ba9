import pytest
from intp_video.lab.evaluation.scoring import chosen, is_right

COLORS = ("blue", "red", "dark red")


@pytest.mark.parametrize(
    ("said", "answer", "options", "right"),
    [
        ("red", "red", (), True),
        ("The Red.", "red", (), True),
        ("It is red", "red", (), False),  # exact match means exact
        ("", "red", (), False),
        ("B", "red", COLORS, True),
        ("(b) whatever", "red", COLORS, True),
        ("B.", "red", COLORS, True),
        ("A", "red", COLORS, False),
        ("red, as far as I can see", "red", COLORS, True),
        ("dark red", "red", COLORS, False),
        ("dark red indeed", "dark red", COLORS, True),
        ("reddish", "red", COLORS, False),
        ("not red", "red", COLORS, False),
        ("Z", "red", COLORS, False),
        ("", "red", COLORS, False),
        ("a car", "car", ("bus", "car"), True),  # an article, not option A
    ],
)
def test_is_right(said, answer, options, right):
    assert is_right(said, answer, options) is right


def test_an_option_that_is_a_letter_is_meant_as_itself():
    assert chosen("b", ("c", "b")) == "b"


def test_nothing_is_chosen():
    assert chosen("no idea", COLORS) is None
