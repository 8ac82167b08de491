"""The same COG through GDAL's own driver: what CogWriter is compared with, in tests and benches."""

import rasterio
import rasterio.shutil
from rasterio.enums import Resampling

from isamap.domain.product import BLOCK_PX, NODATA, overview_factors


def profile_of(layer):
    """Creation options of GDAL's COG driver."""
    return {
        "COMPRESS": "ZSTD",
        "LEVEL": 1,
        "BLOCKSIZE": BLOCK_PX,
        "OVERVIEWS": "FORCE_USE_EXISTING",
        "OVERVIEW_RESAMPLING": layer.overview,
        "BIGTIFF": "IF_SAFER",
        "NUM_THREADS": 1,
    }


def driver_cog(path, values, geobox, layer, tags):
    """Write a COG: a tiled draft, overviews in it, the COG driver last."""
    draft = path.with_name(path.name + ".draft.tif")
    shape = {"height": values.shape[0], "width": values.shape[1], "count": 1, "dtype": "uint8"}
    place = {"crs": geobox.crs.to_wkt(), "transform": geobox.transform, "nodata": NODATA}
    blocks = {
        "tiled": True,
        "blockxsize": BLOCK_PX,
        "blockysize": BLOCK_PX,
        "compress": "ZSTD",
        "zstd_level": 1,
    }
    with rasterio.Env(GDAL_PAM_ENABLED="NO", GDAL_TIFF_OVR_BLOCKSIZE=str(BLOCK_PX)):
        with rasterio.open(draft, "w", driver="GTiff", **shape, **place, **blocks) as dst:
            dst.write(values, 1)
            dst.set_band_description(1, layer.description)
            dst.update_tags(**tags)
            if layer.colours:
                dst.write_colormap(1, dict(layer.colours))
        with rasterio.open(draft, "r+", driver="GTiff") as dst:
            dst.build_overviews(overview_factors(values.shape), Resampling[layer.overview.lower()])
        rasterio.shutil.copy(draft, path, driver="COG", **profile_of(layer))
    draft.unlink()
    return path
