"""What a chat message asks: one question about one video."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any


def asked_in(messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The video, the question, start and end of a conversation of one turn.

    Args:
        messages: one, of the user: ``{"role": "user", "content": [{"type": "video", "url": path},
            {"type": "text", "text": words}]}``; several texts are lines of one question. A part of
            a video has ``start_time`` and ``end_time`` in seconds beside its path, or is a mapping
            in its place with ``video_start`` and ``video_end``.

    Raises:
        ValueError: anything else: a conversation, an image, sound, several videos.
    """
    roles = [message["role"] for message in messages]
    if roles != ["user"]:
        raise ValueError(f"expected one message, of the user, got those of {', '.join(roles)}")
    videos: list[dict[str, Any]] = []
    texts: list[str] = []
    for part in messages[0]["content"]:
        if part["type"] == "video":
            videos.append(_video(part))
        elif part["type"] == "text":
            texts.append(part["text"])
        else:
            raise ValueError(f"expected a video and text, got {part['type']}")
    if len(videos) != 1:
        raise ValueError(f"expected one video, got {len(videos)}")
    return {**videos[0], "question": "\n".join(texts)}


def _video(part: Mapping[str, Any]) -> dict[str, Any]:
    url, start, end = part["url"], part.get("start_time"), part.get("end_time")
    if isinstance(url, Mapping):
        start, end = url.get("video_start", start), url.get("video_end", end)
        url = url.get("url") or url.get("path") or url.get("video")
    if not isinstance(url, str | os.PathLike):
        raise ValueError(f"expected the path of a video, got {type(url).__name__}")
    return {"video": os.fspath(url), "start": start, "end": end}
