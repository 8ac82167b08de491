"""What does not belong in a folder of maps: remains of dead runs, and rasters without an item."""

from collections.abc import Iterator
from pathlib import Path

from isamap.domain.audit import UNCLEAR, Finding
from isamap.io.claims import is_claim
from isamap.io.cog import SPOOL_SUFFIX
from isamap.io.holders import holder
from isamap.io.parts import LOCK, PREFIX, is_part
from isamap.io.store import JOURNAL
from isamap.io.sweeping import STRAY

SWEPT = "the next isamap infer sweeps it"
RASTERS = (".prob.tif", ".tif")


def is_alive(part: Path) -> bool:
    """Whether a part directory belongs to a run of this machine that is working."""
    return holder(part / LOCK) is not None


def leftovers(directory: Path, known: set[str]) -> Iterator[Finding]:
    """Findings for what lies about in a folder.

    Args:
        directory: of the maps.
        known: stems that are looked at one by one anyway.
    """
    entries = sorted(directory.iterdir()) if directory.is_dir() else []
    names = {entry.name for entry in entries}
    for entry in entries:
        name = entry.name
        if is_part(entry):
            if not is_alive(entry):
                stem = name.removeprefix(PREFIX).rpartition("-")[0]
                yield Finding(stem or "-", "leftover", f"{name} of a dead run", SWEPT)
        elif name.startswith(JOURNAL):
            stem = name.removeprefix(JOURNAL).removesuffix(".json")
            if not any(other.startswith(f"{PREFIX}{stem}-") for other in names):
                todo = SWEPT if f"{stem}.json" in names else UNCLEAR
                yield Finding(stem, "leftover", f"{name}: publishing was broken off", todo)
        elif name.endswith(STRAY) or (is_claim(entry) and holder(entry) is None):
            yield Finding("-", "leftover", f"{name} of a dead run", SWEPT)
        elif is_half(name):
            yield Finding("-", "leftover", f"{name} of a dead run", "remove it")
        elif name.endswith(".tif"):
            stem = name.removesuffix(next(suffix for suffix in RASTERS if name.endswith(suffix)))
            if f"{stem}.json" not in names and stem not in known:
                yield Finding(stem, "leftover", f"{name} has no item", UNCLEAR)


def is_half(name: str) -> bool:
    """Whether a file is half-written and nobody will sweep it."""
    return name.endswith((".draft.tif", SPOOL_SUFFIX)) or (name.startswith(".") and name.endswith(".tmp"))
