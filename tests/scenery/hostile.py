"""Items that a broken or hostile catalogue may hand out, each made of a good one: what a reader must refuse.

    for case in HOSTILE:
        bad = case.of(good_item, canary.url)

`case.refused` says where: `parsed` is no scene (`scene_of` must raise, in one line), `opened` is a scene whose pixels
nobody may fetch, `never` does no harm and may be taken or left. The canary's counter must stay 0 for all of them.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Item = dict[str, Any]
LONG = 10_000_000


@dataclass(frozen=True)
class Hostile:
    """One kind of bad item."""

    name: str
    """For test ids."""
    edit: Callable[[Item, str], object]
    """Changes a copy of a good item in place, given the canary's address."""
    refused: Literal["parsed", "opened", "never"] = "parsed"
    """Where a reader must stop."""

    def of(self, good: Item, canary: str = "http://127.0.0.1:9") -> Item:
        """The bad item."""
        item = copy.deepcopy(good)
        self.edit(item, canary)
        return item


def _blue(item: Item) -> Item:
    assets = item["assets"]
    return assets["blue"] if "blue" in assets else assets["B02"]


def _id(value: Any) -> Callable[[Item, str], object]:
    return lambda item, _: item.update(id=value)


def _href(value: Any) -> Callable[[Item, str], object]:
    def edit(item: Item, canary: str) -> None:
        _blue(item)["href"] = value.replace("CANARY", canary) if isinstance(value, str) else value

    return edit


def _property(name: str, value: Any) -> Callable[[Item, str], object]:
    return lambda item, _: item["properties"].update({name: value})


def _top(name: str, value: Any) -> Callable[[Item, str], object]:
    return lambda item, _: item.update({name: value})


def _without_band(item: Item, _: str) -> None:
    for key in ("swir16", "B11"):
        item["assets"].pop(key, None)


def _without_scl(item: Item, _: str) -> None:
    for key in ("scl", "SCL"):
        item["assets"].pop(key, None)


HOSTILE = (
    Hostile("id climbs", _id("../../../etc/cron.d/x")),
    Hostile("id absolute", _id("/tmp/evil")),
    Hostile("id with NUL", _id("S2A\x00_L2A")),
    Hostile("id with newline", _id("S2A\nERROR forged line")),
    Hostile("id with escape", _id("S2A\x1b[2J")),
    Hostile("id of 10 MB", _id("A" * LONG)),
    Hostile("id of 300 characters", _id("A" * 300)),
    Hostile("id empty", _id("")),
    Hostile("id with a leading dot", _id(".hidden")),
    Hostile("id of look-alikes", _id("S2А_48RXT")),  # noqa: RUF001  # that A is Cyrillic
    Hostile("id a number", _id(7)),
    Hostile("id null", _id(None)),
    Hostile("id a list", _id(["S2A"])),
    Hostile("href file", _href("file:///etc/passwd")),
    Hostile("href path", _href("/etc/passwd")),
    Hostile("href relative", _href("../../secret.tif")),
    Hostile("href vsicurl", _href("/vsicurl/CANARY/x.tif")),
    Hostile("href vsizip", _href("/vsizip//vsicurl/CANARY/x.zip/x.tif")),
    Hostile("href GDAL prefix", _href("GTIFF_DIR:1:/etc/passwd")),
    Hostile("href VRT text", _href("<VRTDataset><VRTRasterBand/></VRTDataset>")),
    Hostile("href metadata service", _href("http://169.254.169.254/latest/meta-data/"), refused="opened"),
    Hostile("href private", _href("https://10.0.0.1/B02.tif"), refused="opened"),
    Hostile("href private 6", _href("https://[fd00::1]/B02.tif"), refused="opened"),
    Hostile("href mapped", _href("https://[::ffff:169.254.169.254]/B02.tif"), refused="opened"),
    Hostile("href decimal", _href("http://2130706433/B02.tif"), refused="opened"),
    Hostile("href octal", _href("http://0177.0.0.1/B02.tif"), refused="opened"),
    Hostile("href another host", _href("CANARY/B02.tif"), refused="opened"),
    Hostile(
        "href with a user", _href("https://sentinel-cogs.s3.us-west-2.amazonaws.com@evil.example/B02.tif")
    ),
    Hostile(
        "href a suffix of an allowed host",
        _href("https://sentinel-cogs.s3.us-west-2.amazonaws.com.evil.example/x"),
        refused="opened",
    ),
    Hostile("href with newline", _href("https://example.org/\r\nHost: evil.example\r\n/B02.tif")),
    Hostile("href gopher", _href("gopher://127.0.0.1:6379/_FLUSHALL")),
    Hostile("href ftp", _href("ftp://example.org/B02.tif")),
    Hostile("href data", _href("data:image/tiff;base64,SUkqAAgAAAA=")),
    Hostile("href of another bucket", _href("s3://somebody-else/B02.tif")),
    Hostile("href of 10 MB", _href("https://example.org/" + "A" * LONG)),
    Hostile("href a number", _href(7)),
    Hostile("href null", _href(None)),
    Hostile("no B11", _without_band),
    Hostile("no SCL", _without_scl),
    Hostile("no assets", _top("assets", {})),
    Hostile("assets null", _top("assets", None)),
    Hostile("assets a list", _top("assets", [])),
    Hostile("asset null", lambda item, _: item["assets"].update(dict.fromkeys(item["assets"]))),
    Hostile("properties null", _top("properties", None)),
    Hostile("properties a string", _top("properties", "no")),
    Hostile("no datetime", lambda item, _: item["properties"].pop("datetime")),
    Hostile("datetime null", _property("datetime", None)),
    Hostile("datetime a number", _property("datetime", 20210414)),
    Hostile("datetime nonsense", _property("datetime", "2021-13-45T99:99:99Z")),
    Hostile("datetime of 10 MB", _property("datetime", "2" * LONG)),
    Hostile("geometry nonsense", _top("geometry", {"type": "Polygon", "coordinates": [[["a", "b"]]]})),
    Hostile(
        "geometry of the whole world twice",
        _top(
            "geometry",
            {"type": "Polygon", "coordinates": [[[-999, -999], [999, -999], [999, 999], [-999, -999]]]},
        ),
    ),
    Hostile("geometry null", _top("geometry", None), refused="never"),
    Hostile("bbox null", _top("bbox", None), refused="never"),
    Hostile("cloud cover null", _property("eo:cloud_cover", None), refused="never"),
    Hostile("cloud cover a string", _property("eo:cloud_cover", "12 %"), refused="never"),
    Hostile("cloud cover beyond", _property("eo:cloud_cover", 1e308), refused="never"),
    Hostile("properties with a string of 10 MB", _property("title", "A" * LONG), refused="never"),
    Hostile("links null", _top("links", None), refused="never"),
    Hostile("platform a list", _property("platform", ["sentinel-2a"]), refused="never"),
)
"""Every kind."""

NO_ITEMS: tuple[Any, ...] = (None, 7, "item", [], {}, {"type": "Feature"}, {"id": "S2A"}, [["id", "S2A"]])
"""What may stand where an item is expected."""


def disguised_vrt(path: Path, canary: str) -> None:
    """A VRT under a .tif name that reads the canary's file, and one of this machine's: GDAL opens it unless told GTiff."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    sources = (f"/vsicurl/{canary}/x.tif", "/etc/passwd")
    bands = "".join(
        f'<VRTRasterBand dataType="UInt16" band="{band}"><SimpleSource><SourceFilename relativeToVRT="0">{source}'
        "</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        for band, source in enumerate(sources, start=1)
    )
    place = "<SRS>EPSG:32648</SRS><GeoTransform>623220, 10, 0, 3258480, 0, -10</GeoTransform>"
    path.write_text(f'<VRTDataset rasterXSize="1198" rasterYSize="1272">{place}{bands}</VRTDataset>\n')
