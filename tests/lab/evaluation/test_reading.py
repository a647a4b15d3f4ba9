"""Answers as models write them, and what a careful reader would take them for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from intp_video.lab.evaluation.scoring import chosen, is_right

COLORS = ("red", "blue", "dark red", "green")
YES_NO = ("yes", "no")
COUNTS = ("1", "2", "3", "4")
THINGS = ("bus", "car", "a bicycle")
LABELLED = ("A. Apples", "B. Candles", "C. Red berries")
LETTERS = ("A", "B", "C")

READINGS = [
    # nothing was said
    ("", COLORS, None),
    ("   \n", COLORS, None),
    ("...", COLORS, None),
    ("…", LETTERS, None),
    ("", LETTERS, None),
    ("...", LETTERS, None),
    ("The", LETTERS, None),
    ("the", COLORS, None),
    ("**", COLORS, None),
    ("?", YES_NO, None),
    # the option itself, dressed up
    ("blue", COLORS, "blue"),
    ("Blue.", COLORS, "blue"),
    ("**Blue**", COLORS, "blue"),
    ("“blue”", COLORS, "blue"),
    ("BLUE!", COLORS, "blue"),
    ("_dark-red_", COLORS, "dark red"),
    ("dark red", COLORS, "dark red"),
    ("The bus", THINGS, "bus"),
    ("bicycle", THINGS, "a bicycle"),
    ("a car", THINGS, "car"),
    ("A car", THINGS, "car"),
    ("bluish", COLORS, None),
    # its letter
    ("B", COLORS, "blue"),
    ("b", COLORS, "blue"),
    ("**B**", COLORS, "blue"),
    ("(B)", COLORS, "blue"),
    ("[B]", COLORS, "blue"),
    ("B.", COLORS, "blue"),
    ("B)", COLORS, "blue"),
    ("B:", COLORS, "blue"),
    ("`B`", COLORS, "blue"),
    ("\uff22", COLORS, "blue"),
    ("B, blue", COLORS, "blue"),
    ("B. blue", COLORS, "blue"),
    ("B - blue", COLORS, "blue"),
    ("B blue", COLORS, "blue"),
    ("**B**: blue", COLORS, "blue"),
    ("(b) blue", COLORS, "blue"),
    ("B\n\nThe square is what moves.", COLORS, "blue"),
    ("Option B", COLORS, "blue"),
    ("option b", COLORS, "blue"),
    ("Option (B)", COLORS, "blue"),
    ("Answer: B", COLORS, "blue"),
    ("Answer: A", COLORS, "red"),
    ("The answer is B", COLORS, "blue"),
    ("The answer is A.", COLORS, "red"),
    ("the answer is b.", COLORS, "blue"),
    ("The correct answer is (B) blue.", COLORS, "blue"),
    ("The correct option is **B**.", COLORS, "blue"),
    ("Final answer: **C**", COLORS, "dark red"),
    ("I would go with B", COLORS, "blue"),
    ("It's B.", COLORS, "blue"),
    ("B is correct", COLORS, "blue"),
    ("A is correct", COLORS, "red"),
    ("A because it moves", COLORS, "red"),
    ("\\boxed{B}", COLORS, "blue"),
    ("OPTION B", COLORS, "blue"),
    ("IT IS A CAR", THINGS, "car"),
    ("Z", COLORS, None),
    ("E.", COLORS, None),
    # a letter that is none
    ("A dog", COLORS, None),
    ("A blue one", COLORS, "blue"),
    ("I do not know", tuple("0123456789"), None),
    ("The answer is a mystery", COLORS, None),
    ("a C-shaped thing", COLORS, None),
    ("vitamin C", ("vitamin A", "vitamin B", "vitamin C"), "vitamin C"),
    ("It has vitamin B in it", ("vitamin A", "vitamin B"), "vitamin B"),
    # in a sentence
    ("It is blue", COLORS, "blue"),
    ("The answer is blue.", COLORS, "blue"),
    ("I think it was dark red.", COLORS, "dark red"),
    ("The square was blue, then it left.", COLORS, "blue"),
    ("blue, because there was nothing red", COLORS, "blue"),
    ("Blue. The red square was in the background.", COLORS, "blue"),
    ("Red things lie about. The answer is blue.", COLORS, "blue"),
    ("B. The blue one came after the red one.", COLORS, "blue"),
    ("There were two shapes", COUNTS, "2"),
    ("Three.", COUNTS, "3"),
    ("two shapes: 1 bar and 1 disc", COUNTS, "2"),
    # more than one, or against itself
    ("blue or red", COLORS, None),
    ("Blue or red.", COLORS, None),
    ("red, blue", COLORS, None),
    ("red and blue", COLORS, None),
    ("red/blue", COLORS, None),
    ("blue, maybe red", COLORS, None),
    ("The answer is blue or red", COLORS, None),
    ("A or B", COLORS, None),
    ("A, B", COLORS, None),
    ("A and B are both right", COLORS, None),
    ("B, red", COLORS, None),
    ("B. I think it is red", COLORS, None),
    ("It was red. Later it was blue.", COLORS, None),
    ("Blue. Red.", COLORS, None),
    ("1 or 2", COUNTS, None),
    ("yes and no", YES_NO, None),
    ("(A) red (B) blue", COLORS, None),
    ("either blue or red", COLORS, None),
    # said not to be
    ("not red", COLORS, None),
    ("It is not red", COLORS, None),
    ("It isn't a red one", COLORS, None),
    ("neither blue nor red", COLORS, None),
    ("I don't think it is red", COLORS, None),
    ("I cannot tell whether it is red", COLORS, None),
    ("not red but blue", COLORS, "blue"),
    ("It is not red, it is blue", COLORS, "blue"),
    ("red, not blue", COLORS, "red"),
    ("blue rather than red", COLORS, "blue"),
    ("Option A is wrong, so B", COLORS, "blue"),
    ("not B", COLORS, None),
    ("not A but B", COLORS, "blue"),
    ("I'm not sure, but I think it is red", COLORS, "red"),
    ("There is no doubt that it is red", COLORS, "red"),
    # yes and no
    ("Yes", YES_NO, "yes"),
    ("No.", YES_NO, "no"),
    ("No, there was no bar.", YES_NO, "no"),
    ("Yes, there is no doubt", YES_NO, "yes"),
    ("No, it was not.", YES_NO, "no"),
    ("Yeah", YES_NO, "yes"),
    ("nope", YES_NO, "no"),
    ("There was no bar", YES_NO, "no"),
    ("no idea", YES_NO, None),
    ("No idea.", YES_NO, None),
    ("I have no idea", YES_NO, None),
    ("no way to tell", YES_NO, None),
    ("There is no way of knowing", YES_NO, None),
    ("no clue", YES_NO, None),
    ("not sure", YES_NO, None),
    ("nothing", YES_NO, None),
    ("I know", YES_NO, None),
    ("no idea", ("yes", "no", "no idea"), "no idea"),
    # options that are letters, that bring their letters, that look alike
    ("B", LETTERS, "B"),
    ("Option B", LETTERS, "B"),
    ("(C).", LETTERS, "C"),
    ("The answer is A", LETTERS, "A"),
    ("I see a car", LETTERS, None),
    ("b", ("c", "b"), "b"),
    ("The answer is B", ("B", "A"), "B"),
    ("B", LABELLED, "B. Candles"),
    ("candles", LABELLED, "B. Candles"),
    ("B. Candles", LABELLED, "B. Candles"),
    ("There are red berries", LABELLED, "C. Red berries"),
    ("A", ("B. Candles", "A. Apples"), "A. Apples"),
    ("C++", ("C", "C++", "C#"), "C++"),
    ("C", ("C++", "C#", "C"), "C"),
    ("-5", ("5", "-5"), "-5"),
    ("5", ("-5", "5"), "5"),
    ("\u22125", ("-5", "5"), "-5"),
    ("1.5", ("15", "1.5"), "1.5"),
    ("+", ("+", "-"), "+"),
    ("blue or red", (*COLORS, "blue or red"), "blue or red"),
    ("red", ("red", "blue", "red"), "red"),
    ("It is red", ("red", "blue", "red"), "red"),
    ("A or C", ("red", "blue", "red"), "red"),
    ("B", ("red", "blue", "red"), "blue"),
    ("It is not moving", ("moving", "not moving"), "not moving"),
    ("He is without a hat", ("with a hat", "without a hat"), "without a hat"),
    ("<answer>B</answer>", COLORS, "blue"),
    ("none of the above", (*COLORS, "none of the above"), "none of the above"),
]


@pytest.mark.parametrize(("said", "options", "expected"), READINGS)
def test_an_answer_is_read_as_a_careful_reader_would(said, options, expected):
    assert chosen(said, options) == expected
    for option in options:
        assert is_right(said, option, options) is (option == expected)


@pytest.mark.parametrize(
    ("said", "answer", "right"),
    [
        ("", "A", False),
        ("...", "A", False),
        ("The", "A", False),
        ("a", "A", True),
        ("", "the", False),
        ("", "", False),
        ("Vitamin", "Vitamin A", False),
        ("vitamin A.", "Vitamin A", True),
        ("A, B", "B", False),
        ("the car", "a car", True),
        ("**Red**", "red", True),
        ("“red”", "red", True),
        ("dark-red", "dark red", True),
        ("tshirt", "t-shirt", True),
        ("It's", "its", True),
        ("5", "-5", False),
        ("15", "1.5", False),
        ("1030", "10:30", False),
        ("1,000", "1000", True),
        ("1, 2", "12", False),
        ("two", "2", True),
        ("2.", "two", True),
        ("+", "-", False),
        ("+", "+", True),
        ("C", "C++", False),
        ("\uff15", "5", True),
        ("STRASSE", "straße", True),
        ("Ελλάδα", "ελλάδα", True),
        ("赤。", "赤", True),
    ],
)
def test_without_options_both_must_be_equal(said, answer, right):
    assert is_right(said, answer) is right
    assert is_right(answer, said) is right


OPTIONS = st.lists(st.text(max_size=8), min_size=1, max_size=6, unique=True)


@given(said=st.text(max_size=40), options=OPTIONS)
def test_whatever_is_said_one_option_or_none_is_read(said, options):
    assert chosen(said, options) in (None, *options)


@given(options=OPTIONS)
def test_an_option_said_word_for_word_is_that_option(options):
    for option in options:
        if option.strip():
            assert chosen(option, options) == option


@given(said=st.text(alphabet=" .,;:!?*_`\"'()[]…\n", max_size=12), answer=st.sampled_from(LETTERS))
def test_punctuation_alone_answers_nothing(said, answer):
    assert chosen(said, LETTERS) is None
    assert not is_right(said, answer)
