"""Files with rows, and answerers without a model."""

import json

import pytest
from batch.answerers import Scripted


@pytest.fixture
def scripted(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    return Scripted(str(folder))


@pytest.fixture
def write_rows(tmp_path):
    """``write_rows(*rows)`` is the path of a file with them; text is written as it is."""

    def write(*rows, name="in.jsonl"):
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return tmp_path / name

    return write
