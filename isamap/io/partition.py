"""How the ground of an evaluation is cut into windows, each of which is counted once, and which files lie on them."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from isamap.domain.grid import crop, windows
from isamap.domain.lattice import EDGE_PX, Cell, Lattice, lattice_of
from isamap.domain.product import BLOCK_PX
from isamap.io.footprints import Footprints, clipped

PICTURE_PX = 1200
WINDOW_PX = 10 * BLOCK_PX
"""Side of a strip's window: whole blocks of our rasters, and whole pixels of 10 m ones."""


@dataclass(frozen=True)
class Squares:
    """Windows anchored to round coordinates: blocks of 10 m to 1 km lie the same in every tile."""

    lattice: Lattice
    """Where they may lie."""
    cells: tuple[Cell, ...]
    """Where they lie."""

    def __iter__(self) -> Iterator[GeoBox]:
        return (self.lattice.grid(cell) for cell in self.cells)


@dataclass(frozen=True)
class Strips:
    """Windows of whole blocks of one raster: none of its blocks is decoded twice."""

    grid: GeoBox
    """Of the raster."""

    def __iter__(self) -> Iterator[GeoBox]:
        shape = self.grid.shape[0], self.grid.shape[1]
        return (crop(self.grid, window) for window in windows(shape, WINDOW_PX))


@dataclass(frozen=True)
class Part:
    """Windows that are counted together, and the files that lie on them."""

    name: str
    """For messages."""
    windows: Squares | Strips
    """Their pixels."""
    files: Mapping[str, tuple[Path, ...]]
    """By product; the truth's under `""`."""
    earlier: tuple[Path, ...]
    """Files of the first product that are counted in other windows and may lie here too."""
    area: BaseGeometry | None = None
    """Lon/lat polygon outside of which nothing counts, near this part; None: everything counts."""
    thin_px: int = 0
    """Thinning of the picture of this part; 0: none is drawn."""

    def __str__(self) -> str:
        """As logs name it."""
        return self.name


def squares(
    first: str, places: Mapping[str, Footprints], finest_m: float, ground: BaseGeometry | None = None
) -> list[Part]:
    """Parts of the first product; every window belongs to the first raster on its lattice that lies on it.

    A window shows the rasters of its own lattice alone, but for what those of lattices before it know: so rasters of
    two zones that meet within a window are each counted in windows of their own.

    Args:
        first: the product whose rasters say where.
        places: where the rasters of every product lie; the truth's under `""`, if it has any.
        finest_m: the finest pixel size.
        ground: lon/lat polygon outside of which nothing counts; parts outside of it are left out.
    """
    parts: list[Part] = []
    taken: defaultdict[Lattice, set[Cell]] = defaultdict(set)
    lattices = {path: lattice_of(grid, finest_m) for path, grid, _ in _rasters(places[first])}
    order = {lattice: number for number, lattice in enumerate(dict.fromkeys(lattices.values()))}
    for path, grid, area in _rasters(places[first]):
        lattice = lattices[path]
        cells = tuple(cell for cell in lattice.cells(grid) if cell not in taken[lattice])
        taken[lattice].update(cells)
        files = {name: place.touching(area, lattice.side_m) for name, place in places.items()}
        near = clipped(ground, area, lattice.side_m)
        if cells and files.get("", (path,)) and (near is None or not near.is_empty):
            earlier = tuple(p for p in files[first] if order[lattices[p]] < order[lattice])
            files[first] = tuple(p for p in files[first] if lattices[p] == lattice)
            side_px = max(grid.shape) * abs(grid.resolution.x) / lattice.gsd_m
            thin_px = 0 if parts else _thinning(side_px, lattice.side_px)
            parts.append(Part(str(path), Squares(lattice, cells), files, earlier, near, thin_px))
    return parts


def strips(
    first: str, places: Mapping[str, Footprints], finest_m: float, ground: BaseGeometry | None = None
) -> list[Part]:
    """The same ground by raster: each has its own, but for what an earlier one knows. No pictures."""
    parts: list[Part] = []
    before: dict[Path, GeoBox] = {}
    for path, grid, area in _rasters(places[first]):
        files = {name: place.touching(area) for name, place in places.items()}
        earlier = tuple(p for p in files[first] if p in before and _overlap(before[p], grid))
        before[path] = grid
        near = clipped(ground, area)
        if files.get("", (path,)) and (near is None or not near.is_empty):
            own_m = abs(float(grid.resolution.x))
            fine = _parted(grid, round(own_m / lattice_of(grid, finest_m).gsd_m))
            parts.append(Part(str(path), Strips(fine), {**files, first: (path,)}, earlier, near))
    return parts


def _rasters(places: Footprints) -> Iterator[tuple[Path, GeoBox, Any]]:
    """File, grid and lon/lat polygon of every raster."""
    return zip(places.files, places.grids, places.boxes, strict=True)


def _parted(grid: GeoBox, factor: int) -> GeoBox:
    """A grid whose pixels are parted."""
    shape = grid.shape[0] * factor, grid.shape[1] * factor
    return GeoBox(shape, grid.transform * Affine.scale(1 / factor), grid.crs)


def _overlap(one: GeoBox, other: GeoBox) -> bool:
    """Whether two rasters may show the same ground: tiles that only touch do not."""
    if one.crs != other.crs:
        return True
    a, b = one.boundingbox, other.boundingbox
    edge = EDGE_PX * abs(float(one.resolution.x))
    wide = min(a.right, b.right) - max(a.left, b.left)
    return bool(wide > edge and min(a.top, b.top) - max(a.bottom, b.bottom) > edge)


def _thinning(side_px: float, window_px: int) -> int:
    """The smallest divisor of the window's side that makes a picture of at most `PICTURE_PX`."""
    divisors = (n for n in range(1, window_px + 1) if window_px % n == 0)
    return next((n for n in divisors if side_px <= n * PICTURE_PX), window_px)
