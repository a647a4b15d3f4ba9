"""What a chat message asks: one question about one video."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any


def asked_in(messages: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The video and the question of a conversation of one turn.

    Args:
        messages: one, of the user: ``{"role": "user", "content": [{"type": "video", "url": path},
            {"type": "text", "text": words}]}``; several texts are lines of one question.

    Raises:
        ValueError: anything else: a conversation, an image, sound, several videos, a part of one.
    """
    roles = [message["role"] for message in messages]
    if roles != ["user"]:
        raise ValueError(f"expected one message, of the user, got those of {', '.join(roles)}")
    videos: list[str] = []
    texts: list[str] = []
    for part in messages[0]["content"]:
        if part["type"] == "video":
            videos.append(_path(part))
        elif part["type"] == "text":
            texts.append(part["text"])
        else:
            raise ValueError(f"expected a video and text, got {part['type']}")
    if len(videos) != 1:
        raise ValueError(f"expected one video, got {len(videos)}")
    return videos[0], "\n".join(texts)


def _path(part: Mapping[str, Any]) -> str:
    url = part["url"]
    if part.get("start_time") is not None or part.get("end_time") is not None:
        raise ValueError("expected a whole video, got a part of one, from start_time to end_time")
    if not isinstance(url, str | os.PathLike):
        raise ValueError(f"expected the path of a whole video, got {type(url).__name__}")
    return os.fspath(url)
