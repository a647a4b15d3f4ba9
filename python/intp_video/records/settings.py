"""Whether a run may go on with what an earlier one has left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import ModelError
from .files import write_whole


def check_settings(
    path: Path,
    settings: dict[str, Any],
    answered: bool,
    *,
    what: Path,
    caller: str,
    kind: str,
) -> None:
    """Answers to other questions, or of another model, must not be mixed with these.

    Args:
        path: of the settings of earlier runs; written if nothing was answered yet.
        settings: everything that decides the answers; JSON.
        answered: earlier runs have left answers.
        what: holds them, as messages name it.
        caller: whom messages name.
        kind: what that is, "directory" or "file".

    Raises:
        ModelError: it was asked with other settings, or nobody knows with which.
    """
    wanted = json.dumps(settings, indent=2) + "\n"
    if path.exists():
        found, now = _read(path, caller, kind), json.loads(wanted)
        different = sorted(k for k in found | now if found.get(k) != now.get(k))
        if different:
            raise ModelError(
                f"{caller}: {what} holds the answers of another run (other "
                f"{', '.join(different)}); give another {kind}"
            )
    elif answered:
        raise ModelError(
            f"{caller}: {what} holds answers without the {path.name} that says whose they are; "
            f"give another {kind}"
        )
    else:
        write_whole(path, wanted)


def _read(path: Path, caller: str, kind: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ModelError(f"{caller}: {path} is damaged; give another {kind}")
    return found
