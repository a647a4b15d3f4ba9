"""A bug of each kind is caught by the comparison that the tests use."""

import json

import pytest
from cuda_on_host import build, planting
from cuda_on_host.planted_bugs import (
    OF_EACH_KIND,
    WRONG_ADDRESS,
    WRONG_RESULT,
    Bug,
    of_each_kind,
)
from workers import one_at_a_time, shared_folder

CONTROL = "as it is"
RESULTS, ADDRESSES = of_each_kind(WRONG_RESULT), of_each_kind(WRONG_ADDRESS)


@pytest.fixture(scope="module")
def planted(base, library, tmp_path_factory):
    directory = shared_folder(tmp_path_factory, "planted")
    paths = planting.link(RESULTS, base, directory, "intp_planted")
    return dict(zip(RESULTS, paths, strict=True))


@pytest.mark.parametrize("bug", RESULTS, ids=lambda bug: bug.name)
def test_wrong_result(library, planted, bug):
    for case in bug.cases:
        case.check(library)
    assert planting.shows(bug, planted[bug])


@pytest.mark.parametrize("bug", [*WRONG_RESULT, *WRONG_ADDRESS], ids=lambda bug: bug.name)
def test_every_bug_can_still_be_planted(bug):
    assert bug.changed()


@pytest.fixture(scope="module")
def sanitized(base, library, tmp_path_factory):
    """What became of each of ADDRESSES, and of the sources as they are: (exit code, stderr)."""
    directory = shared_folder(tmp_path_factory, "sanitized")
    sane = build.Build(directory / "as_it_is", base, sanitize=True)
    libraries = {CONTROL: sane.link("intp_sanitized")}
    paths = planting.link(ADDRESSES, sane, directory, "intp_sanitized")
    libraries.update(zip((bug.name for bug in ADDRESSES), paths, strict=True))
    found = directory / "found.json"
    with one_at_a_time(directory):
        if not found.exists():
            found.write_text(json.dumps(planting.run_sanitized(libraries)))
    return json.loads(found.read_text())


def test_sanitized_as_it_is(sanitized):
    code, said = sanitized[CONTROL]
    assert code == 0, said


@pytest.mark.parametrize("bug", ADDRESSES, ids=lambda bug: bug.name)
def test_wrong_address(sanitized, bug):
    code, said = sanitized[bug.name]
    assert planting.is_address_error(code, said), said


def test_each_kind_has_its_bug():
    assert {bug.name for bug in RESULTS + ADDRESSES} == set(OF_EACH_KIND.values())


def test_a_bug_that_no_longer_fits_says_so():
    with pytest.raises(LookupError, match="found 0 times"):
        Bug("gone", "rope/cuda/kernel.h", "no such text", "", ()).changed()
