"""A mosaic on paper: its members, its grids, and every piece of work that it takes."""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from isamap import __version__, digests
from isamap.domain import product
from isamap.domain.catalogue import span
from isamap.domain.grid import Tile
from isamap.domain.lonlat import EQUAL_AREA, LONLAT, as_crs
from isamap.domain.mosaic import Member, projected
from isamap.domain.overview import aligned_grid, cell_size, cells_over
from isamap.domain.region import Region
from isamap.errors import InputError
from isamap.io import store
from isamap.io.classmap import map_files
from isamap.io.counts import CountJob
from isamap.io.index import href
from isamap.io.members import read_member, tile_members
from isamap.io.mosaic_folder import SHEETS, Lying, sheets_there
from isamap.io.warped import SheetJob

COUNTS = ".counts"
REVISION = 2
"""A new number when the same maps give other counts."""
NEAR_DEG = 0.01
"""The cutline is cut this far around what it is needed for."""


@dataclass(frozen=True)
class Options:
    """How to put maps together."""

    crs: str = EQUAL_AREA
    """Of the overview, the sheets, and of an index over several zones."""
    overview_res_m: float = 100
    """Side of a cell of the overview."""
    res: float | None = None
    """Pixel size of the sheets in units of `crs`; None writes none."""
    sheet_px: int = 10_240
    """Side of a sheet, a multiple of 512."""
    overwrite: bool = False
    """Redo what is done."""


@dataclass(frozen=True)
class Request:
    """A mosaic to make."""

    name: str
    """File name of its rasters, id of its collection."""
    title: str
    """For people."""
    members: tuple[Member, ...]
    """Finished maps."""
    missing: tuple[str, ...]
    """Ids of tiles without a map."""
    folder: Path
    """Where it goes."""
    options: Options = Options()
    """How to put it together."""
    cutline: BaseGeometry | None = None
    """Lon/lat area outside which nothing counts or is shown."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Why a map is left out before anything is counted, by the id of its tile."""

    @property
    def target(self) -> store.Target:
        """Overview, index, table and picture."""
        return store.Target(self.folder, self.name)

    @cached_property
    def grid(self) -> GeoBox:
        """Of the overview."""
        shapes = [projected(one, self.options.crs) for one in self._shown()]
        bounds = tuple(shapely.total_bounds(shapes).tolist())
        cell = cell_size(self.options.crs, self.options.overview_res_m)
        return aligned_grid(bounds, self.options.crs, cell)

    def _shown(self) -> list[BaseGeometry]:
        """Lon/lat area that each member adds."""
        shapes = [member.footprint for member in self.members]
        if self.cutline is None:
            return shapes
        return [shapely.intersection(self._near(one), one) for one in shapes]

    def _near(self, area: BaseGeometry) -> BaseGeometry:
        """The cutline near a lon/lat area."""
        west, south, east, north = area.bounds
        sides = west - NEAR_DEG, south - NEAR_DEG, east + NEAR_DEG, north + NEAR_DEG
        return shapely.make_valid(shapely.clip_by_rect(self.cutline, *sides))

    def part(self, area: BaseGeometry) -> BaseGeometry | None:
        """The cutline over a lon/lat area; None if nothing is cut there."""
        if self.cutline is None:
            return None
        near = self._near(area)
        return None if near.contains(area) else near

    @cached_property
    def count_jobs(self) -> list[CountJob]:
        """Members to be counted for the overview."""
        jobs = []
        for member in self.members:
            cells = cells_over(self.grid, member.outline(self.options.crs))
            cut = self.part(member.footprint)
            corner = list(self.grid.transform)[:6], cells.row_off, cells.col_off, cells.shape
            place = [self.options.crs, *corner]
            digest = digests.of_json([__version__, REVISION, member.sha256, place, _shape_digest(cut)])
            path = self.folder / COUNTS / f"{product.plain_stem(member.name)}-{member.sha256[:8]}.tif"
            jobs.append(CountJob(member, self.grid, cells, path, digest, cut, self.options.overwrite))
        return jobs

    def check_resolution(self) -> None:
        """Refuse pixels of sheets that are given in another unit than the CRS has.

        Raises:
            InputError: one pixel would be wider than all maps together.
        """
        if self.options.res is None:
            return
        shapes = [projected(one, self.options.crs) for one in self._shown()]
        west, south, east, north = shapely.total_bounds(shapes).tolist()
        if self.options.res > max(east - west, north - south):
            raise InputError(
                f"a pixel of {self.options.res:g} is wider than all maps together: --res is in units of "
                f"{self.options.crs}"
            )

    def sheet_jobs(self) -> list[SheetJob]:
        """Sheets to be made."""
        if self.options.res is None:
            return []
        side = self.options.res * self.options.sheet_px
        bounds = tuple(shapely.total_bounds(self._outlines.geometries).tolist())
        whole = aligned_grid(bounds, self.options.crs, side)
        west, north = (round(value / side) for value in (whole.transform.c, whole.transform.f))
        rows, cols = whole.shape
        corners = [(west + col, north - row) for row in range(rows) for col in range(cols)]
        return [job for corner in corners if (job := self._sheet(corner)) is not None]

    def earlier_sheets(self, known: Collection[str]) -> tuple[list[str], list[str]]:
        """Stems of the sheets that lie there: those that this mosaic would make on their grid, and the others.

        Args:
            known: stems of those that are left out.
        """
        right: list[str] = []
        wrong: list[str] = []
        grids: dict[Options, Request] = {}
        for sheet in sheets_there(self.folder):
            crs = sheet.crs or self.options.crs
            like = replace(self.options, crs=crs, res=sheet.res, sheet_px=sheet.side_px)
            request = grids.setdefault(like, replace(self, options=like))
            if sheet.stem not in known:
                (right if request.would_make(sheet) else wrong).append(sheet.stem)
        return right, wrong

    def would_make(self, sheet: Lying) -> bool:
        """Whether a sheet is one of this mosaic's."""
        job = self._sheet(sheet.corner)
        return job is not None and (job.target.stem, job.provenance) == (sheet.stem, sheet.provenance)

    @cached_property
    def _outlines(self) -> shapely.STRtree:
        """What each member adds, in the CRS of the sheets."""
        return shapely.STRtree([projected(one, self.options.crs) for one in self._shown()])

    def _sheet(self, corner: tuple[int, int]) -> SheetJob | None:
        """The sheet whose upper left corner lies so many sheets east and north of the CRS's origin; None if it is empty."""
        options, res = self.options, self.options.res or 0.0
        col, row = corner
        side = res * options.sheet_px
        box = shapely.box(col * side, (row - 1) * side, (col + 1) * side, row * side)
        near = sorted(self._outlines.query(box, predicate="intersects").tolist())
        shapes = self._outlines.geometries
        members = [self.members[one] for one in near if shapely.intersection(shapes[one], box).area > 0]
        if not members:
            return None
        left, top = col * res * options.sheet_px, row * res * options.sheet_px
        shape = (options.sheet_px, options.sheet_px)
        geobox = GeoBox(shape, Affine(res, 0, left, 0, -res, top), options.crs)
        stem = f"{self.name}-{_signed(col, 'EW')}-{_signed(row - 1, 'NS')}"
        cut = self.part(shapely.box(*geobox.footprint(LONLAT, npoints=16).geom.bounds))
        settings = [options.crs, res, corner, options.sheet_px, _shape_digest(cut)]
        inputs = inputs_digest(members, self.folder)
        return SheetJob(
            geobox,
            tuple(members),
            store.Target(self.folder / SHEETS, stem),
            {"code": f"isamap {__version__}", "inputs": inputs, "settings": digests.of_json(settings)},
            span_of(members),
            {"isamap_version": __version__},
            cut,
            options.overwrite,
        )

    def provenance(self, members: Sequence[Member]) -> dict[str, str]:
        """Everything that index and overview depend on."""
        left_out = [*self.missing, *self.refused]
        settings = [
            REVISION,
            list(self.grid.transform)[:6],
            list(self.grid.shape),
            self.options.crs,
            left_out,
        ]
        return {
            "code": f"isamap {__version__}",
            "inputs": inputs_digest(members, self.folder),
            "settings": digests.of_json([*settings, _shape_digest(self.cutline)]),
        }


@dataclass(frozen=True)
class Area:
    """An area whose maps lie in a workspace."""

    region: Region
    """Its name and outline."""
    tiles: tuple[Tile, ...]
    """Grid tiles that belong to it."""
    year: int
    """Of the maps."""
    workspace: Path
    """Where they lie."""
    model: str
    """Whose they are."""


def of_area(area: Area, folder: Path | None, options: Options, *, cutline: bool) -> Request:
    """The mosaic of an area.

    Raises:
        MissingInputError: not one tile is mapped.
        InputError, StorageError: not one map can be read, or the CRS is unknown.
    """
    directory = product.map_directory(area.workspace, area.model, area.year)
    found = tile_members(directory, area.tiles)
    name = area.region.slug
    return Request(
        name,
        f"{area.region.title} {area.year}",
        tuple(found.members),
        tuple(found.missing),
        folder or product.mosaic_directory(area.workspace, area.model, area.year, name),
        _checked(options),
        area.region.geometry if cutline else None,
        found.refused,
    )


def of_maps(paths: Sequence[Path], folder: Path, options: Options) -> Request:
    """The mosaic of files and of folders of tiles.

    Raises:
        MissingInputError, InputError: nothing is there, or something is no class map.
    """
    files = {
        file.resolve(): file for path in paths for file in map_files(path)
    }  # one file may be called twice
    members = tuple(read_member(file) for file in sorted(files.values()))
    name = re.sub(r"[^A-Za-z0-9._-]", "_", folder.absolute().name).lstrip(".")[:80] or "mosaic"
    return Request(name, name, members, (), folder, _checked(options))


def _checked(options: Options) -> Options:
    """The options with the CRS by its code."""
    crs = as_crs(options.crs)
    return replace(options, crs=":".join(crs.to_authority() or ()) or crs.to_wkt())


def span_of(members: Sequence[Member]) -> tuple[str, str]:
    """Time that members speak of."""
    starts, ends = zip(*map(span, members), strict=True)
    return min(starts), max(ends)


def inputs_digest(members: Sequence[Member], folder: Path) -> str:
    """Of the rasters, and of how they are called from a folder."""
    return digests.of_json([(href(member.path, folder), member.sha256) for member in members])


def _shape_digest(shape: BaseGeometry | None) -> str:
    return "" if shape is None else hashlib.sha256(shapely.to_wkb(shapely.normalize(shape))).hexdigest()


def _signed(number: int, signs: str) -> str:
    """`E0012` or `W0012`: sheets east (north) of the CRS's origin."""
    return f"{signs[number < 0]}{abs(number):04d}"
