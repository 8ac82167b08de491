"""The 20 bad rasters of the corpus, made from a seed, each with the exit code and the words it must end in."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

WANTED = ("B02", "B03", "B04", "B08")
EPSG = "EPSG:32650"
TRANSFORM = Affine(10, 0, 600_000, 0, -10, 3_400_000)
SIDE = 128


def reflectance_dn(
    rng: np.random.Generator, bands: int = 4, shape: tuple[int, int] = (SIDE, SIDE)
) -> np.ndarray:
    """Digital numbers of an everyday Sentinel-2 scene, uint16, (band, y, x)."""
    return rng.integers(300, 4000, (bands, *shape)).astype(np.uint16)


def write_raster(
    path: Path, values: np.ndarray, names: tuple[str | None, ...] = WANTED, **changes: Any
) -> Path:
    """A GeoTIFF as isamap expects it, but for the changes to its profile."""
    profile: dict[str, Any] = {"driver": "GTiff", "crs": EPSG, "transform": TRANSFORM, "compress": "deflate"}
    profile |= {"tiled": True, "blockxsize": 64, "blockysize": 64} | changes
    count, height, width = values.shape
    with rasterio.open(
        path, "w", count=count, height=height, width=width, dtype=values.dtype, **profile
    ) as dst:
        dst.write(values)
        for index, name in enumerate(names, start=1):
            if name:
                dst.set_band_description(index, name)
    return path


@dataclass(frozen=True)
class BadRaster:
    """One entry of the corpus."""

    name: str
    """Kind of badness; also the file's name."""
    make: Callable[[Path, np.random.Generator], tuple[Path, ...]]
    """Writes it to a path (and others beside it) and returns the files to give to isamap."""
    message: str
    """Regular expression that the one-line message must contain."""
    exit_code: int = 65
    """What the shell sees."""

    def write(self, folder: Path, seed: int = 0) -> tuple[Path, ...]:
        """The files, made in a folder."""
        return self.make(folder / f"{self.name}.tif", np.random.default_rng(seed))


def _bytes(content: bytes) -> Callable[[Path, np.random.Generator], tuple[Path, ...]]:
    def make(path: Path, _: np.random.Generator) -> tuple[Path, ...]:
        path.write_bytes(content)
        return (path,)

    return make


def _raster(
    edit: Callable[[np.ndarray], np.ndarray] = lambda values: values, bands: int = 4, **changes: Any
) -> Callable[[Path, np.random.Generator], tuple[Path, ...]]:
    def make(path: Path, rng: np.random.Generator) -> tuple[Path, ...]:
        return (write_raster(path, edit(reflectance_dn(rng, bands)), **changes),)

    return make


def _cut(share: float) -> Callable[[Path, np.random.Generator], tuple[Path, ...]]:
    def make(path: Path, rng: np.random.Generator) -> tuple[Path, ...]:
        whole = write_raster(path, reflectance_dn(rng)).read_bytes()
        path.write_bytes(whole[: max(6, int(len(whole) * share))])
        return (path,)

    return make


def flip_byte(path: Path, block: tuple[int, int], share: float = 0.5) -> None:
    """Invert one byte within a block of a GeoTIFF."""
    with rasterio.open(path) as src:
        offset, size = (
            int(src.get_tag_item(f"BLOCK_{key}_{block[0]}_{block[1]}", "TIFF", bidx=1))
            for key in ("OFFSET", "SIZE")
        )
    content = bytearray(path.read_bytes())
    content[offset + int(size * share)] ^= 0xFF
    path.write_bytes(content)


def _flipped(path: Path, rng: np.random.Generator) -> tuple[Path, ...]:
    flip_byte(write_raster(path, reflectance_dn(rng)), (1, 1))
    return (path,)


def _zero_bands(path: Path, rng: np.random.Generator) -> tuple[Path, ...]:
    content = bytearray(write_raster(path, reflectance_dn(rng, 1), ("B02",)).read_bytes())
    (directory,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, directory)
    samples_per_pixel = 277
    for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
        if struct.unpack_from("<H", content, entry)[0] == samples_per_pixel:
            struct.pack_into("<H", content, entry + 8, 0)
    path.write_bytes(content)
    return (path,)


def _undeclared_filler(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.int16)
    values[:, :40, :40] = -9999
    return values


def _not_finite(values: np.ndarray) -> np.ndarray:
    values = np.full(values.shape, np.nan, np.float32)
    values[:, ::2] = np.inf
    return values


def _half_shifted(path: Path, rng: np.random.Generator) -> tuple[Path, ...]:
    first = write_raster(path.with_stem(f"{path.stem}-10m"), reflectance_dn(rng, 3), WANTED[:3])
    shifted = Affine(10, 0, 600_005, 0, -10, 3_399_995)
    return first, write_raster(path, reflectance_dn(rng, 1), WANTED[3:], transform=shifted)


def _huge(path: Path, _: np.random.Generator) -> tuple[Path, ...]:
    side = 1_000_000
    profile = {"driver": "GTiff", "crs": EPSG, "transform": TRANSFORM, "dtype": "uint16", "count": 4}
    with rasterio.open(
        path,
        "w",
        width=side,
        height=side,
        sparse_ok=True,
        tiled=True,
        blockxsize=16384,
        blockysize=16384,
        **profile,
    ):
        pass
    return (path,)


BAD_RASTERS = (
    BadRaster("empty", _bytes(b""), r"is empty"),
    BadRaster("html", _bytes(b"<!DOCTYPE html><title>Login</title>\n" * 50), r"cannot be opened as GTiff"),
    BadRaster("truncated-header", _cut(0), r"cannot be opened as GTiff"),
    BadRaster("truncated-half", _cut(0.5), r"cannot be opened as GTiff .*Failed to read directory"),
    BadRaster("flipped-byte", _flipped, r"rows \d+-\d+, columns \d+-\d+ cannot be read"),
    BadRaster("zero-bands", _zero_bands, r"cannot be opened as GTiff .*SamplesPerPixel"),
    BadRaster("one-band-of-ten", _raster(bands=1, names=("B04",)), r"B02, B03, B08 missing"),
    BadRaster(
        "extra-band", _raster(bands=5, names=(*WANTED, "B04")), r"B04 is there twice \(bands 3 and 5\)"
    ),
    BadRaster("order-unknown", _raster(lambda values: values[::-1], names=()), r"unnamed.*--bands"),
    BadRaster("float64", _raster(np.float64), r"B02: value \d+ is no reflectance"),
    BadRaster("int16-negative", _raster(_undeclared_filler), r"B02: value -9999 .*nodata"),
    BadRaster("complex", _raster(np.complex64), r"band 1 is complex64"),
    BadRaster("no-crs", _raster(crs=None), r"has no CRS"),
    BadRaster("wrong-crs", _raster(crs="EPSG:4326"), r"EPSG:4326, but its coordinates .* are not degrees"),
    BadRaster(
        "rotated",
        _raster(transform=Affine(9.7, 2.2, 600_000, 2.2, -9.7, 3_400_000)),
        r"is rotated.*--reproject",
    ),
    BadRaster(
        "south-up", _raster(transform=Affine(10, 0, 600_000, 0, 10, 3_398_720)), r"south-up.*--reproject"
    ),
    BadRaster("half-pixel-shift", _half_shifted, r"is shifted .* by 0.5 pixels.*--reproject"),
    BadRaster("all-nodata", _raster(lambda values: values * 0, nodata=0), r"no pixel is valid"),
    BadRaster("all-nan", _raster(_not_finite), r"no pixel is valid"),
    BadRaster("million-px", _huge, r"declares 1000000 x 1000000 pixels"),
)
"""The raster part of the corpus: it grows and never shrinks."""
