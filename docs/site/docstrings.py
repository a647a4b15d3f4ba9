"""Docstrings as the Markdown of the site, before they are read as Google style.

- A role of Sphinx that names something on an API page, as in ``:func:`attention```, becomes a link
  there; a strict build fails where that page lacks it. Other roles become code.
- A literal block, behind two colons, becomes a block of code.
- An argument or attribute of several names (``k, v:``) becomes one entry for each.
"""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path
from typing import Any

from griffe import Class, Extension, Module, Object

PAGES = Path(__file__).parents[1] / "api"
SHOWN = {
    shown.rpartition(".")[2]: shown
    for page in PAGES.glob("*.md")
    for shown in re.findall(r"^::: (\S+)$", page.read_text(), re.M)
}
"""What the API pages show: last name -> whole name."""

ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`~?([\w.]+)`")
LITERAL = re.compile(r"^( *)(.*)::\n\n((?:\1 +\S.*\n?|[ \t]*\n)+)", re.M)
NAMES = re.compile(r"^(?:Args|Attributes):\n(?:(?: {4}.*)?\n)*(?: {4}.*\Z)?", re.M)
SEVERAL = re.compile(r"^ {4}(\w+(?:, \w+)+)(:.*\n?(?: {5,}\S.*\n?)*)", re.M)


class SiteDocstrings(Extension):
    def on_package(self, *, pkg: Module, **kwargs: Any) -> None:
        waiting: list[Object] = [pkg]
        while waiting:
            thing = waiting.pop()
            waiting += [member for member in thing.members.values() if not member.is_alias]
            if thing.docstring is not None:
                thing.docstring.value = as_markdown(thing.docstring.value, thing)


def as_markdown(text: str, thing: Object) -> str:
    def link(role: re.Match[str]) -> str:
        target = _target(role[1], thing)
        return f"`{role[1]}`" if target is None else f"[`{role[1]}`][{target}]"

    text = NAMES.sub(lambda section: SEVERAL.sub(_each, section[0]), text)
    return LITERAL.sub(_fenced, ROLE.sub(link, text))


def _target(name: str, thing: Object) -> str | None:
    if any(f"{name}.".startswith(f"{shown}.") for shown in SHOWN.values()):
        return name
    first, dot, rest = name.partition(".")
    if first in SHOWN:
        return SHOWN[first] + dot + rest
    home = thing if isinstance(thing, Class) else thing.parent
    if isinstance(home, Class) and home.name in SHOWN and name in home.members:
        return f"{SHOWN[home.name]}.{name}"
    return None


def _each(entry: re.Match[str]) -> str:
    names, rest = entry.groups()
    return "".join(f"    {name}{rest.rstrip()}\n" for name in names.split(", "))


def _fenced(literal: re.Match[str]) -> str:
    indent, lead, block = literal.groups()
    code = textwrap.dedent(block).strip("\n")
    try:
        ast.parse(code)
        language = "python"
    except SyntaxError:
        language = "text"
    fenced = f"```{language}\n{code}\n```\n\n"
    if lead == "Example":  # a section of Google style: it holds what is indented
        return f"{indent}Example:\n{textwrap.indent(fenced, indent + '    ')}"
    return textwrap.indent(f"{lead}:\n\n{fenced}" if lead else fenced, indent)
