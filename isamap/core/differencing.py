"""One tile of `isamap change`: maps of several years streamed through the decoder into COGs with their item.

A tile whose item carries the same provenance is done; its counts are read back from the item.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from math import floor
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from isamap import __version__, digests
from isamap.domain.change_tally import ALL, Tally
from isamap.domain.changes import CHANGE, change_item, first_year_layer
from isamap.domain.decoded import Decoded
from isamap.domain.decoder import Decoder
from isamap.domain.grid import Window, crop
from isamap.domain.ground_area import fewest_pixels, pixel_area_m2
from isamap.domain.ground_steps import ground_steps
from isamap.domain.own_ground import own_columns, own_pixels
from isamap.domain.registration import Shift
from isamap.domain.strips import STRIP_PX, Piece, pieces
from isamap.domain.transition import COUNTED, Chances
from isamap.domain.view import Zones
from isamap.engine.pages import keep_pages
from isamap.engine.stream import stream
from isamap.errors import InputError, IsamapError, MissingInputError, PartialError
from isamap.io import store
from isamap.io.cog import CogWriter
from isamap.io.cover import tile_of
from isamap.io.frames import Frame, alike_years, read_as_classes
from isamap.io.series import Series
from isamap.io.zones import Units, digests_of, source_of, zones_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """How change is found; all of it is part of the provenance."""

    years: tuple[int, ...]
    """Of the maps, ascending."""
    method: str = "viterbi"
    """Reading that the rasters show."""
    chances: Chances = field(default_factory=Chances)
    """Error rates and transition rates."""
    min_looks: int = 2
    """Fewer years mapped: the pixel is flagged and counts nowhere."""
    min_area_m2: float = 100
    """Patches of change smaller than this are undone; 0 keeps all."""
    probability: bool = False
    """Read probability rasters where they are."""
    align: bool = False
    """Bring the years onto the first one before they are compared."""
    units: str | None = None
    """`provinces`, `prefectures`, or a vector file."""
    versions: bool = False
    """Whether maps of different recipes are differenced: a version change."""
    allow_overlap: bool = False
    """Whether units may share ground, which then counts for the later one."""


@dataclass(frozen=True)
class Job:
    """One tile."""

    name: str
    """Tile id, or the stem of the user's rasters."""
    frames: tuple[Frame | None, ...]
    """A map per year, None where there is none."""
    target: store.Target
    """Where the product goes."""

    def __str__(self) -> str:
        """As logs name it."""
        return self.name


@dataclass(frozen=True)
class Row:
    """What is said of a tile that did not fail."""

    state: Literal["made", "skipped"]
    """`skipped`: it was done."""
    stem: str
    """Of its files."""
    shifts: tuple[tuple[float, float, float] | None, ...]
    """Metres east and north of the first map, and the height of the peak, by year."""
    alike: tuple[tuple[int, int], ...] = ()
    """Years whose maps are the same bytes."""
    as_classes: tuple[int, ...] = ()
    """Years read as classes although probabilities were asked for: they have none."""


@dataclass(frozen=True)
class Made:
    """A tile that did not fail, and what it adds to the counts."""

    row: Row
    """To be kept."""
    tally: Tally
    """Its counts, large with many years or units."""


@dataclass
class Outcome:
    """The run: counts of all tiles that could be made."""

    options: Options
    lineages: tuple[str, ...]
    """In words, by year."""
    tally: Tally
    """Of all tiles."""
    remarks: tuple[str, ...] = ()
    """What items and headers say against the maps."""
    made: dict[str, Row] = field(default_factory=dict)
    faults: dict[str, IsamapError] = field(default_factory=dict)
    gaps: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Years without a map, of tiles that were made without them."""
    others: tuple[str, ...] = ()
    """Stems of products of other runs in the same folder."""

    def raise_for_failures(self) -> None:
        """A lone tile fails with its own error, several with PartialError; so does a run that compared nothing.

        Raises:
            InputError: no pixel has enough looks for any change to be seen.
        """
        if self.faults and not self.made and len(self.faults) == 1:
            raise next(iter(self.faults.values()))
        if self.faults:
            whole = len(self.faults) + len(self.made)
            raise PartialError(
                f"{len(self.faults)} of {whole} tiles failed: the table names them, rerun to resume"
            )
        if ALL in self.tally.pixels and not self.tally.figures(ALL, self.options.method).mapped_km2:
            raise InputError(
                f"no pixel is mapped in {self.options.min_looks} of the years: there was nothing to compare"
            )

    @property
    def stems(self) -> tuple[str, ...]:
        """Of the products that are there."""
        return tuple(sorted(row.stem for row in self.made.values()))


def make(options: Options, job: Job) -> Made:
    """Make one tile, or find it done.

    Raises:
        MissingInputError: fewer than two of its maps are there, or probabilities are asked for and none has any.
        InputError: a map is bad, is not the one its item describes, or does not fit the others.
        StorageError: the disk refuses.
    """
    keep_pages()
    there = [frame for frame in job.frames if frame]
    if len(there) < 2:
        years = f"{len(there)} of {len(job.frames)} years {'has' if len(there) == 1 else 'have'} a map"
        raise MissingInputError(f"only {years}: change needs two")
    as_classes = read_as_classes(job.frames, options.years) if options.probability else ()
    if as_classes:
        log.warning("%s has no probabilities of %s: read as classes", job, ", ".join(map(str, as_classes)))
    inputs = [frame.digest(probability=options.probability) if frame else None for frame in job.frames]
    provenance = provenance_of(options, job, inputs)
    alike = alike_years(job.frames, options.years, inputs)
    if store.state(job.target, provenance) is store.State.DONE:
        properties = (store.read_item(job.target.item_path) or {})["properties"]
        shifts = tuple(None if s is None else (s[0], s[1], s[2]) for s in properties["isamap:shifts_m"])
        tally = Tally.from_json(options.years, properties["isamap:tally"])
        return Made(Row("skipped", job.target.stem, shifts, alike, as_classes), tally)
    with Series(job.frames, options.chances, probability=options.probability) as series:
        shifts = tuple(_metres(shift, series) for shift in series.measure())
        series.aligned = options.align
        tally = _publish(options, job, series, shifts, provenance)
    return Made(Row("made", job.target.stem, shifts, alike, as_classes), tally)


def _metres(shift: Shift | None, series: Series) -> tuple[float, float, float] | None:
    """East and north, and the peak; None for a map that was not or could not be compared."""
    if shift is None:
        return None
    east_m, north_m = ground_steps(series.geobox).metres(shift.rows, shift.cols)
    return (
        round(east_m, 3),
        round(north_m, 3),
        floor(shift.peak * 1000) / 1000,
    )  # a limit not reached stays so


def provenance_of(options: Options, job: Job, inputs: Sequence[list[str] | None]) -> dict[str, Any]:
    """Everything the bytes of the product depend on."""
    kinds = [frame and frame.kind for frame in job.frames]
    # the revision is a new number when the same maps and options give other rasters or counts
    settings = asdict(options) | {"kinds": kinds, "counted": COUNTED, "revision": 4}
    del settings["allow_overlap"]  # it lets something through, and changes nothing
    if options.units and (source := source_of(options.units)).path.exists():
        files, chosen = digests_of(source), [source.layer, source.column]
        settings["units"] = [*files, *chosen] if len(files) > 1 or any(chosen) else files[0]
    return {
        "code": f"isamap {__version__}",
        "inputs": digests.of_json(inputs),
        "settings": digests.of_json(settings),
    }


def _publish(
    options: Options,
    job: Job,
    series: Series,
    shifts: tuple[tuple[float, float, float] | None, ...],
    provenance: Mapping[str, Any],
) -> Tally:
    """Write the two rasters and the item of a tile, and count."""
    layers = first_year_layer(options.years), CHANGE
    tags = {
        "isamap_version": __version__,
        "isamap_years": ",".join(map(str, options.years)),
        "isamap_method": options.method,
    }
    if options.versions:
        tags["isamap_warning"] = "version change: the maps were made by different recipes"
    names = [job.target.stem + layer.suffix for layer in layers]
    with store.publish(job.target, names) as publication:
        with ExitStack() as stack:
            writers = [
                stack.enter_context(CogWriter(publication.path(name), series.geobox, layer, tags))
                for name, layer in zip(names, layers, strict=True)
            ]
            tally = _stream(options, job, series, writers)
            series.check_probabilities()
        properties = {
            "isamap:provenance": provenance,
            "isamap:method": options.method,
            "isamap:version_change": options.versions,
            "isamap:inputs": [frame and frame.path.name for frame in job.frames],
            "isamap:shifts_m": shifts,
            "isamap:tally": tally.as_json(),
        }
        publication.commit(change_item(job.target.stem, series.geobox, options.years, properties))
    return tally


@dataclass(frozen=True)
class _Settled:
    """A strip decided."""

    window: Window
    rasters: tuple[NDArray[np.uint8], NDArray[np.uint8]]


def _stream(options: Options, job: Job, series: Series, writers: Sequence[CogWriter]) -> Tally:
    """Reader thread, which decodes -> patches and counts on this thread -> writer thread, a few strips in flight."""
    shape = series.geobox.shape[0], series.geobox.shape[1]
    decoder = _decoder(options.years, options.chances, options.method, options.min_looks)
    min_px = fewest_pixels(options.min_area_m2, series.geobox)
    margin = min(max(min_px - 1, 0), STRIP_PX)
    units = units_of(options)
    tile = tile_of(next(frame.path for frame in job.frames if frame), series.geobox)
    own = own_columns(tile, series.geobox) if tile else None
    tally = Tally(options.years)

    def decode(window: Window) -> Decoded:
        if series.probable:
            return decoder.read_evidence(*series.evidence(window))
        return decoder.read_classes(series.classes(window), window.shape)

    def settle(piece: Piece) -> _Settled:
        decoded = piece.settled(min_px)
        grid = crop(series.geobox, piece.window)
        zones = units.on(grid) if units else Zones(np.broadcast_to(np.int32(0), decoded.shape), {})
        tally.count(decoded, zones, own_pixels(own, piece.window), pixel_area_m2(grid))
        return _Settled(piece.window, decoded.rasters())

    def write(settled: _Settled) -> None:
        for writer, values in zip(writers, settled.rasters, strict=True):
            writer.write(settled.window, values)

    stream(pieces(shape, margin, decode), lambda piece: piece, settle, write, ahead=1)
    return tally


@lru_cache(maxsize=1)
def _decoder(years: tuple[int, ...], chances: Chances, method: str, min_looks: int) -> Decoder:
    """The same for all tiles, with the tables that it has made."""
    return Decoder(years, chances, method, min_looks)


def units_of(options: Options) -> Units | None:
    """The units that are asked for."""
    return zones_of(options.units, allow_overlap=options.allow_overlap) if options.units else None
