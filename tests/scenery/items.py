"""STAC items and collections shaped as Earth Search v1 and Planetary Computer publish them.

Looked up, field by field, in items that those catalogues served:

- Earth Search `sentinel-2-l2a`: S2A_39QTA_20230628_0_L2A, in geopython/eodm, tests/data/test_data.py (sentinel2-to-stac
  0.1.0, STAC 1.0.0, `proj:epsg`, `earthsearch:boa_offset_applied`, asset names by colour, no relative orbit).
- Earth Search `sentinel-2-c1-l2a`: S2B_T38XNF_20250422T091553_L2A, in the tests of a public STAC model library
  (assets, links, extensions), and what stactools-packages/sentinel2 0.8+ writes for the same catalogue,
  tests/data-files/S2A_T60CWS_20240109T203651_L2A/expected_output.json and S2B_MSIL2A_20191228T210519_.../
  expected_output.json (properties, `raster:bands`: offset -0.1 from baseline 04.00 on, 0 before; the pixels keep
  their +1000 in this collection. Whether its items carry `earthsearch:boa_offset_applied` could not be settled from
  copies: it is left out unless a test asks for it).
- Planetary Computer `sentinel-2-l2a`: S2B_MSIL2A_20230101T102339_R065_T32UPC_20240806T223544 (assets, ids, hrefs
  without a signature, `platform` Sentinel-2B, STAC 1.1.0, `proj:code`); its properties also by the documentation
  of the data set. No field says anything of an offset there: only `s2:processing_baseline` does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from odc.geo.geobox import GeoBox

SHAPES = ("sentinel-2-c1-l2a", "sentinel-2-l2a", "planetary-computer")
"""Two collections of Earth Search, and Planetary Computer's sentinel-2-l2a."""

COG = "image/tiff; application=geotiff; profile=cloud-optimized"
# band: name in Earth Search, common name, centre and width in um, pixel in m, title in l2a, in c1, in Planetary Computer
_BANDS: dict[str, tuple[str, float, float, int, str, str, str]] = {
    "B02": ("blue", 0.49, 0.098, 10, "Blue (band 2) - 10m", "Blue - 10m", "Band 2 - Blue - 10m"),
    "B03": ("green", 0.56, 0.045, 10, "Green (band 3) - 10m", "Green - 10m", "Band 3 - Green - 10m"),
    "B04": ("red", 0.665, 0.038, 10, "Red (band 4) - 10m", "Red - 10m", "Band 4 - Red - 10m"),
    "B08": ("nir", 0.842, 0.145, 10, "NIR 1 (band 8) - 10m", "NIR 1 - 10m", "Band 8 - NIR - 10m"),
    "B11": (
        "swir16",
        1.61,
        0.143,
        20,
        "SWIR 1 (band 11) - 20m",
        "SWIR 1.6μm - 20m",
        "Band 11 - SWIR (1.6) - 20m",
    ),
    "B12": (
        "swir22",
        2.19,
        0.242,
        20,
        "SWIR 2 (band 12) - 20m",
        "SWIR 2.2μm - 20m",
        "Band 12 - SWIR (2.2) - 20m",
    ),
}
_SCL_TITLES = (
    "Scene classification map (SCL)",
    "Scene classification map (SCL)",
    "Scene classfication map (SCL)",
)
_EARTH_SEARCH = "https://earth-search.aws.element84.com/v1"
_PLANETARY = "https://planetarycomputer.microsoft.com/api/stac/v1"
_LEGAL = "https://sentinel.esa.int/documents/247904/690755/Sentinel_Data_Legal_Notice"


@dataclass(frozen=True)
class Granule:
    """What a catalogue knows of one date over one MGRS tile."""

    mgrs: str
    """`48RXT`."""
    geobox: GeoBox
    """10 m grid of the files; 20 m files have the same corners."""
    sensed: str
    """When the pixels were seen: `2021-04-14T03:35:41`, UTC; the datatake began at `datatake`."""
    datatake: str
    """`20210414T033541`."""
    platform: str
    """`A`, `B` or `C`."""
    orbit: int
    """Relative orbit."""
    baseline: str
    """`05.10`."""
    made: str
    """When it was processed: `20210414T070023`."""
    cloud_cover: float
    """Percent."""
    shares: Mapping[int, float] = field(default_factory=dict)
    """Percent of each SCL class, of the pixels with data."""
    nodata: float = 0.0
    """Percent of pixels without data."""
    number: int = 0
    """Distinguishes products of the same datatake, tile and day: the `_0_` of Earth Search ids."""
    offset_applied: bool | None = None
    """earthsearch:boa_offset_applied; None: not among the properties."""
    offset: float = 0.0
    """`offset` of raster:bands."""

    @property
    def product(self) -> str:
        """Name of the product: S2A_MSIL2A_20210414T033541_N0300_R061_T48RXT_20210414T070023."""
        baseline = self.baseline.replace(".", "")
        return (
            f"S2{self.platform}_MSIL2A_{self.datatake}_N{baseline}_R{self.orbit:03d}_T{self.mgrs}_{self.made}"
        )

    @property
    def square(self) -> tuple[str, str, str]:
        """Zone, band and square: 48, R, XT."""
        return self.mgrs[:-3].lstrip("0"), self.mgrs[-3], self.mgrs[-2:]

    def id(self, shape: str) -> str:
        """Id of its item."""
        if shape == "planetary-computer":
            return f"S2{self.platform}_MSIL2A_{self.datatake}_R{self.orbit:03d}_T{self.mgrs}_{self.made}"
        if shape == "sentinel-2-c1-l2a":
            return f"S2{self.platform}_T{self.mgrs}_{self.datatake}_L2A"
        return f"S2{self.platform}_{self.mgrs}_{self.datatake[:8]}_{self.number}_L2A"

    def folder(self, shape: str) -> str:
        """Where its files lie below the root, as in the real buckets."""
        zone, band, square = self.square
        year, month, day = self.datatake[:4], self.datatake[4:6], self.datatake[6:8]
        if shape == "planetary-computer":
            granule = f"L2A_T{self.mgrs}_A{self._absolute:06d}_{self.datatake}"
            return f"sentinel2-l2/{zone}/{band}/{square}/{year}/{month}/{day}/{self.product}.SAFE/GRANULE/{granule}/IMG_DATA"
        root = "sentinel-s2-l2a-cogs" if shape == "sentinel-2-l2a" else "sentinel-2-c1-l2a"
        return f"{root}/{zone}/{band}/{square}/{year}/{int(month)}/{self.id(shape)}"

    def path(self, shape: str, band: str) -> str:
        """A band's file below the root."""
        if shape != "planetary-computer":
            return f"{self.folder(shape)}/{band}.tif"
        gsd = 20 if band == "SCL" else _BANDS[band][3]
        return f"{self.folder(shape)}/R{gsd}m/T{self.mgrs}_{self.datatake}_{band}_{gsd}m.tif"

    @property
    def _absolute(self) -> int:
        return 20_000 + int(self.datatake[2:4]) * 700 + int(self.datatake[4:6]) * 31 + int(self.datatake[6:8])


def item(granule: Granule, shape: str, root: str) -> dict[str, Any]:
    """The item as its catalogue publishes it.

    Args:
        granule: what it describes.
        shape: one of SHAPES.
        root: where the files lie: an address without the last slash, `s3://bucket`, or a folder.
    """
    geometry = granule.geobox.footprint("EPSG:4326").geom
    outline = [[x, y] for x, y in geometry.exterior.coords]
    document = {
        "type": "Feature",
        "stac_version": "1.0.0" if shape == "sentinel-2-l2a" else "1.1.0",
        "stac_extensions": _extensions(shape),
        "id": granule.id(shape),
        "geometry": {"type": "Polygon", "coordinates": [outline]},
        "bbox": list(geometry.bounds),
        "properties": _planetary(granule) if shape == "planetary-computer" else _earth_search(granule, shape),
        "links": _links(granule, shape),
        "assets": {},
        "collection": "sentinel-2-l2a" if shape == "planetary-computer" else shape,
    }
    for band in (*_BANDS, "SCL"):
        key = band if shape == "planetary-computer" else "scl" if band == "SCL" else _BANDS[band][0]
        document["assets"][key] = _asset(granule, shape, band, f"{root}/{granule.path(shape, band)}")
    return document


def _stamp(compact: str) -> str:
    """20210414T033541 as 2021-04-14T03:35:41."""
    date, time = compact.split("T")
    return f"{date[:4]}-{date[4:6]}-{date[6:]}T{time[:2]}:{time[2:4]}:{time[4:]}"


def _identity(granule: Granule) -> dict[str, Any]:
    unit, day = f"S2{granule.platform}", granule.datatake
    station = f"2{granule.platform}PS"
    return {
        "s2:product_type": "S2MSI2A",
        "s2:processing_baseline": granule.baseline,
        "s2:product_uri": f"{granule.product}.SAFE",
        "s2:generation_time": f"{_stamp(granule.made)}.000000Z",
        "s2:datatake_id": f"G{unit}_{day}_{granule._absolute:06d}_N{granule.baseline}",
        "s2:datatake_type": "INS-NOBS",
        "s2:datastrip_id": f"{unit}_OPER_MSI_L2A_DS_{station}_{granule.made}_S{day}_N{granule.baseline}",
        "s2:reflectance_conversion_factor": 0.967915542603869,
    }


def _shares(granule: Granule) -> dict[str, Any]:
    names = {
        2: "dark_features",
        3: "cloud_shadow",
        4: "vegetation",
        5: "not_vegetated",
        6: "water",
        7: "unclassified",
        8: "medium_proba_clouds",
        9: "high_proba_clouds",
        10: "thin_cirrus",
        11: "snow_ice",
    }
    return {
        "s2:degraded_msi_data_percentage": 0,
        "s2:nodata_pixel_percentage": round(granule.nodata, 6),
        "s2:saturated_defective_pixel_percentage": 0,
    } | {f"s2:{name}_percentage": round(granule.shares.get(code, 0.0), 6) for code, name in names.items()}


def _earth_search(granule: Granule, shape: str) -> dict[str, Any]:
    zone, band, square = granule.square
    tile = f"{unit_of(granule)}_OPER_MSI_L2A_TL_2{granule.platform}PS_{granule.made}_A{granule._absolute:06d}_T{granule.mgrs}_N{granule.baseline}"
    epsg = granule.geobox.crs.epsg
    properties: dict[str, Any] = {
        "created": f"{_stamp(granule.made)}.537Z",
        "platform": f"sentinel-2{granule.platform.lower()}",
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "eo:cloud_cover": round(granule.cloud_cover, 6),
        "mgrs:utm_zone": int(zone),
        "mgrs:latitude_band": band,
        "mgrs:grid_square": square,
        "grid:code": f"MGRS-{granule.mgrs}",
        "view:sun_azimuth": 148.5914543525993,
        "view:sun_elevation": 61.8613692052989,
        **_shares(granule),
        **_identity(granule),
        "datetime": f"{granule.sensed}.632000Z",
        "updated": f"{_stamp(granule.made)}.537Z",
    }
    if shape == "sentinel-2-l2a":
        path = f"s3://sentinel-cogs/{granule.folder(shape)}"
        properties |= {"proj:epsg": epsg, "s2:granule_id": tile, "s2:sequence": str(granule.number)}
        properties |= {"earthsearch:s3_path": path, "processing:software": {"sentinel2-to-stac": "0.1.1"}}
        properties["earthsearch:payload_id"] = (
            "roda-sentinel2/workflow-sentinel2-to-stac/08df7afa5bd2122b76659edafeca15e5"
        )
    else:
        lon, lat = granule.geobox.footprint("EPSG:4326").centroid.coords[0]
        properties |= {"proj:epsg": epsg, "proj:centroid": {"lat": round(lat, 5), "lon": round(lon, 5)}}
        properties |= {
            "s2:tile_id": tile,
            "eo:snow_cover": 0.0,
            "view:azimuth": 104.3,
            "view:incidence_angle": 5.1,
        }
        properties |= {
            "storage:platform": "AWS",
            "storage:region": "us-west-2",
            "storage:requester_pays": False,
        }
        properties["processing:software"] = {"sentinel-2-c1-l2a-to-stac": "v2024.02.01"}
        properties["earthsearch:payload_id"] = (
            "roda-sentinel-2-c1-l2a/workflow-sentinel-2-c1-l2a-to-stac/0b4f2d6a"
        )
    if granule.offset_applied is not None:
        properties["earthsearch:boa_offset_applied"] = granule.offset_applied
    return properties


def unit_of(granule: Granule) -> str:
    """S2A, S2B or S2C."""
    return f"S2{granule.platform}"


def _planetary(granule: Granule) -> dict[str, Any]:
    tile = f"{unit_of(granule)}_OPER_MSI_L2A_TL_ESRI_{granule.made}_A{granule._absolute:06d}_T{granule.mgrs}_N{granule.baseline}"
    return {
        "datetime": f"{_stamp(granule.datatake)}.024000Z",
        "platform": f"Sentinel-2{granule.platform}",
        "constellation": "Sentinel 2",
        "instruments": ["msi"],
        "eo:cloud_cover": round(granule.cloud_cover, 6),
        "sat:orbit_state": "descending",
        "sat:relative_orbit": granule.orbit,
        "proj:code": f"EPSG:{granule.geobox.crs.epsg}",
        "s2:mgrs_tile": granule.mgrs,
        "s2:granule_id": tile,
        "s2:mean_solar_zenith": 28.138630794701,
        "s2:mean_solar_azimuth": 148.591454352599,
        **_identity(granule),
        **_shares(granule),
    }


def _asset(granule: Granule, shape: str, band: str, href: str) -> dict[str, Any]:
    which = SHAPES.index(shape)
    gsd = 20 if band == "SCL" else _BANDS[band][3]
    geobox, step = granule.geobox, gsd // 10
    left, top = geobox.transform.c, geobox.transform.f
    height, width = (size // step for size in geobox.shape)
    title = _SCL_TITLES[which] if band == "SCL" else _BANDS[band][(5, 4, 6)[which]]
    asset: dict[str, Any] = {"href": href, "type": COG, "title": title}
    grid = {"proj:shape": [height, width], "proj:transform": [gsd, 0, left, 0, -gsd, top]}
    if band != "SCL":
        name, centre, wide, *_ = _BANDS[band]
        known = name if shape == "sentinel-2-l2a" else band
        asset["eo:bands"] = [
            {"name": known, "common_name": name, "center_wavelength": centre, "full_width_half_max": wide}
        ]
        asset["gsd"] = gsd
    if shape == "planetary-computer":
        box = [left, top - height * gsd, left + width * gsd, top]
        return asset | {"proj:bbox": box} | grid | {"gsd": float(gsd), "roles": ["data"]}
    data_type = "uint8" if band == "SCL" else "uint16"
    raster: dict[str, Any] = {"nodata": 0, "data_type": data_type, "spatial_resolution": gsd}
    if band != "SCL":
        raster |= {"bits_per_sample": 15, "scale": 0.0001, "offset": granule.offset}
    roles = ["data", "reflectance"] if band != "SCL" or shape == "sentinel-2-l2a" else ["data"]
    return asset | grid | {"raster:bands": [raster], "roles": roles}


def _links(granule: Granule, shape: str) -> list[dict[str, str]]:
    api = _PLANETARY if shape == "planetary-computer" else _EARTH_SEARCH
    name = "sentinel-2-l2a" if shape == "planetary-computer" else shape
    home = f"{api}/collections/{name}"
    return [
        {"rel": "self", "type": "application/geo+json", "href": f"{home}/items/{granule.id(shape)}"},
        {"rel": "parent", "type": "application/json", "href": home},
        {"rel": "collection", "type": "application/json", "href": home},
        {"rel": "root", "type": "application/json", "href": api},
        {"rel": "license", "href": _LEGAL},
    ]


def _extensions(shape: str) -> list[str]:
    common = ("eo/v1.1.0", "grid/v1.1.0", "mgrs/v1.0.0", "processing/v1.1.0", "projection/v1.1.0")
    names = {
        "sentinel-2-l2a": (*common, "raster/v1.1.0", "sentinel-2/v1.0.0", "view/v1.0.0"),
        "sentinel-2-c1-l2a": (
            *common,
            "file/v2.1.0",
            "raster/v1.1.0",
            "sentinel-2/v1.0.0",
            "storage/v1.0.0",
            "view/v1.0.0",
        ),
        "planetary-computer": ("eo/v1.1.0", "sat/v1.0.0", "projection/v2.0.0"),
    }
    return [f"https://stac-extensions.github.io/{name}/schema.json" for name in names[shape]]


def collection(name: str) -> dict[str, Any]:
    """A collection that items of that name can belong to."""
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": name,
        "title": f"Sentinel-2 Level-2A ({name})",
        "description": "Sentinel-2 L2A as cloud-optimised GeoTIFFs, on loopback",
        "license": "proprietary",
        "extent": {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [["2015-06-27T10:25:31Z", None]]},
        },
        "links": [],
    }
