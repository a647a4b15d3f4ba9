"""What the tests found, for the pages: releases of transformers, shared memory of a block."""

from __future__ import annotations

from tables_common import load, table

RELEASES = "docs/transformers_matrix"
SHARED_MEMORY = "docs/shared_memory"


def releases() -> str:
    rows = []
    for release, row in load(RELEASES).items():
        skipped = "; ".join(f"{count}: {why}" for why, count in row["skipped"].items())
        failed = f"{len(row['failed'])}: {', '.join(row['failed'])}" if row["failed"] else "0"
        rows.append((release, str(row["passed"]), failed, skipped, row["date"]))
    return table(("transformers", "passed", "failed", "skipped there, and why", "on"), rows)


def range_of_releases() -> str:
    """The ends, and how many were tried."""
    found = list(load(RELEASES))
    tested = f"[{len(found)} releases tested](docs/models.md#which-transformers)"
    return f"{found[0]} to {found[-1]}, {tested}"


def shared_memory() -> str:
    rows = [
        (kernel, head_dim, str(size))
        for kernel, sizes in load(SHARED_MEMORY).items()
        for head_dim, size in sizes.items()
    ]
    return table(("kernel", "head_dim", "bytes"), rows)


BLOCKS = {
    "transformers": releases,
    "transformers-range": range_of_releases,
    "shared-memory": shared_memory,
}
