"""A model, scenes and tile composites that are as small as they can be and still real: pixels of the bundled scene."""

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.windows import Window

from isamap.domain.grid import GSD_M, MARGIN_PX, Tile

REPOSITORY = Path(__file__).resolve().parents[1]
CHONGQING = REPOSITORY / "examples" / "chongqing" / "chongqing-20180402-10m.tif"
BANDS = ("B02", "B03", "B04", "B08")
TOWN = Window(220, 330, 96, 64)
"""96 x 64 px (columns x rows) of the bundled scene with roofs, river and fields."""
TILES = ("48N-0060-0318", "48N-0061-0318")
"""The two grid tiles that the bundled scene touches."""


def write_model(folder: Path, name: str = "tiny", seed: int = 0, classes: str = "isa") -> Path:
    """Weights and card of a network of 8 channels and 1 block whose maps show both classes."""
    import torch

    from isamap.model.checkpoint import pack
    from isamap.model.networks import NetworkConfig, build

    config = NetworkConfig(name="fast", bands=BANDS, classes=classes, channels=8, blocks=1)
    with rasterio.open(CHONGQING) as src:
        lr = torch.from_numpy(src.read(window=TOWN).astype(np.float32) / 10_000)[None]
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        network = build(config).eval()
        logits = network(config.prepare(lr, torch.ones_like(lr)))
        spread = float(logits.std())
        network.isa.weight /= spread
        network.isa.bias.copy_((network.isa.bias - logits.median()) / spread)
    card = {
        "name": name,
        "version": "0",
        "description": "not trained, for tests",
        "network": config.model_dump(),
        "threshold": 0.5,
        "licence": "CC0-1.0",
        "attribution": (),
        "training": {},
        "metrics": {},
    }
    folder.mkdir(parents=True, exist_ok=True)
    weights, text = pack(network.state_dict(), card)
    (folder / f"{name}.json").write_bytes(text)
    path = folder / f"{name}.safetensors"
    path.write_bytes(weights)
    return path


def probabilities(predictor, lr, valid):
    """The network's own probability of each output, `(n, outputs, Y, X)`, of all strips."""
    import torch

    return torch.cat([each for _, each in predictor.strips(lr, valid)], dim=-2)


def probability(predictor, lr, valid):
    """Calibrated ISA probability, `(n, Y, X)`, as a map is made from it."""
    from isamap.model import settling

    raw = settling.impervious(probabilities(predictor, lr, valid), predictor.card.network)
    return settling.calibrated(raw, predictor.card.calibration)


def write_scene(path: Path, window: Window = TOWN, nodata_corner_px: int = 0) -> Path:
    """A part of the bundled scene; the upper left corner may be nodata."""
    with rasterio.open(CHONGQING) as src:
        values, crs = src.read(window=window), src.crs
        west, north = src.xy(window.row_off, window.col_off, offset="ul")
    values[:, :nodata_corner_px, :nodata_corner_px] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, values, BANDS, transform=Affine(GSD_M, 0, west, 0, -GSD_M, north), crs=crs)
    return path


def change_pixel(path: Path) -> None:
    """Another value for one pixel of a raster."""
    with rasterio.open(path, "r+") as dst:
        pixel = Window(1, 1, 1, 1)
        dst.write(dst.read(1, window=pixel) + 500, 1, window=pixel)


def write_composite(workspace: Path, year: int, tile: str, turn: int = 0) -> Path:
    """A tile's composite of the bundled scene's pixels, mirrored until the tile is full.

    Args:
        workspace: of the run.
        year: of the composite.
        tile: id.
        turn: rows by which the pixels are rolled, so that tiles differ.
    """
    geobox = Tile.parse(tile).geobox(margin_px=MARGIN_PX)
    with rasterio.open(CHONGQING) as src:
        real = src.read()
    missing = [(0, side - have) for side, have in zip(geobox.shape, real.shape[1:], strict=True)]
    values = np.roll(np.pad(real, ((0, 0), *missing), mode="symmetric"), turn, axis=1)
    clear = np.full((1, *geobox.shape), 9, np.uint16)
    path = workspace / "composites" / str(year) / f"{tile}.tif"
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(
        path,
        np.concatenate([values, clear]),
        (*BANDS, "clear"),
        transform=geobox.transform,
        crs=geobox.crs.to_wkt(),
    )
    return path


def _write(path: Path, values: np.ndarray, names: tuple[str, ...], **place: object) -> None:
    count, height, width = values.shape
    shape = {"count": count, "height": height, "width": width, "dtype": values.dtype}
    with rasterio.open(path, "w", driver="GTiff", nodata=0, compress="zstd", **shape, **place) as dst:
        dst.write(values)
        for index, name in enumerate(names, start=1):
            dst.set_band_description(index, name)


def overviews(path: Path) -> list[np.ndarray]:
    """Every overview of a one-band raster, finest first."""
    with rasterio.open(path) as src:
        count = len(src.overviews(1))
    levels = []
    for level in range(count):
        with rasterio.open(path, overview_level=level) as src:
            levels.append(src.read(1))
    return levels


def read(path: Path) -> np.ndarray:
    """The pixels of a one-band raster."""
    with rasterio.open(path) as src:
        return src.read(1)
