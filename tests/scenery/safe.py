"""Scenes as ESA ships them: .SAFE folders of JPEG 2000 files (lossless here) with their metadata, and CDSE's items.

Of the product metadata, what a reader may look for is there, in the places of the product specification (PSD 14 and
15, as in the MTD_MSIL2A.xml of the test products of stactools-packages/sentinel2): identity, orbit, baseline,
quantification, offsets from baseline 04.00 on, cloud share, footprint, the list of image files. Items of
stac.dataspace.copernicus.eu: asset names B02_10m, s3://eodata hrefs, raster:scale and raster:offset beside each asset,
processing:version, grid:code, as public readers of that catalogue expect them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from scenery.items import Granule, item
from scenery.scenes import BANDS, Scenery

_PHYSICAL = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")


def write_safe(made: Scenery, folder: Path, only: Sequence[int] | None = None) -> list[Path]:
    """The scenes of a scenery as .SAFE folders, with the offset that Planetary Computer's files would have."""
    return [_write(made, folder, index) for index in (range(len(made.scenes)) if only is None else only)]


def cdse_item(granule: Granule, root: str = "s3://eodata/Sentinel-2/MSI/L2A") -> dict[str, Any]:
    """The item that the Copernicus Data Space Ecosystem publishes for a .SAFE below `root`."""
    document = item(granule, "planetary-computer", root)
    assets = {}
    for band in (*BANDS, "SCL"):
        asset = document["assets"][band]
        gsd = int(asset["gsd"])
        more = {} if band == "SCL" else {"raster:scale": 0.0001, "raster:offset": granule.offset}
        assets[f"{band}_{gsd}m"] = {
            "href": f"{root}/{granule.product}.SAFE/{_image(granule, band)}",
            "type": "image/jp2",
            "title": asset["title"],
            "gsd": gsd,
            "nodata": 0,
            "data_type": "uint8" if band == "SCL" else "uint16",
            "proj:code": f"EPSG:{granule.geobox.crs.epsg}",
            "proj:shape": asset["proj:shape"],
            "proj:transform": asset["proj:transform"],
            "roles": ["data", "reflectance"] if more else ["data"],
            **more,
        }
    known = document["properties"]
    document["properties"] = {
        "datetime": known["datetime"],
        "platform": f"sentinel-2{granule.platform.lower()}",
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "eo:cloud_cover": known["eo:cloud_cover"],
        "sat:relative_orbit": granule.orbit,
        "sat:orbit_state": "descending",
        "grid:code": f"MGRS-{granule.mgrs}",
        "processing:version": granule.baseline,
        "product:type": "S2MSI2A",
        "product:timeliness_category": "NRT",
        "proj:code": f"EPSG:{granule.geobox.crs.epsg}",
        "statistics": {"nodata": granule.nodata},
    }
    return document | {"id": granule.product, "assets": assets, "links": [], "stac_version": "1.1.0"}


def _image(granule: Granule, band: str) -> str:
    """Path of a band's file within the .SAFE."""
    return granule.path("planetary-computer", band).partition(".SAFE/")[2].removesuffix(".tif") + ".jp2"


def _write(made: Scenery, folder: Path, index: int) -> Path:
    granule, scene = made.granules[index, "planetary-computer"], made.scenes[index]
    home = folder / f"{granule.product}.SAFE"
    kept = 1000 if scene.look.keeps_offset("planetary-computer") else 0
    for number, band in enumerate(BANDS):
        step = 1 if number < 4 else 2
        dn = scene.seen[number, ::step, ::step]
        _write_jp2(
            home / _image(granule, band), np.where(dn > 0, dn + kept, 0).astype(np.uint16), granule, step
        )
    _write_jp2(home / _image(granule, "SCL"), scene.scl, granule, 2)
    (home / "MTD_MSIL2A.xml").write_text(_product_xml(granule), encoding="utf-8")
    (home / granule.path("planetary-computer", "B02").partition(".SAFE/")[2]).parents[2].joinpath(
        "MTD_TL.xml"
    ).write_text(_tile_xml(granule), encoding="utf-8")
    (home / "manifest.safe").write_text("<?xml version='1.0' encoding='UTF-8'?><XFDU/>\n", encoding="utf-8")
    return home


def _write_jp2(path: Path, values: NDArray[np.generic], granule: Granule, step: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    a, _, c, _, e, f = granule.geobox.transform[:6]
    with rasterio.open(
        path,
        "w",
        driver="JP2OpenJPEG",
        height=values.shape[0],
        width=values.shape[1],
        count=1,
        dtype=values.dtype,
        crs=f"EPSG:{granule.geobox.crs.epsg}",
        transform=rasterio.Affine(a * step, 0, c, 0, e * step, f),
        QUALITY="100",
        REVERSIBLE="YES",
    ) as dst:
        dst.write(values, 1)
    path.with_name(f"{path.name}.aux.xml").unlink(missing_ok=True)


def _product_xml(granule: Granule) -> str:
    after = granule.baseline >= "04.00"
    offsets = "".join(f'<BOA_ADD_OFFSET band_id="{band}">-1000</BOA_ADD_OFFSET>' for band in range(13))
    spectral = "".join(
        f'<Spectral_Information bandId="{band}" physicalBand="{name}"/>'
        for band, name in enumerate(_PHYSICAL)
    )
    files = "".join(
        f"<IMAGE_FILE>{_image(granule, band).removesuffix('.jp2')}</IMAGE_FILE>" for band in (*BANDS, "SCL")
    )
    corners = granule.geobox.footprint("EPSG:4326").geom.exterior.coords
    footprint = " ".join(f"{lat} {lon}" for lon, lat in corners)
    began = (
        f"{granule.datatake[:4]}-{granule.datatake[4:6]}-{granule.datatake[6:8]}T{granule.sensed[11:]}.024Z"
    )
    listed = f"<BOA_ADD_OFFSET_VALUES_LIST>{offsets}</BOA_ADD_OFFSET_VALUES_LIST>" if after else ""
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-2A_User_Product xmlns:n1="https://psd-{15 if after else 14}.sentinel2.eo.esa.int/PSD/User_Product_Level-2A.xsd">
  <n1:General_Info>
    <Product_Info>
      <PRODUCT_START_TIME>{began}</PRODUCT_START_TIME>
      <PRODUCT_STOP_TIME>{began}</PRODUCT_STOP_TIME>
      <PRODUCT_URI>{granule.product}.SAFE</PRODUCT_URI>
      <PROCESSING_LEVEL>Level-2A</PROCESSING_LEVEL>
      <PRODUCT_TYPE>S2MSI2A</PRODUCT_TYPE>
      <PROCESSING_BASELINE>{granule.baseline}</PROCESSING_BASELINE>
      <GENERATION_TIME>{granule.made[:4]}-{granule.made[4:6]}-{granule.made[6:8]}T00:00:00.000000Z</GENERATION_TIME>
      <Datatake datatakeIdentifier="GS2{granule.platform}_{granule.datatake}_030000_N{granule.baseline}">
        <SPACECRAFT_NAME>Sentinel-2{granule.platform}</SPACECRAFT_NAME>
        <DATATAKE_SENSING_START>{began}</DATATAKE_SENSING_START>
        <SENSING_ORBIT_NUMBER>{granule.orbit}</SENSING_ORBIT_NUMBER>
        <SENSING_ORBIT_DIRECTION>DESCENDING</SENSING_ORBIT_DIRECTION>
      </Datatake>
      <Product_Organisation><Granule_List><Granule imageFormat="JPEG2000">{files}</Granule></Granule_List></Product_Organisation>
    </Product_Info>
    <Product_Image_Characteristics>
      <QUANTIFICATION_VALUES_LIST><BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE></QUANTIFICATION_VALUES_LIST>
      {listed}
      <Spectral_Information_List>{spectral}</Spectral_Information_List>
    </Product_Image_Characteristics>
  </n1:General_Info>
  <n1:Geometric_Info>
    <Product_Footprint><Product_Footprint><Global_Footprint><EXT_POS_LIST>{footprint} </EXT_POS_LIST></Global_Footprint></Product_Footprint></Product_Footprint>
  </n1:Geometric_Info>
  <n1:Quality_Indicators_Info><Cloud_Coverage_Assessment>{granule.cloud_cover:.6f}</Cloud_Coverage_Assessment></n1:Quality_Indicators_Info>
</n1:Level-2A_User_Product>
"""


def _tile_xml(granule: Granule) -> str:
    height, width = granule.geobox.shape
    left, top = granule.geobox.transform.c, granule.geobox.transform.f
    sizes = "".join(
        f'<Size resolution="{gsd}"><NROWS>{height * 10 // gsd}</NROWS><NCOLS>{width * 10 // gsd}</NCOLS></Size>'
        f'<Geoposition resolution="{gsd}"><ULX>{left:.0f}</ULX><ULY>{top:.0f}</ULY><XDIM>{gsd}</XDIM><YDIM>-{gsd}</YDIM></Geoposition>'
        for gsd in (10, 20)
    )
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-2A_Tile_ID xmlns:n1="https://psd-15.sentinel2.eo.esa.int/PSD/S2_PDI_Level-2A_Tile_Metadata.xsd">
  <n1:General_Info>
    <TILE_ID metadataLevel="Brief">S2{granule.platform}_OPER_MSI_L2A_TL_2{granule.platform}PS_{granule.made}_A030000_T{granule.mgrs}_N{granule.baseline}</TILE_ID>
    <SENSING_TIME metadataLevel="Standard">{granule.sensed}.632000Z</SENSING_TIME>
  </n1:General_Info>
  <n1:Geometric_Info><Tile_Geocoding metadataLevel="Brief">
    <HORIZONTAL_CS_NAME>WGS84 / UTM zone {granule.mgrs[:2]}N</HORIZONTAL_CS_NAME>
    <HORIZONTAL_CS_CODE>EPSG:{granule.geobox.crs.epsg}</HORIZONTAL_CS_CODE>{sizes}
  </Tile_Geocoding></n1:Geometric_Info>
</n1:Level-2A_Tile_ID>
"""
