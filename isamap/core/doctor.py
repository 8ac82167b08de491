"""`isamap doctor`: is everything there that isamap needs, and does it work? Nothing is asked of the network."""

import os
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from isamap import __version__
from isamap.engine.machine import cores, free_bytes
from isamap.errors import CheckError
from isamap.io import system

SCHEMA = 1
"""Of `--json`."""
State = Literal["ok", "warning", "problem"]

LIBRARIES = (
    *("torch", "rasterio", "rio-cogeo", "numpy", "pyproj", "shapely", "odc-geo", "pystac"),
    *(
        "pystac-client",
        "pydantic",
        "safetensors",
        "pillow",
        "zstandard",
        "click",
        "tqdm",
        "urllib3",
        "certifi",
    ),
)
"""Distributions that isamap does not start without."""
EXTRAS: Mapping[str, tuple[tuple[str, ...], str, State]] = {
    "vector": (("pyogrio",), "mosaic, --aoi with GeoPackage or shapefile", "warning"),
    "report": (("jinja2", "matplotlib", "pyarrow"), "mosaic, reports with pictures, GeoParquet", "warning"),
    "dask": (("dask_jobqueue", "distributed"), "--engine dask", "ok"),
    "s3": (("botocore",), "s3:// addresses", "ok"),
    "train": (("tensorboard",), "train --tensorboard", "ok"),
    "export": (("onnx", "onnxscript"), "models export --format onnx", "ok"),
}
"""Optional modules, what needs them, and what it is if they are missing."""
NEEDED_DRIVERS = ("GTiff", "COG", "MEM")
USEFUL_DRIVERS = {
    "JP2OpenJPEG": "JPEG 2000 input (.jp2)",
    "VRT": "mosaic index",
    "GTI": "mosaic index (GDAL 3.9)",
    "GPKG": "GeoPackage",
}
"""GDAL drivers that something needs, but not every map."""

MIN_MEMORY_GB = 2.0
"""One window of 512 px in float32 and all libraries peak at 1.4 GB."""
MIN_FREE_GB = 5.0
"""A map of 105 km2 with probability takes about 40 MB, its draft three times that; 5 GB are 40 at work."""


LOCAL_LOCKS = frozenset({"nolock", "local_lock=all", "local_lock=flock"})
"""Mount options of NFS with which a lock holds on one machine only."""


@dataclass(frozen=True)
class Line:
    """One thing that was looked at."""

    name: str
    """What."""
    state: State
    """A problem stops isamap from working, a warning some of it."""
    found: str
    """What was found."""
    todo: str = ""
    """What to do, if anything."""


def run(workspace: Path) -> list[Line]:
    """Look at everything.

    Args:
        workspace: where files will lie; it need not exist, and nothing is left in it.
    """
    parts: tuple[Callable[[], Iterator[Line]], ...] = (
        _versions,
        _drivers,
        _projections,
        _machine,
        _models,
        lambda: _storage(workspace),
        _extras,
    )
    return [line for part in parts for line in _lines(part)]


def _lines(part: Callable[[], Iterator[Line]]) -> Iterator[Line]:
    """What a part finds, also if a library it needs does not load."""
    try:
        yield from part()
    except (ImportError, OSError) as fault:  # OSError: a shared object of a library
        yield Line(
            "import", "problem", " ".join(str(fault).split()), "install isamap again: pip install isamap"
        )


def document(lines: list[Line]) -> dict[str, Any]:
    """The outcome as a JSON document."""
    counts = {f"{state}s": _count(lines, state) for state in ("problem", "warning")}
    return {"schema": SCHEMA, "command": "doctor", **counts, "checks": [asdict(line) for line in lines]}


def check(lines: list[Line]) -> None:
    """Raise if something needed is broken.

    Raises:
        CheckError: there is a problem.
    """
    names = [line.name for line in lines if line.state == "problem"]
    if names:
        raise CheckError(f"{len(names)} of {len(lines)} checks failed: {', '.join(names)}")


def _count(lines: list[Line], state: str) -> int:
    return sum(line.state == state for line in lines)


def _versions() -> Iterator[Line]:
    yield Line("isamap", "ok", f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
    for name, version in system.versions(LIBRARIES).items():
        if version is None:
            yield Line(name, "problem", "not installed", f"pip install {name}")
        else:
            yield Line(name, "ok", version)
    for name, text in system.gdal_versions().items():
        yield Line(name, "ok", text or "built into GDAL")


def _drivers() -> Iterator[Line]:
    missing = system.missing_drivers(NEEDED_DRIVERS)
    todo = "pip install --force-reinstall rasterio, or use a GDAL build with it"
    for name in NEEDED_DRIVERS:
        known = name not in missing
        yield Line(
            f"GDAL driver {name}",
            "ok" if known else "problem",
            "there" if known else "missing",
            *[todo][known:],
        )
    missing = system.missing_drivers(USEFUL_DRIVERS)
    for name, use in USEFUL_DRIVERS.items():
        if name in missing:
            yield Line(f"GDAL driver {name}", "warning", f"missing: no {use}", todo)
        else:
            yield Line(f"GDAL driver {name}", "ok", "there")
    fault = system.cog_fault()
    yield Line(
        "COG with ZSTD",
        "problem" if fault else "ok",
        fault or "written and read back",
        "use a GDAL build with ZSTD: pip install --force-reinstall rasterio" if fault else "",
    )


def _projections() -> Iterator[Line]:
    faults = system.proj_faults()
    for name in ("GDAL", "pyproj"):
        if name in faults:
            todo = "unset PROJ_DATA and PROJ_LIB: they point to another PROJ's database"
            yield Line(f"PROJ of {name}", "problem", faults[name], todo)
        else:
            yield Line(f"PROJ of {name}", "ok", "transforms")


def _machine() -> Iterator[Line]:
    from isamap.model import facts

    used, usable = facts.threads(), cores()
    limited = used < usable and "OMP_NUM_THREADS" in os.environ
    todo = "unset OMP_NUM_THREADS unless you want that" if limited else ""
    yield Line("CPU", "warning" if limited else "ok", f"{usable} cores, torch uses {used} threads", todo)
    for found in facts.accelerators():
        size = f", {found.memory_gb:g} GB" if found.memory_gb is not None else ""
        yield Line("device", "ok", f"{found.name}{size}: models run in {found.precision}")
    total, free = system.memory_gb(), free_bytes() / 1e9
    if total is None:
        yield Line("memory", "warning", "unknown", "see that 2 GB are free for each worker")
        return
    enough = free >= MIN_MEMORY_GB
    yield Line(
        "memory",
        "ok" if enough else "warning",
        f"{free:.1f} of {total:g} GB free",
        "" if enough else "end other programs, or use --window 256",
    )


def _models() -> Iterator[Line]:
    from isamap.model import facts

    found = facts.packaged_models()
    if not found:
        yield Line("models", "problem", "no packaged weights", "install isamap again")
    for name, fault in found.items():
        if fault:
            yield Line(f"model {name}", "problem", fault, "install isamap again")
        else:
            yield Line(f"model {name}", "ok", "weights match their card")
    place, known = facts.own_models()
    todo = "" if known else "packaged models work without, isamap models add does not"
    yield Line("own models", "ok" if known else "warning", place, todo)


def _storage(workspace: Path) -> Iterator[Line]:
    kind, options = system.mount(workspace)
    place = f"{workspace} on {kind}"
    if fault := system.writable_fault(workspace):
        todo = "choose another --workspace, or make it writable; on NFS mount with local_lock=none"
        yield Line("workspace", "problem", f"{place}: {fault}", todo)
    else:
        yield Line("workspace", "ok", f"{place}: write, rename, fsync and locks work")
    if local := options & LOCAL_LOCKS:
        todo = "mount it with local_lock=none, or run on one machine only"
        found = f"{place} with {', '.join(sorted(local))}: other machines do not see its locks"
        yield Line("locks", "warning", found, todo)
    free_gb = system.free_bytes(workspace) / 1e9
    enough = free_gb >= MIN_FREE_GB
    todo = "" if enough else "free space there: isamap infer -n tells what a run reads"
    yield Line("disk", "ok" if enough else "warning", f"{free_gb:.1f} GB free", todo)


def _extras() -> Iterator[Line]:
    for extra, (modules, use, state) in EXTRAS.items():
        if missing := system.missing_modules(modules):
            todo = f"pip install 'isamap[{extra}]' for {use}"
            yield Line(f"extra {extra}", state, f"not installed: {', '.join(missing)}", todo)
        else:
            yield Line(f"extra {extra}", "ok", f"installed: {use}")
