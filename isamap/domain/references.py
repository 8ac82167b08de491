"""Published products to compare with: what their values say about impervious surface, and whose they are.

Codes are those of the `verified` source; where none could be had it is empty and `note` says what is missing.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isamap.domain.accuracy import blocks
from isamap.domain.classes import UNLABELLED
from isamap.errors import ConfigError

CODES, MAJORITY, CC_BY = 1 << 16, 0.5, "CC-BY-4.0"


@dataclass(frozen=True)
class Reference:
    """A product: how to read it, and how to name its makers."""

    name: str
    """What users type: `worldcover-v200`."""
    title: str
    """What it is, for people."""
    gsd_m: float
    """Pixel size; shares are only fair from there on."""
    version: str
    """Of the algorithm."""
    years: tuple[int, ...] = ()
    """Years there are maps of; empty: every year of a series that goes on, or none in particular."""
    share_of: Mapping[int, float] = field(default_factory=dict)
    """ISA share of every value: 1 for a class that is ISA, 0 for one that is not."""
    others: float = math.nan
    """Share of values that are not listed; NaN: not known, so that a strange code is never silently pervious."""
    nodata: tuple[int, ...] = ()
    """Values that say nothing."""
    since: Mapping[int, int] = field(default_factory=dict)
    """First year in which a value is ISA, where values are years of change."""
    licence: str = ""
    """SPDX name, or the terms in words."""
    attribution: str = ""
    """What the licence wants said."""
    url: str = ""
    """Where it is described."""
    verified: str = ""
    """Where the codes were read; empty: not verified."""
    note: str = ""
    """What a user should know."""

    @property
    def fractional(self) -> bool:
        """Whether values are shares rather than classes."""
        return any(0 < share < 1 for share in self.share_of.values())

    def recipe(self) -> str:
        """What maps that are differenced must share: another algorithm differs on unchanged ground, too."""
        return f"{self.name} {self.version}"

    def at(self, year: int) -> "Reference":
        """The state of one year.

        Raises:
            ConfigError: there is no map of that year.
        """
        if self.years and year not in self.years:
            raise ConfigError(f"{self.name} has no map of {year}, only of {', '.join(map(str, self.years))}")
        share_of = {v: s if self.since.get(v, year) <= year else 0 for v, s in self.share_of.items()}
        return replace(self, share_of=share_of, years=(year,), since={})

    def share(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """ISA share of each pixel, 0-1, NaN where nothing is known; numbers of any type."""
        return _look_up(self._shares, values)

    def isa(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Class of each pixel: 1 where at least half is ISA, 0 where less, 255 where nothing is known."""
        return _look_up(self._classes, values)

    @cached_property
    def _shares(self) -> NDArray[np.float32]:
        """Share of every 16-bit code; one more entry for what is no code at all."""
        table = np.full(CODES + 1, self.others, np.float32)
        table[list(self.share_of)] = list(self.share_of.values())
        table[[*self.nodata, CODES]] = np.nan
        return table

    @cached_property
    def _classes(self) -> NDArray[np.uint8]:
        return np.where(np.isnan(self._shares), UNLABELLED, self._shares >= MAJORITY).astype(np.uint8)


def classes(isa: Iterable[int], pervious: Iterable[int]) -> dict[int, float]:
    """ISA shares of classes that have all or none."""
    return dict.fromkeys(isa, 1.0) | dict.fromkeys(pervious, 0.0)


def _look_up(table: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
    """Entries of a table of 65537, the last one for what is no 16-bit number; in blocks, for indices are wide."""
    found = [np.take(table, _codes(part), mode="clip") for (part,) in blocks(values)]
    return np.concatenate([table[:0], *found]).reshape(values.shape)


def _codes(values: NDArray[Any]) -> NDArray[Any]:
    """Values as indices of such a table."""
    if values.dtype in (np.uint8, np.uint16):
        return values
    if values.dtype.kind == "f":
        values = np.rint(np.nan_to_num(values, nan=-1, posinf=-1, neginf=-1))
    return np.where((values >= 0) & (values < CODES), values, CODES).astype(np.intp)


def find(name: str) -> Reference:
    """The product of that name; case, spaces and underscores do not matter.

    Raises:
        ConfigError: it is not known; the nearest names are given.
    """
    if (key := re.sub(r"[\s_]+", "-", name.strip().lower())) in REFERENCES:
        return REFERENCES[key]
    near = [known for known in REFERENCES if key and known.startswith(f"{key}-")]
    near = near or get_close_matches(key[:80], REFERENCES, n=3, cutoff=0.5) or list(REFERENCES)
    raise ConfigError(
        f"no reference product {name[:80]!r}: use {' or '.join(near)}, or give its ISA codes with --classes"
    )


def from_classes(text: str) -> Reference:
    """A product described by its codes: `50`, or `1,2=0.5,255=nodata`.

    A code alone is ISA, `CODE=SHARE` holds that share (0-1) of ISA, `CODE=nodata` says nothing; all others hold none.

    Raises:
        ConfigError: the text cannot be read, names a code twice, or names no ISA.
    """
    meanings: dict[int, float | None] = {}
    for entry in text.split(","):
        code, equals, meaning = (part.strip().lower() for part in entry.partition("="))
        try:
            number, share = int(code), None if meaning == "nodata" else float(meaning if equals else 1)
        except ValueError:
            number, share = -1, None
        if number in meanings or not (0 <= number < CODES and (share is None or 0 <= share <= 1)):
            raise ConfigError(
                f"--classes {text!r}: {entry.strip()!r} is none of CODE, CODE=SHARE (0-1) and CODE=nodata, "
                "each code (0-65535) once"
            )
        meanings[number] = share
    share_of = {code: share for code, share in meanings.items() if share is not None}
    if not any(share_of.values()):
        raise ConfigError(f"--classes {text!r} names no class that is ISA, e.g. 50")
    nodata = tuple(code for code, share in meanings.items() if share is None)
    return Reference(text, f"raster with the ISA classes {text}", math.nan, "", (), share_of, 0, nodata)


_WORLDCOVER = Reference(
    name="worldcover-v100",
    title="ESA WorldCover 2020, 10 m",
    gsd_m=10,
    version="v100",
    years=(2020,),
    share_of=classes([50], [10, 20, 30, 40, 60, 70, 80, 90, 95, 100]),
    nodata=(0,),
    licence=CC_BY,
    attribution="© ESA WorldCover project / Contains modified Copernicus Sentinel data (2020) processed by ESA WorldCover consortium",
    url="https://esa-worldcover.org/en/data-access",
    verified="https://collections.eurodatacube.com/worldcover/readme.html",
    note="v100 and v200 differ by algorithm too: their difference is not change",
)
_ESRI = Reference(
    name="esri",
    title="Esri / Impact Observatory annual land cover, 9 classes, 10 m",
    gsd_m=10,
    version="9 classes",
    share_of=classes([7], [1, 2, 4, 5, 8, 9, 11]),
    nodata=(0, 10),
    licence=CC_BY,
    attribution="Impact Observatory, Microsoft and Esri",
    url="https://planetarycomputer.microsoft.com/dataset/io-lulc-annual-v02",
    verified="https://docs.planet.com/data/public-data/other-datasets/impact-observatory-lulc-map/",
    note="annual from 2017; 10 is cloud; built area includes yards, parks and groves",
)
_GHSL = Reference(
    name="ghsl-10m",
    title="GHS-BUILT-S R2023A, built-up surface 2018, 10 m",
    gsd_m=10,
    version="R2023A",
    years=(2018,),
    share_of={area_m2: area_m2 / 100 for area_m2 in range(101)},
    nodata=(255,),
    licence="reuse authorised with acknowledgement of the source (European Commission)",
    attribution="Pesaresi and Politis 2023: GHS-BUILT-S R2023A, European Commission, Joint Research Centre",
    url="https://doi.org/10.2905/9F06F36F-4B11-47EC-ABB0-4F8B7B1D72EA",
    verified="units: Earth Engine catalogue, JRC/GHSL/P2023A; nodata: programs that read the files",
    note="square metres per cell of built-up surface: buildings, without roads and squares",
)
_ROWS = (
    _WORLDCOVER,
    replace(
        _WORLDCOVER,
        name="worldcover-v200",
        title="ESA WorldCover 2021, 10 m",
        version="v200",
        years=(2021,),
        attribution=_WORLDCOVER.attribution.replace("2020", "2021"),
    ),
    Reference(
        name="dynamic-world",
        title="Dynamic World V1 label, 10 m",
        gsd_m=10,
        version="V1",
        share_of=classes([6], [0, 1, 2, 3, 4, 5, 7, 8]),
        licence=CC_BY,
        attribution="Dynamic World Project by Google in partnership with National Geographic Society and the World Resources Institute",
        url="https://developers.google.com/earth-engine/datasets/catalog/GOOGLE_DYNAMICWORLD_V1",
        verified="programs that read the labels, among them 1 trees, 2 grass, 4 crops, 5 scrub, 6 built, 7 bare",
        note="0 is water: export masked pixels as another number, e.g. unmask(255); from mid-2015 on",
    ),
    _ESRI,
    _GHSL,
    replace(
        _GHSL,
        name="ghsl-100m",
        title="GHS-BUILT-S R2023A, built-up surface 1975-2030, 100 m",
        gsd_m=100,
        years=tuple(range(1975, 2031, 5)),
        share_of={area_m2: area_m2 / 10_000 for area_m2 in range(10_001)},
        nodata=(65535,),
    ),
    Reference(
        name="gisa-10m",
        title="GISA-10m, global impervious surface area 2016, 10 m",
        gsd_m=10,
        version="v01",
        years=(2016,),
        share_of=classes([1], [0]),
        attribution="Huang et al. 2022, doi 10.5194/essd-14-3649-2022",
        url="https://zenodo.org/records/5791855",
        note="codes and licence not verified: 1 for ISA and 0 for the rest are assumed; 0 may be outside, too",
    ),
    Reference(
        name="gaia",
        title="GAIA, global artificial impervious area 1985-2018, 30 m",
        gsd_m=30,
        version="v10",
        years=tuple(range(1985, 2019)),
        share_of=classes(range(1, 35), [0]),
        since={code: 2019 - code for code in range(1, 35)},
        licence=CC_BY,
        attribution="Gong et al. 2020, doi 10.1016/j.rse.2019.111510",
        url="https://developers.google.com/earth-engine/datasets/catalog/Tsinghua_FROM-GLC_GAIA_v10",
        verified="https://developers.google.com/earth-engine/datasets/catalog/Tsinghua_FROM-GLC_GAIA_v10",
        note="ISA is more than half impervious; without a year, all that was ISA by 2018; 0 is outside, too",
    ),
    Reference(
        name="gisd30",
        title="GISD30, global impervious surface dynamics 1985-2020, 30 m",
        gsd_m=30,
        version="1985-2020",
        years=tuple(range(1985, 2021, 5)),
        share_of=classes(range(1, 9), [0]),
        since={code: 1980 + 5 * code for code in range(1, 9)},
        licence=CC_BY,
        attribution="Zhang et al. 2022, doi 10.5194/essd-14-1831-2022",
        url="https://doi.org/10.5281/zenodo.5220816",
        verified="https://gee-community-catalog.org/projects/gisd30/",
        note="without a year, all that was ISA by 2020",
    ),
    Reference(
        name="sinolc-1",
        title="SinoLC-1, land cover of China, 1 m",
        gsd_m=1,
        version="1",
        share_of=classes([1, 6], [2, 3, 4, 5, 7, 9, 10]),
        licence=CC_BY,
        attribution="Li et al. 2023, doi 10.5194/essd-15-4749-2023",
        url="https://doi.org/10.5281/zenodo.7821068",
        note="1 traffic route, 6 building: from one program that reads the files, not the makers; 8, 11 left out",
    ),
    Reference(
        name="isa-1",
        title="ISA-1 samples, impervious surface of seven Chinese cities, 1 m",
        gsd_m=1,
        version="v2",
        years=(2021,),
        share_of=classes([1], [0]),
        licence=CC_BY,
        attribution="Deng, Hong, Li and Yokoya 2025, doi 10.6084/m9.figshare.28490204",
        url="https://doi.org/10.6084/m9.figshare.28490204",
        verified="a third party's description of the rasters: 0 and 1, nodata not declared",
        note="0 is outside, too: cut it to the city first",
    ),
)
REFERENCES: dict[str, Reference] = {row.name: row for row in _ROWS}
"""Every known product under its name."""
