"""Indexes of a mosaic that GDAL and QGIS open by themselves: a VRT per CRS, a GTI GeoPackage over all.

Paths in them are relative, so a workspace may move as a whole; where links stand in the way, as they are now. A VRT keeps the pixels of its tiles as they are; the
tile index (GDAL >= 3.9) has one CRS, and GDAL warps tiles of other zones to it while reading.
"""

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np
import shapely
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from isamap.domain.lonlat import M_PER_DEGREE, transformer
from isamap.domain.mosaic import Member
from isamap.domain.product import BLOCK_PX, NODATA, class_layer, overview_factors
from isamap.errors import ConfigError, StorageError

GTI_LAYER = "tiles"
EPOCH = "1970-01-01T00:00:00.000Z"
"""Stands in the GeoPackage in place of the clock: the same maps give the same bytes."""
SHIFT_PX = 1e-3
"""Rasters closer than this to each other's pixels lie on one grid."""


def href(path: Path, folder: Path) -> str:
    """A file as it is called from a folder, wherever links lead: `..` is the parent of the folder that a link leads to."""
    return (_way(folder.absolute(), path.parent.absolute()) / path.name).as_posix()


@lru_cache(maxsize=64)
def _way(start: Path, end: Path) -> Path:
    """From one folder to another: as they are called, which lets links move with them, if that leads there."""
    called = Path(os.path.relpath(end, start))
    if (start.resolve() / called).resolve() == end.resolve():
        return called
    return Path(os.path.relpath(end.resolve(), start.resolve()))


def vrt_text(members: Sequence[Member], folder: Path) -> str:
    """A VRT over members of one CRS and pixel size, none of which overlap.

    Args:
        members: what it shows.
        folder: where it will lie.
    """
    gsd, layer = members[0].gsd, class_layer(members[0].scheme)
    boxes = np.array([tuple(member.geobox.boundingbox) for member in members])
    left, top = float(boxes[:, 0].min()), float(boxes[:, 3].max())
    width, height = (round(side / gsd) for side in (boxes[:, 2].max() - left, top - boxes[:, 1].min()))
    root = Element("VRTDataset", rasterXSize=str(width), rasterYSize=str(height))
    SubElement(root, "SRS", dataAxisToSRSAxisMapping="1,2").text = CRS.from_user_input(members[0].crs).to_wkt(
        "WKT1_GDAL"
    )
    SubElement(root, "GeoTransform").text = f"{left!r}, {gsd!r}, 0, {top!r}, 0, {-gsd!r}"
    band = SubElement(root, "VRTRasterBand", dataType="Byte", band="1")
    SubElement(band, "Description").text = layer.description
    SubElement(band, "NoDataValue").text = str(NODATA)
    SubElement(band, "ColorInterp").text = "Palette"
    table = SubElement(band, "ColorTable")
    for code in range(256):
        red, green, blue, alpha = layer.colours.get(code, (0, 0, 0, 255))
        SubElement(table, "Entry", c1=str(red), c2=str(green), c3=str(blue), c4=str(alpha))
    for member, box in zip(members, boxes, strict=True):
        offset = _whole((box[0] - left) / gsd), _whole((top - box[3]) / gsd)
        _add_source(band, member, href(member.path, folder), offset)
    factors = overview_factors((members[0].geobox.shape[0], members[0].geobox.shape[1]))
    if factors:
        SubElement(root, "OverviewList", resampling="mode").text = " ".join(map(str, factors))
    indent(root)
    return tostring(root, encoding="unicode") + "\n"


def _whole(pixels: float) -> float:
    """An offset in whole pixels, where it is one but for rounding: GDAL copies such pixels as they are."""
    near = round(pixels)
    return near if abs(pixels - near) < SHIFT_PX else float(pixels)


def _add_source(band: Element, member: Member, name: str, offset: tuple[float, float]) -> None:
    """A member in a band of a VRT, so many columns and rows off its corner."""
    rows, cols = (str(side) for side in member.geobox.shape)
    source = SubElement(band, "SimpleSource")
    SubElement(source, "SourceFilename", relativeToVRT="1").text = name
    SubElement(source, "SourceBand").text = "1"
    block = str(BLOCK_PX)
    SubElement(
        source,
        "SourceProperties",
        RasterXSize=cols,
        RasterYSize=rows,
        DataType="Byte",
        BlockXSize=block,
        BlockYSize=block,
    )
    SubElement(source, "SrcRect", xOff="0", yOff="0", xSize=cols, ySize=rows)
    SubElement(source, "DstRect", xOff=str(offset[0]), yOff=str(offset[1]), xSize=cols, ySize=rows)


def gti_crs(members: Sequence[Member], crs: str) -> str:
    """CRS of the tile index: that of the members if they have one, so that nothing is warped; else `crs`."""
    own = {member.crs for member in members}
    return own.pop() if len(own) == 1 else crs


def write_gti(path: Path, members: Sequence[Member], crs: str, folder: Path) -> None:
    """A tile index as GDAL's GTI driver wants it: a GeoPackage whose layer metadata describe the mosaic.

    Args:
        path: of the file, `*.gti.gpkg`.
        members: tiles.
        crs: of the index.
        folder: where the file will lie; locations are relative to it.

    Raises:
        ConfigError: pyogrio is not installed.
        StorageError: it cannot be written.
    """
    check_index_libraries()
    import pyogrio

    res = members[0].gsd
    if CRS.from_user_input(crs).is_geographic and not CRS.from_user_input(members[0].crs).is_geographic:
        res /= M_PER_DEGREE
    shapes = [_room(member, crs, res) for member in members]
    left, bottom, right, top = np.array(shapely.total_bounds(shapes)) / res
    sides = {"MINX": np.floor(left), "MINY": np.floor(bottom), "MAXX": np.ceil(right), "MAXY": np.ceil(top)}
    factors = overview_factors((members[0].geobox.shape[0], members[0].geobox.shape[1]))
    metadata = {
        **{name: f"{float(side) * res!r}" for name, side in sides.items()},
        **{f"OVERVIEW_{level}_FACTOR": str(factor) for level, factor in enumerate(factors)},
        "RESX": f"{res!r}",
        "RESY": f"{res!r}",
        "BAND_COUNT": "1",
        "DATA_TYPE": "Byte",
        "NODATA": str(NODATA),
        "LOCATION_FIELD": "location",
        "RESAMPLING": "nearest",
        "BLOCKXSIZE": str(BLOCK_PX),
        "BLOCKYSIZE": str(BLOCK_PX),
        "SORT_FIELD": "name",
    }
    columns = {
        "location": [href(member.path, folder) for member in members],
        "name": [member.name for member in members],
        "crs": [member.crs for member in members],
        "sha256": [member.sha256 for member in members],
    }
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": EPOCH})
    try:
        pyogrio.raw.write(
            path,
            geometry=shapely.to_wkb(np.array(shapes)),
            field_data=[np.array(values, object) for values in columns.values()],
            fields=list(columns),
            layer=GTI_LAYER,
            driver="GPKG",
            geometry_type="Polygon",
            crs=crs,
            layer_metadata=metadata,
        )
    except (OSError, pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise StorageError(f"{path.name} cannot be written: {error}") from error
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})


def check_index_libraries() -> None:
    """Fail before the long work, not after it.

    Raises:
        ConfigError: the library that writes GeoPackages is not installed.
    """
    try:
        import pyogrio  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"a mosaic's index needs pyogrio: pip install 'isamap[vector]' ({error})"
        ) from error


def _room(member: Member, crs: str, res: float) -> BaseGeometry:
    """Box around a member, with the pixels by which GDAL's own warped extent may be larger: it warns otherwise."""
    if member.crs == crs:
        return shapely.box(*member.geobox.boundingbox.bbox)
    edge = shapely.get_coordinates(
        shapely.segmentize(shapely.box(*member.geobox.boundingbox.bbox), 160 * member.gsd)
    )
    x, y = transformer(member.crs, crs).transform(edge[:, 0], edge[:, 1])
    left, bottom, right, top = min(x), min(y), max(x), max(y)
    return shapely.box(left - 3 * res, bottom - 3 * res, right + 3 * res, top + 3 * res)
