"""What the decoder reads. Nothing is fetched: every text is installed with Python or with what
this package requires. Which ones is fixed here; their sizes and digests go into the results,
because another release of Python or of a package has another text.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Text:
    """``kind`` is prose, code or licence; ``source`` says where it is installed."""

    name: str
    kind: str
    source: str
    content: str

    def about(self) -> dict[str, Any]:
        """For the results."""
        return {
            "name": self.name,
            "kind": self.kind,
            "source": self.source,
            "characters": len(self.content),
            "sha256": hashlib.sha256(self.content.encode()).hexdigest(),
        }

    def tokens(self, tokenizer: Any, length: int) -> torch.Tensor:
        """The first ids, ``[length]``.

        Raises:
            ValueError: the text is shorter.
        """
        ids = tokenizer(self.content, return_tensors="pt").input_ids[0]
        if len(ids) < length:
            raise ValueError(f"{self.name}: expected {length} tokens, got {len(ids)}")
        return ids[:length]


def _topics(*names: str) -> tuple[str, str]:
    """Chapters of Python's language reference, which help() shows."""
    from pydoc_data.topics import topics

    return f"pydoc_data.topics: {', '.join(names)}", "\n".join(topics[name] for name in names)


def _module(name: str) -> tuple[str, str]:
    path = Path(sysconfig.get_path("stdlib")) / name
    return f"standard library: {name}", path.read_text(encoding="utf-8")


def _licence(package: str) -> tuple[str, str]:
    """The longest file of licences that a distribution brings."""
    found = importlib.metadata.distribution(package)
    paths = [Path(str(file.locate())) for file in found.files or () if "LICENSE" in file.name]
    longest = max(paths, key=lambda path: (path.stat().st_size, path.name))
    return f"{package} {found.version}: {longest.name}", longest.read_text(encoding="utf-8")


SOURCES: dict[str, tuple[str, Callable[[], tuple[str, str]]]] = {
    "data model": ("prose", lambda: _topics("types", "naming", "specialnames")),
    "statements": ("prose", lambda: _topics("compound", "formatstrings", "assignment")),
    "tarfile": ("code", lambda: _module("tarfile.py")),
    "argparse": ("code", lambda: _module("argparse.py")),
    "pillow": ("licence", lambda: _licence("pillow")),
    "numpy": ("licence", lambda: _licence("numpy")),
    # more than the decoder was trained on
    "reference": (
        "prose",
        lambda: _topics(
            "specialnames",
            "compound",
            "types",
            "formatstrings",
            "string-methods",
            "typesseq",
            "debugger",
        ),
    ),
    "decimal": ("code", lambda: _module("_pydecimal.py")),
}


def text(name: str) -> Text:
    """One of :data:`SOURCES`."""
    kind, read = SOURCES[name]
    return Text(name, kind, *read())
