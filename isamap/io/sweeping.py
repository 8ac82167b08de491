"""What dead runs leave in a folder, and its removal."""

from pathlib import Path

from isamap.io.claims import is_claim, remove_dead_claim
from isamap.io.locks import storage_errors
from isamap.io.parts import is_part, parts_of, remove_dead_part
from isamap.io.store import JOURNAL

STRAY = ".ovr.tmp"
"""What GDAL leaves of overviews that were broken off."""


def sweep(directory: Path) -> list[Path]:
    """Remove what dead runs left in `directory`; the part directory of a live run stays.

    Returns:
        The removed paths.
    """
    with storage_errors(directory):
        found = directory.iterdir() if directory.is_dir() else ()
        entries = sorted(path for path in found if path.name.startswith(".") or path.name.endswith(STRAY))
        dead = [path for path in entries if is_part(path) and remove_dead_part(path)]
        dead += [path for path in entries if is_claim(path) and remove_dead_claim(path)]
        strays = [path for path in entries if path.name.endswith(STRAY) or _is_spent_journal(path)]
        for path in strays:
            path.unlink(missing_ok=True)
    return sorted(dead + strays)


def _is_spent_journal(path: Path) -> bool:
    """Whether `path` is the journal of a product that is complete and not being published again."""
    stem = path.name.removeprefix(JOURNAL).removesuffix(".json")
    is_journal = path.name == f"{JOURNAL}{stem}.json"
    return is_journal and (path.parent / f"{stem}.json").exists() and not parts_of(path.parent, stem)
