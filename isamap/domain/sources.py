"""Where Sentinel-2 L2A scenes come from: one row per catalogue, its hosts, its asset names and its manners."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from isamap.errors import ConfigError

BANDS = ("B02", "B03", "B04", "B08", "B11", "B12")
"""Bands of a composite, in the order of the file."""
SCL = "SCL"
"""Scene classification layer of Sen2Cor."""

Signing = Literal["none", "planetary-computer", "s3"]
OffsetRule = Literal["declared", "left-in", "removed"]

_ASSETS: Mapping[str, tuple[str, ...]] = {
    "B02": ("blue", "B02", "B02_10m"),
    "B03": ("green", "B03", "B03_10m"),
    "B04": ("red", "B04", "B04_10m"),
    "B08": ("nir", "B08", "B08_10m"),
    "B11": ("swir16", "B11", "B11_20m"),
    "B12": ("swir22", "B12", "B12_20m"),
    SCL: ("scl", "SCL", "SCL_20m"),
}
LICENCE = "Copernicus Sentinel data: free, full and open access (Legal notice on the use of Copernicus Sentinel Data)"
LICENCE_URL = "https://sentinel.esa.int/documents/247904/690755/Sentinel_Data_Legal_Notice"
ATTRIBUTION = "Contains modified Copernicus Sentinel data {year}"
"""What the legal notice wants said of data that were adapted or modified."""


@dataclass(frozen=True)
class Source:
    """A catalogue of Sentinel-2 L2A scenes, or a folder of them."""

    name: str
    """What users type, and what items of composites say; `folder:NAME` for a folder."""
    url: str
    """Root of the STAC API; empty for a folder."""
    collections: tuple[str, ...]
    """Searched in this order and merged."""
    root: str = ""
    """Absolute path of a folder, which hrefs of its scenes are relative to; never published."""
    assets: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _ASSETS, hash=False)
    """Keys an asset may have for each of BANDS and SCL; the first one that an item has is taken."""
    hosts: tuple[str, ...] = ()
    """Exact host names, or `*.suffix`, that pixels may come from; the API's own host is always allowed."""
    signing: Signing = "none"
    """How addresses are signed when they are opened; s3 signs `s3://` ones with the user's own keys."""
    token_url: str = ""
    """planetary-computer: where SAS tokens come from; `{collection}` stands for the collection."""
    offset: OffsetRule = "declared"
    """What the provider does with the +1000 of baseline 04.00: as each item declares (which is doubted), always
    left in, or always removed."""
    requests_per_s: float = 5.0
    """Requests to one of its hosts that nobody minds."""
    connections: int = 16
    """Connections to one of its hosts at the same time that nobody minds."""
    licence: str = LICENCE
    """SPDX name, or the terms in words."""
    attribution: str = ATTRIBUTION
    """What the licence wants said; `{year}` stands for the year of the scenes."""
    note: str = ""
    """What a user should know."""


_EARTH_SEARCH = "https://earth-search.aws.element84.com/v1"
_ROWS = (
    Source(
        name="earth-search-c1",
        url=_EARTH_SEARCH,
        collections=("sentinel-2-c1-l2a",),
        hosts=("e84-earth-search-sentinel-data.s3.us-west-2.amazonaws.com",),
        offset="left-in",
        requests_per_s=50,
        note="Collection 1, baseline 05.00 and later also for old dates, +1000 left in; gaps in 2016-2019 and 2022",
    ),
    Source(
        name="earth-search",
        url=_EARTH_SEARCH,
        collections=("sentinel-2-l2a",),
        hosts=("sentinel-cogs.s3.us-west-2.amazonaws.com",),
        offset="declared",
        requests_per_s=50,
        note="+1000 removed from most scenes, flags wrong for some (Element84/earth-search#66, #71): pixels decide",
    ),
    Source(
        name="planetary-computer",
        url="https://planetarycomputer.microsoft.com/api/stac/v1",
        collections=("sentinel-2-l2a",),
        hosts=("sentinel2l2a01.blob.core.windows.net",),
        signing="planetary-computer",
        token_url="https://planetarycomputer.microsoft.com/api/sas/v1/token/{collection}",  # noqa: S106  # an address
        offset="left-in",
        requests_per_s=10,
        note="+1000 left in; heavy searchers were banned (microsoft/PlanetaryComputer#427)",
    ),
    Source(
        name="cdse",
        url="https://stac.dataspace.copernicus.eu/v1",
        collections=("sentinel-2-l2a",),
        hosts=("eodata.dataspace.copernicus.eu",),
        signing="s3",
        offset="left-in",
        requests_per_s=30,  # 2000 a minute
        connections=4,
        note="ESA's own JPEG 2000 files, whole granules (some 600 MB a scene); needs S3 keys; "
        "4 connections and 12 TB a month (documentation.dataspace.copernicus.eu/Quotas.html)",
    ),
)
SOURCES: dict[str, Source] = {row.name: row for row in _ROWS}
"""Every known catalogue under its name."""
DEFAULT = ("earth-search-c1", "earth-search", "planetary-computer")
"""Sources asked in this order unless the user names others."""

_ADDRESS = re.compile(r"https?://[^\s/?#@\\]+(?:/[^\s?#@\\]*)?", re.ASCII)


def source_of(text: str) -> Source:
    """The source of that name, or a row for a STAC API: `https://stac.example.org/v1[#collection[,collection]]`.

    Such a row allows the API's own host only. Its items' words on the offset are doubted as Earth Search's are.

    Raises:
        ConfigError: neither a known name nor an http(s) address.
    """
    if (name := text.strip().lower().replace("_", "-")) in SOURCES:
        return SOURCES[name]
    root, _, names = text.strip().partition("#")
    collections = tuple(filter(None, (part.strip() for part in names.split(","))))
    if len(text) > 2048 or not text.isprintable() or _ADDRESS.fullmatch(root) is None:
        raise ConfigError(
            f"--source {text[:80]!r} is neither {', '.join(SOURCES)}, nor a folder that is there, nor the address of a "
            "STAC API: write https://HOST/PATH or https://HOST/PATH#COLLECTION, without user, password or query"
        )
    root = root.rstrip("/")
    for row in _ROWS:  # the address of a known catalogue brings its hosts and manners along
        if root == row.url and set(collections) <= set(row.collections):
            return row
    return Source(name=root, url=root, collections=collections or ("sentinel-2-l2a",), signing="s3")
