"""Requests of lmms-eval in the shape that it hands them over, without lmms-eval.

``run_lmms_eval.py`` holds these shapes to its own command.
"""

import pytest
from intp_video.evals.asking import Asked
from intp_video.evals.lmms_requests import chat_question, rounds, simple_question

DOCUMENTS = {"task": {"test": [{"video": "a.mp4", "question": "Why?"}]}}
GENERATION = {"max_new_tokens": 8, "until": ["\n"], "temperature": 0, "do_sample": False}


def turn(*content):
    return [{"role": "user", "content": [*content]}]


VIDEO = {"type": "video", "url": "a.mp4"}
TEXT = {"type": "text", "text": "Why?"}


def to_messages(document):
    return turn(
        {"type": "video", "url": document["video"]}, {"type": "text", "text": document["question"]}
    )


def chat(to_messages, generation=GENERATION):
    return ("not read", to_messages, generation, 0, "task", "test")


def test_a_chat_request():
    found = chat_question(chat(to_messages), DOCUMENTS)
    assert found == Asked("a.mp4", "Why?", 8, ("\n",))


def test_a_simple_request():
    arguments = ("Why?", GENERATION, lambda document: [document["video"]], 0, "task", "test")
    assert simple_question(arguments, DOCUMENTS) == Asked("a.mp4", "Why?", 8, ("\n",))


def test_several_texts_are_lines():
    messages = turn(TEXT, VIDEO, {"type": "text", "text": "A. Because"})
    assert chat_question(chat(lambda _: messages), DOCUMENTS).question == "Why?\nA. Because"


@pytest.mark.parametrize(
    "video",
    [
        {**VIDEO, "start_time": 1.5, "end_time": 4},
        {"type": "video", "url": {"path": "a.mp4", "video_start": 1.5, "video_end": 4}},
    ],
)
def test_a_part_of_a_video(video):
    found = chat_question(chat(lambda _: turn(video, TEXT)), DOCUMENTS)
    assert (found.video, found.start, found.end) == ("a.mp4", 1.5, 4)
    assert found.row == {"video": "a.mp4", "question": "Why?", "start": 1.5, "end": 4}


def test_a_task_need_not_say_how_to_generate():
    assert chat_question(chat(to_messages, {}), DOCUMENTS) == Asked("a.mp4", "Why?", 64, ())
    one = {"until": "ASSISTANT:", "top_p": None, "num_beams": 1}
    assert chat_question(chat(to_messages, one), DOCUMENTS).until == ("ASSISTANT:",)


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        (turn(TEXT), "expected one video, got 0"),
        (turn(VIDEO, VIDEO, TEXT), "expected one video, got 2"),
        (turn(VIDEO, TEXT, {"type": "image", "url": "a.png"}), "a video and text, got image"),
        (turn(VIDEO, TEXT, {"type": "audio", "url": "a.wav"}), "a video and text, got audio"),
        (
            turn({"type": "video", "url": {"video_end": 3}}, TEXT),
            "the path of a video, got NoneType",
        ),
        (turn({"type": "video", "url": 3}, TEXT), "path of a video, got int"),
        ([{"role": "system", "content": [TEXT]}, *turn(VIDEO)], "those of system, user"),
        ([], "expected one message, of the user"),
    ],
)
def test_other_messages_are_refused(messages, told):
    with pytest.raises(ValueError, match=f"^task, document 0: .*{told}"):
        chat_question(chat(lambda _: messages), DOCUMENTS)


@pytest.mark.parametrize(
    "generation", [{"do_sample": True}, {"temperature": 0.7}, {"num_beams": 4}], ids=str
)
def test_an_answer_that_is_not_greedy_is_refused(generation):
    with pytest.raises(ValueError, match="expected a greedy answer"):
        chat_question(chat(to_messages, generation), DOCUMENTS)


@pytest.mark.parametrize(
    "generation",
    [
        *({"max_new_tokens": wrong} for wrong in (0, -1, 1.5, float("inf"), "many", True, [8])),
        *({"until": wrong} for wrong in (5, [5], {"\n": 1})),
    ],
)
def test_a_limit_that_is_none_is_refused(generation):
    name = next(iter(generation))
    with pytest.raises(ValueError, match=f"task, document 0: generation_kwargs: {name}: expected"):
        chat_question(chat(to_messages, generation), DOCUMENTS)


def test_a_limit_may_be_written_as_text():
    generation = {"max_new_tokens": "16", "until": ["\n", None, ""]}
    assert chat_question(chat(to_messages, generation), DOCUMENTS) == Asked(
        "a.mp4", "Why?", 16, ("\n",)
    )


def test_rounds():
    told = []

    def to_messages(document, round_idx=None, previous_output=None, previous_round_info=None):
        told.append((round_idx, previous_output, previous_round_info))
        if round_idx is None:
            return turn(VIDEO, TEXT)
        if round_idx == 3:
            return None, True, previous_output, None
        messages = turn({"type": "video", "url": f"{round_idx}.mp4"}, TEXT)
        return messages, False, previous_output, f"after {round_idx}"

    said, videos = [], []
    for asked in rounds(chat(to_messages), DOCUMENTS, said):
        videos.append(asked.video)
        said.append(f"answer {len(said)}")
    assert videos == ["a.mp4", "1.mp4", "2.mp4"]
    assert told == [
        (None, None, None),
        (1, ["answer 0"], None),
        (2, ["answer 0", "answer 1"], "after 1"),
        (3, ["answer 0", "answer 1", "answer 2"], "after 2"),
    ]


def test_a_task_of_one_round():
    def to_messages(document, **round_of):
        return turn(VIDEO, TEXT)

    said = []
    for _ in rounds(chat(to_messages), DOCUMENTS, said):
        said.append("once")
    assert said == ["once"]
