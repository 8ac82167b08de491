"""What the machine and its file systems can do, for `isamap doctor` and `isamap status`.

Libraries are imported where they are used: the doctor must be able to say that one is missing.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from isamap.errors import StorageError

MEMINFO = Path("/proc/meminfo")
MOUNTS = Path("/proc/self/mounts")
PROBE_PX = 64


def versions(names: Iterable[str]) -> dict[str, str | None]:
    """Versions of installed distributions, None for those that are not."""
    found: dict[str, str | None] = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def missing_modules(names: Iterable[str]) -> list[str]:
    """Those modules that cannot be imported."""
    return [name for name in names if find_spec(name) is None]


def gdal_versions() -> dict[str, str]:
    """Versions of GDAL and PROJ that rasterio runs on."""
    import rasterio

    proj = getattr(rasterio, "__proj_version__", "")
    return {"GDAL": str(rasterio.__gdal_version__), "PROJ": str(proj)}


def missing_drivers(names: Iterable[str]) -> list[str]:
    """Those GDAL drivers that this build lacks."""
    import rasterio

    with rasterio.Env() as env:
        known = env.drivers()
    return [name for name in names if name not in known]


def cog_fault() -> str | None:
    """Why a ZSTD-compressed COG cannot be written and read back, or None."""
    import numpy as np
    from rasterio.io import MemoryFile
    from rasterio.transform import from_origin

    values = np.arange(PROBE_PX * PROBE_PX, dtype=np.uint8).reshape(PROBE_PX, PROBE_PX)
    shape = {"height": PROBE_PX, "width": PROBE_PX, "count": 1, "dtype": "uint8"}
    place = from_origin(500_000, 3_000_000, 1, 1)
    try:
        with MemoryFile() as memory:
            with memory.open(driver="COG", compress="ZSTD", transform=place, **shape) as dst:
                dst.write(values, 1)
            with memory.open() as src:
                same = np.array_equal(src.read(1), values)
    except Exception as fault:  # noqa: BLE001  # whatever GDAL says of a broken build is the answer
        return " ".join(str(fault).split()) or type(fault).__name__
    return None if same else "it reads back otherwise"


def proj_faults() -> dict[str, str]:
    """Which of the two PROJ libraries (GDAL's, pyproj's) cannot transform, and why."""
    faults = {}
    for name, work in (("GDAL", _gdal_transform), ("pyproj", _pyproj_transform)):
        try:
            east, north = work(117.0, 0.0)
        except Exception as fault:  # noqa: BLE001  # a broken database shows as any of a dozen exceptions
            faults[name] = " ".join(str(fault).split()) or type(fault).__name__
            continue
        if abs(east - 500_000) > 1e-3 or abs(north) > 1e-3:
            faults[name] = f"117 E 0 N is UTM 50N {east:.3f}, {north:.3f}, not 500000, 0"
    return faults


def _gdal_transform(lon: float, lat: float) -> tuple[float, float]:
    from rasterio.warp import transform

    (east,), (north,) = transform("EPSG:4326", "EPSG:32650", [lon], [lat])
    return east, north


def _pyproj_transform(lon: float, lat: float) -> tuple[float, float]:
    from pyproj import Transformer

    east, north = Transformer.from_crs(4326, 32650, always_xy=True).transform(lon, lat)
    return east, north


def memory_gb() -> float | None:
    """Memory of the machine, in GB; None where the kernel does not tell."""
    try:
        lines = MEMINFO.read_text(encoding="ascii").splitlines()
        values = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
        return round(values["MemTotal"] / 1e6, 1)
    except (OSError, ValueError, KeyError, IndexError):
        return None


def existing(path: Path) -> Path:
    """The path, or the nearest parent that exists."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())


def free_bytes(path: Path) -> int:
    """Free space where a path lies or will lie."""
    return shutil.disk_usage(existing(path)).free


def mount(path: Path) -> tuple[str, frozenset[str]]:
    """Kind of the file system that a path lies on (nfs4, ext4, ... or `?`), and its mount options."""
    place, best = existing(path).resolve(), -1
    found: tuple[str, frozenset[str]] = ("?", frozenset())
    try:
        lines = MOUNTS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return found
    for line in lines:
        point, kind, options = line.split()[1:4]
        folder = Path(point.replace("\\040", " "))
        if place.is_relative_to(folder) and len(folder.parts) > best:
            best, found = len(folder.parts), (kind, frozenset(options.split(",")))
    return found


def probe_storage(folder: Path) -> list[str]:
    """What publishing needs and a folder cannot do; nothing is left behind.

    Raises:
        StorageError: nothing can be written there at all.
    """
    from isamap.io.atomic import sync, write_durably
    from isamap.io.locks import storage_errors

    faults = []
    with (
        storage_errors(folder, needed_bytes=1 << 20),
        tempfile.TemporaryDirectory(prefix=".doctor-", dir=folder) as made,
    ):
        place = Path(made)
        first, second = place / "first", place / "second"
        write_durably(first, b"1" * (1 << 20))
        second.touch()
        first.replace(second)
        sync(place)
        if first.exists() or second.stat().st_size != 1 << 20:
            faults.append("a rename does not replace the file at once")
        if not _locks(place / "lock"):
            faults.append("file locks do not keep a second holder out")
    return faults


def _locks(path: Path) -> bool:
    """Whether a flock refuses a second holder, and is free again when the first lets go."""
    flags = os.O_RDWR | os.O_CREAT
    first, second = os.open(path, flags, 0o600), os.open(path, flags, 0o600)
    try:
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _try(second):
            return False
        fcntl.flock(first, fcntl.LOCK_UN)
        return _try(second)
    except OSError:  # ENOLCK, ENOTSUP: no locks here
        return False
    finally:
        os.close(first)
        os.close(second)


def _try(held: int) -> bool:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def writable_fault(path: Path) -> str | None:
    """Why publishing cannot work where a workspace lies or will lie, or None."""
    from isamap.io.locks import dangling_link, link_fault

    if link := dangling_link(path):
        return link_fault(link)
    try:
        faults = probe_storage(existing(path))
    except (StorageError, OSError) as fault:
        return str(fault)
    return "; ".join(faults) or None
