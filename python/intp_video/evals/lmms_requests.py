"""What a request of lmms-eval asks. It hands over tuples of six, of which its guide names five."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .asking import Asked
from .generation import limits
from .messages import asked_in

Documents = Mapping[str, Mapping[str, Any]]  # by task, then by split


class ChatRequest(NamedTuple):
    """Of a class with ``is_simple = False``."""

    context: str
    doc_to_messages: Any
    generation: Mapping[str, Any]
    doc_id: int
    task: str
    split: str


class SimpleRequest(NamedTuple):
    """Of a class with ``is_simple = True``; for a likelihood, the second is the continuation."""

    context: str
    wanted: Any
    doc_to_visual: Any
    doc_id: int
    task: str
    split: str


def chat_question(arguments: tuple[Any, ...], documents: Documents) -> Asked:
    """The question of a chat request.

    Raises:
        ValueError: it asks about something else than one video, or not greedily.
    """
    request = ChatRequest(*arguments)
    document = documents[request.task][request.split][request.doc_id]
    return _asked(request, request.doc_to_messages(document), request.generation)


def simple_question(arguments: tuple[Any, ...], documents: Documents) -> Asked:
    """The question of a simple request; of one for a likelihood, what stands before it.

    Raises:
        ValueError: see :func:`chat_question`.
    """
    request = SimpleRequest(*arguments)
    document = documents[request.task][request.split][request.doc_id]
    content = [{"type": "video", "url": url} for url in request.doc_to_visual(document)]
    content.append({"type": "text", "text": request.context})
    generation = {} if isinstance(request.wanted, str) else request.wanted
    return _asked(request, [{"role": "user", "content": content}], generation)


def rounds(arguments: tuple[Any, ...], documents: Documents, said: list[str]) -> Iterator[Asked]:
    """The questions of a chat request in rounds, each of its own, as long as the task has one.

    Args:
        arguments, documents: as of :func:`chat_question`.
        said: the answers so far; whoever asks adds each before the next question is taken.
    """
    request = ChatRequest(*arguments)
    document = documents[request.task][request.split][request.doc_id]
    yield _asked(request, request.doc_to_messages(document), request.generation)
    told = None
    while True:
        found = request.doc_to_messages(
            document, round_idx=len(said), previous_output=list(said), previous_round_info=told
        )
        if not (isinstance(found, tuple) and len(found) == 4):  # a task of one round
            return
        messages, ended, _, told = found
        if ended:
            return
        yield _asked(request, messages, request.generation)


def _asked(
    request: ChatRequest | SimpleRequest, messages: Any, generation: Mapping[str, Any]
) -> Asked:
    try:
        max_new_tokens, until = limits(generation)
        return Asked(**asked_in(messages), max_new_tokens=max_new_tokens, until=until)
    except ValueError as error:
        raise ValueError(f"{request.task}, document {request.doc_id}: {error}") from None
