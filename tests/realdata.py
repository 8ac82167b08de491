"""Where the real scenes of the project lie: $ISAMAP_DATA, else ../shared/data beside the checkout."""

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("ISAMAP_DATA") or Path(__file__).parents[2] / "shared" / "data").absolute()


def real(*names: str) -> tuple[Path, ...]:
    """Paths of real files; the test is skipped where the data are absent."""
    paths = tuple(DATA / name for name in names)
    if not all(path.is_file() for path in paths):
        pytest.skip(f"no real data at {DATA} (ISAMAP_DATA)")
    return paths
