"""Code of docs/batch.md, as a reader runs it."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "batch.md"


def block(name: str) -> str:
    """The block behind ``<!-- test: NAME -->``."""
    found = re.search(rf"<!-- test: {name} -->\n```python\n(.*?)```", PAGE.read_text(), re.S)
    assert found is not None, f"{PAGE} has no block marked test: {name}"
    return found[1]
