"""Items as Earth Search, Planetary Computer and CDSE publish them, cut to what is read: real ids, fields and hosts."""

import copy
from typing import Any

_KEYS = {
    "B02": "blue",
    "B03": "green",
    "B04": "red",
    "B08": "nir",
    "B11": "swir16",
    "B12": "swir22",
    "SCL": "scl",
}


def ring(west: float, south: float, east: float, north: float) -> dict[str, Any]:
    corners = [[west, north], [east, north], [east, south], [west, south], [west, north]]
    return {"type": "Polygon", "coordinates": [corners]}


def earth_search() -> dict[str, Any]:
    """S2A_39QTA_20230628_0_L2A: the offset is removed, raster:bands say -0.1 all the same."""
    root = "https://sentinel-cogs.s3.us-west-2.amazonaws.com/sentinel-s2-l2a-cogs/39/Q/TA/2023/6/S2A_39QTA_20230628_0_L2A"
    bands = [{"nodata": 0, "data_type": "uint16", "spatial_resolution": 10, "scale": 0.0001, "offset": -0.1}]
    assets = {
        key: {"href": f"{root}/{band}.tif", "raster:bands": copy.deepcopy(bands)}
        for band, key in _KEYS.items()
    }
    assets["scl"]["raster:bands"] = [{"nodata": 0, "data_type": "uint8", "spatial_resolution": 20}]
    assets["red-jp2"] = {"href": "s3://sentinel-s2-l2a/tiles/39/Q/TA/2023/6/28/0/R10m/B04.jp2"}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": "S2A_39QTA_20230628_0_L2A",
        "collection": "sentinel-2-l2a",
        "properties": {
            "datetime": "2023-06-28T07:24:41.632000Z",
            "platform": "sentinel-2a",
            "eo:cloud_cover": 4.025136,
            "proj:epsg": 32639,
            "mgrs:utm_zone": 39,
            "mgrs:latitude_band": "Q",
            "mgrs:grid_square": "TA",
            "grid:code": "MGRS-39QTA",
            "s2:product_type": "S2MSI2A",
            "s2:processing_baseline": "05.09",
            "s2:product_uri": "S2A_MSIL2A_20230628T070631_N0509_R106_T39QTA_20230628T113955.SAFE",
            "s2:datatake_id": "GS2A_20230628T070631_041859_N05.09",
            "earthsearch:boa_offset_applied": True,
            "processing:software": {"sentinel2-to-stac": "0.1.0"},
        },
        "geometry": ring(48.15, 17.98, 49.20, 18.98),
        "assets": assets,
    }


def earth_search_c1() -> dict[str, Any]:
    """S2B_T38XNF_20250422T091553_L2A of Collection 1: the offset is left in."""
    item = earth_search()
    item["id"], item["collection"] = "S2B_T38XNF_20250422T091553_L2A", "sentinel-2-c1-l2a"
    root = (
        "https://e84-earth-search-sentinel-data.s3.us-west-2.amazonaws.com/sentinel-2-c1-l2a/38/X/NF/2025/4/"
    )
    for asset in item["assets"].values():
        asset["href"] = root + item["id"] + "/" + asset["href"].rsplit("/", 1)[1]
    item["properties"] = {
        "datetime": "2025-04-22T09:19:42.556000Z",
        "platform": "sentinel-2b",
        "eo:cloud_cover": 31.2,
        "proj:code": "EPSG:32638",
        "grid:code": "MGRS-38XNF",
        "s2:processing_baseline": "05.11",
        "s2:product_uri": "S2B_MSIL2A_20250422T091549_N0511_R093_T38XNF_20250422T113000.SAFE",
    }
    item["geometry"] = ring(47.01, 72.73, 48.36, 72.98)
    return item


def planetary_computer() -> dict[str, Any]:
    """S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531: no baseline in the id, the start of the datatake as time."""
    root = (
        "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/06/V/VN/2019/06/29/"
        "S2B_MSIL2A_20190629T212529_N0212_R043_T06VVN_20201006T080531.SAFE/GRANULE/L2A_T06VVN_A012081_20190629T212530/IMG_DATA"
    )
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": "S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531",
        "collection": "sentinel-2-l2a",
        "properties": {
            "datetime": "2019-06-29T21:25:29.024000Z",
            "platform": "Sentinel-2B",
            "proj:epsg": 32606,
            "s2:mgrs_tile": "06VVN",
            "eo:cloud_cover": 0.314306,
            "s2:datatake_id": "GS2B_20190629T212529_012081_N02.12",
            "s2:product_uri": "S2B_MSIL2A_20190629T212529_N0212_R043_T06VVN_20201006T080531.SAFE",
            "sat:relative_orbit": 43,
            "s2:processing_baseline": "02.12",
        },
        "geometry": ring(-148.87, 60.34, -146.82, 61.33),
        "assets": {band: {"href": f"{root}/R10m/T06VVN_20190629T212529_{band}.tif"} for band in _KEYS},
    }


def cdse() -> dict[str, Any]:
    """S2C_MSIL2A_20250330T100051_N0511_R122_T33UWP_20250330T145914: STAC 1.1, s3, JPEG 2000."""
    name = "S2C_MSIL2A_20250330T100051_N0511_R122_T33UWP_20250330T145914"
    assets = {}
    for band in _KEYS:
        gsd = 10 if band in ("B02", "B03", "B04", "B08") else 20
        assets[f"{band}_{gsd}m"] = {
            "href": f"s3://eodata/Sentinel-2/MSI/L2A/2025/03/30/{name}.SAFE/GRANULE/R{gsd}m/T33UWP_{band}_{gsd}m.jp2",
            "proj:code": "EPSG:32633",
            "raster:scale": 0.0001,
            "raster:offset": -0.1,
        }
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": name,
        "collection": "sentinel-2-l2a",
        "properties": {
            "datetime": "2025-03-30T10:00:51.025Z",
            "platform": "sentinel-2c",
            "grid:code": "MGRS-33UWP",
            "eo:cloud_cover": 86.041468,
            "processing:version": "05.11",
            "eopf:datatake_id": "GS2C_20250330T100051_002952_N05.11",
            "sat:relative_orbit": 122,
        },
        "geometry": ring(15.0, 47.76, 16.49, 48.75),
        "assets": assets,
    }
