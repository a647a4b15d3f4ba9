"""Families and options, for the pages, as the code that acts on them has them."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from functools import cache
from typing import Any

from intp_video.decoder_layers import cached_windows
from intp_video.hook.handle import check_options
from intp_video.models import FAMILIES, WHY_NOT, VideoFamily
from intp_video.options import Options
from tables_common import load, table
from transformers import CONFIG_MAPPING

RELEASES = "docs/transformers_matrix"
MROPE = "docs/mrope_positions"
MROPE_CONTEXT = 32768  # positions that Qwen2-VL was trained on, as its config class says
NOT_RUN = "not run"

# What published checkpoints have, where the defaults of transformers' classes are of none.
PUBLISHED: dict[str, dict[str, Any]] = {
    "gemma4": {"vision_config": {}},  # the default is of a model that sees nothing
    "smolvlm": {"vision_config": {"image_size": 512, "patch_size": 16}, "scale_factor": 4},
    "video_llama_3": {"vision_config": {"patch_size": 14}},
}


@cache
def _config(name: str) -> Any:
    return CONFIG_MAPPING[name](**PUBLISHED.get(name, {}))


def _code(*names: str) -> str:
    return ", ".join(f"`{name}`" for name in names)


# ---- families ----


def families() -> str:
    rows = [
        (
            _code(name),
            _code(family.class_name),
            _together(family, _config(name)),
            _tokens(family, _config(name)),
            _text_between(family, _config(name)),
            _positions(family),
            oldest(name),
        )
        for name, family in FAMILIES.items()
    ]
    head = ("`model_type`", "class", "encoded together", "tokens of these")
    return table((*head, "text around each", "positions", "transformers from"), rows)


def _together(family: VideoFamily, config: Any) -> str:
    if family.groups_are_real:
        return f"{family.frames_per_group(config)} frames"
    unit = family.frames_per_unit(config)
    return "1 frame" if unit == 1 else f"{unit} frames"


def _tokens(family: VideoFamily, config: Any) -> str:
    if family.groups_are_real:
        return f"{family.frames_per_group(config)} x {family.tokens_per_frame(config)}"
    tokens = str(family.layout(config, family.frames_per_unit(config)).tokens_per_unit)
    return tokens if family.tokens_per_frame(config) else f"{tokens}, by size"


def _text_between(family: VideoFamily, config: Any) -> str:
    if not family.text_between_frames:
        return "none"
    layout = family.layout(config, family.frames_per_unit(config))
    return f"about {layout.tokens - layout.visual_tokens} tokens"


def _positions(family: VideoFamily) -> str:
    return "one axis" if family.mrope is None else f"M-RoPE, {family.mrope}"


def family_kinds() -> str:
    """Families by what extending means to them, with a line of code for each kind."""
    kinds: dict[tuple[str, str, str], list[str]] = {}
    for name, family in FAMILIES.items():
        if family.groups_are_real:
            encoded = "in eights; in the Hugging Face port, each by itself"
        elif family.frames_per_unit(_config(name)) == 1:
            encoded = "each by itself"
        else:
            encoded = "each pair by itself"
        if family.mrope is not None:
            positions = "far fewer than tokens (M-RoPE): as trained"
            example = _code(
                "extend(model, 256, window=16, kv_bits=4)",
                "plan(path, 256, height=360, width=640)",
            )
        else:
            far = 10**6  # positions
            local = family.rope_distance(_config(name), far) < far
            positions = f"one a token: {'as trained' if local else 'stretched'}"
            option = 'grouping="contiguous"' if family.groups_are_real else "window=16"
            slides = any(cached_windows(_config(name).text_config))
            example = _code(f"extend(model, 64, {'kv_bits=4' if slides else option})")
        kinds.setdefault((encoded, positions, example), []).append(name)
    rows = [(_code(*names), *told) for told, names in kinds.items()]
    return table(("`model_type`", "frames are encoded", "positions", "for example"), rows)


def why_not() -> str:
    reasons: dict[str, list[str]] = {}
    for name, reason in WHY_NOT.items():
        reasons.setdefault(reason, []).append(name)
    return table(
        ("`model_type`", "not extended, because"),
        [(_code(*names), reason) for reason, names in reasons.items()],
    )


# ---- what was tested ----


def _tested(name: str) -> dict[str, dict[str, Any] | None]:
    """By release: counts of a family's tests, or None where they were not run."""
    return {release: row.get("families", {}).get(name) for release, row in load(RELEASES).items()}


def _is_absent(counts: dict[str, Any]) -> bool:
    """The release has no such model: every test was skipped for that."""
    reasons = counts["skipped"]
    return bool(reasons) and not counts["passed"] and all(" has no " in why for why in reasons)


def oldest(name: str) -> str:
    """The first release that was run and has the family."""
    all_run = True
    for release, counts in _tested(name).items():
        if counts is None:
            all_run = False
        elif not _is_absent(counts):
            return release if all_run else f"{release}, or earlier ({NOT_RUN})"
    return NOT_RUN


def family_tests() -> str:
    def cell(counts: dict[str, Any] | None) -> str:
        if counts is None:
            return NOT_RUN
        if _is_absent(counts):
            return "no such model"
        if counts["failed"]:
            return f"**{len(counts['failed'])} failed**"
        skipped = sum(counts["skipped"].values())
        return f"{counts['passed']}, {skipped} skipped" if skipped else str(counts["passed"])

    releases = list(load(RELEASES))
    rows = [(_code(name), *map(cell, _tested(name).values())) for name in FAMILIES]
    return table(("passed", *releases), rows)


def family_skips() -> str:
    """Why tests of families were skipped, over all releases that have the family."""
    why: Counter[str] = Counter()
    for name in FAMILIES:
        for counts in _tested(name).values():
            if counts is not None and not _is_absent(counts):
                for reason, count in counts["skipped"].items():
                    why[reason.partition(":")[0]] += count
    return "; ".join(f"{reason} ({count})" for reason, count in why.most_common()) or "none"


# ---- options ----


def options() -> str:
    """Every option with its values, its default and what its docstring says."""
    rows = []
    for field in dataclasses.fields(Options):
        default = _code(repr(field.default).replace("'", '"'))
        rows.append((_code(field.name), _values(field), default, _docstring()[field.name]))
    return table(("option", "values", "default", ""), rows)


def _values(field: dataclasses.Field) -> str:
    choices, least = field.metadata["choices"], field.metadata["least"]
    if choices is not None:
        return _code(*(f'"{x}"' if isinstance(x, str) else str(x) for x in choices))
    if least is not None:
        return f"{least} or more"
    return "`True`, `False`" if field.default is True else "1 or more"


@cache
def _docstring() -> dict[str, str]:
    """What the docstring of Options says about each, as Markdown on one line."""
    text = (Options.__doc__ or "").partition("Attributes:\n")[2].partition("\n\n")[0]
    told = re.findall(r"^ {8}(\w+): (.*?)(?=^ {8}\w|\Z)", text, re.M | re.S)
    markup = re.compile(r":\w+:`~?([\w.]+)`|``(.*?)``")
    page = re.compile(r"docs/(\w+\.md)")  # beside docs/options.md
    return {
        name: page.sub(
            r"[\1](\1)",
            markup.sub(lambda found: f"`{found[1] or found[2]}`", " ".join(lines.split())),
        )
        for name, lines in told
    }


def refused_options() -> str:
    """Choices that some family refuses, and the error, found by trying every one on each."""
    refused: dict[tuple[str, str], list[str]] = {}
    for field in dataclasses.fields(Options):
        for choice in field.metadata["choices"] or ():
            more = {"rope": "linear"} if choice == "visual" else {}
            tried = Options(**{field.name: choice, **more})
            for name, family in FAMILIES.items():
                try:
                    check_options(family, _config(name), tried)
                except ValueError as error:
                    key = (f'{field.name}="{choice}"', str(error).replace(name, "..."))
                    refused.setdefault(key, []).append(name)
    rows = [(_code(setting), _all_but(names), error) for (setting, error), names in refused.items()]
    return table(("", "refused for", "the error says"), rows)


def _all_but(names: list[str]) -> str:
    others = [name for name in FAMILIES if name not in names]
    return f"all but {_code(*others)}" if len(others) < len(names) else _code(*names)


# ---- positions ----


def mrope_positions() -> str:
    """What stock transformers makes of long videos."""
    recorded = load(MROPE)
    first, *_, last = recorded
    rows = []
    for name, by_frames in recorded[last].items():
        for frames, found in by_frames.items():
            earlier = recorded[first][name][frames]
            rows.append(
                (
                    _code(name),
                    frames,
                    f"{found['tokens']:,}",
                    f"{found['tokens'] / MROPE_CONTEXT:.2f}",
                    *(f"{x['positions']:,}" for x in (earlier, found)),
                    *(f"{x['text_after']:,}" for x in (earlier, found)),
                )
            )
    head = ("", "frames", "tokens", f"of {MROPE_CONTEXT:,}")
    ends = (f"positions, {first}", last, f"question at, {first}", last)
    return table((*head, *ends), rows)


BLOCKS = {
    "families": families,
    "family-kinds": family_kinds,
    "family-tests": family_tests,
    "family-skips": family_skips,
    "families-why-not": why_not,
    "options": options,
    "options-refused": refused_options,
    "mrope-positions": mrope_positions,
}
