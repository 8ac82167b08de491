"""What a tiling recipe may say. Paths are relative to the data folder."""

from typing import Literal

from isamap.config import Settings
from isamap.domain.chips import STEM
from isamap.domain.classes import scheme_of
from isamap.domain.sensors import sensor_of
from isamap.domain.splits import Rules
from isamap.errors import ConfigError

CHIP_STEP = 16
"""Blocks of a GeoTIFF are multiples of it."""
MAX_CHIP_PX = 512
MAX_SCALE = 20


class Vectors(Settings):
    """A layer of vector labels."""

    path: str
    layer: str | None = None
    """If the file has several."""
    kind: Literal["buildings", "roads", "impervious", "pervious", "unknown"]
    """`roads` are lines, buffered by their class; buildings under construction are unknown; the others are polygons."""


class Source(Settings):
    """Ground to cut chips from."""

    name: str
    """Of the shard's files; a folder's images add their own."""
    sensor: str = "sentinel-2"
    """Of the imagery, or the one that is simulated."""
    imagery: tuple[str, ...] = ()
    """Files of one date. None: the sensor is simulated from `image`."""
    image: tuple[str, ...] = ()
    """Fine image, red, green, blue; the first file lies on top."""
    labels: tuple[str, ...] = ()
    """Fine label rasters; the first one lies on top."""
    vectors: tuple[Vectors, ...] = ()
    """Vector labels; they speak where the rasters are silent."""
    folder: str | None = None
    """In place of the files: a folder in the format of Five-Billion-Pixels, or of images without labels."""
    isa_codes: tuple[int, ...] | None = None
    """Codes of the label rasters that are ISA, where they are not coded 0, 1, 255."""
    unlabelled_codes: tuple[int, ...] = ()
    """Their codes that say nothing; 255 never does."""
    background: Literal["pervious", "unknown"] = "pervious"
    """What ground without a vector is."""
    area: str | None = None
    """`FILE[:LAYER]`, polygons outside of which the labels are not complete: unknown there."""
    split: str | None = None
    """Raster on the grid of the imagery that says what each pixel is for."""
    split_values: dict[Literal["train", "val", "test"], int] = {"train": 1, "val": 2}  # noqa: RUF012  # pydantic copies it
    """Its values."""
    only: Literal["train", "val", "test", "target"] | None = None
    """What all of this ground is for."""
    bands: tuple[str, ...] | None = None
    """Band names in place of the files' own, in order."""
    offset: int | None = None
    """Added to integer values before scaling, -1000 for baseline 04.00 where it was not removed; None: what the file declares."""
    gain: float | None = None
    """Reflectance of one unit of the file, where the sensor's own rule is not meant."""
    reproject: bool = False
    """Whether imagery on another grid is warped to the UTM 10 m grid."""
    scale: int | None = None
    """Fine pixels per pixel of the imagery and side, in place of the sensor's pixel in metres."""
    max_shift_m: float | None = None
    """In place of the recipe's."""
    unit: str = ""
    """Administrative unit, where it is not found by position."""
    licence: str = ""
    """Of imagery and labels; travels with the chips."""
    attribution: tuple[str, ...] = ()
    """Notices that go with them."""


class TileRecipe(Settings):
    """Chips from one or several sources."""

    chip_px: int = 64
    """Side of a chip in pixels of the imagery."""
    scheme: str = "isa"
    """Classes of the labels: isa or fbp24."""
    min_labelled: float = 0.05
    """Least labelled share of a chip."""
    max_shift_m: float | None = None
    """Largest shift between imagery and labels or image; None: 5 m measured by an image, 10 m by labels."""
    align: bool = False
    """Move labels and image back by the measured shift, in whole fine pixels."""
    units: str | None = "prefectures"
    """Administrative units that splits are stratified by: prefectures, provinces, or a vector file, FILE[:LAYER][:COLUMN]."""
    block_m: float | None = None
    """Side of the blocks that are held out; None: a chip's, less on small ground."""
    split: Rules = Rules()
    """Shares and buffer."""
    sources: tuple[Source, ...]

    def checked(self) -> "TileRecipe":
        """The recipe itself, if it makes sense.

        Raises:
            ConfigError: a value is out of its range, or sources contradict themselves.
        """
        scheme_of(self.scheme)
        if not (CHIP_STEP <= self.chip_px <= MAX_CHIP_PX and self.chip_px % CHIP_STEP == 0):
            raise ConfigError(
                f"chip_px is {self.chip_px}: it must be a multiple of {CHIP_STEP} from {CHIP_STEP} to {MAX_CHIP_PX}"
            )
        rules = self.split
        if not (0 <= rules.val < 1 and 0 <= rules.test < 1 and rules.val + rules.test < 1):
            raise ConfigError("split: val and test are shares of the ground, together less than 1")
        if not (
            rules.buffer_m >= 0 and 0 < rules.least_train <= 1 and (self.block_m is None or self.block_m > 0)
        ):
            raise ConfigError("split: buffer_m must be 0 or more, least_train in 0-1, block_m above 0")
        if not 0 <= self.min_labelled <= 1:
            raise ConfigError(f"min_labelled is {self.min_labelled:g}: it is a share, 0-1")
        if any(
            one is not None and one < 0 for one in (self.max_shift_m, *(s.max_shift_m for s in self.sources))
        ):
            raise ConfigError("max_shift_m must be 0 or more")
        if not self.sources:
            raise ConfigError("the recipe names no [[sources]]")
        for source in self.sources:
            _check(source)
        names = [source.name for source in self.sources]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ConfigError(f"two sources are called {twice}: names are file names, choose another")
        return self


def _check(source: Source) -> None:
    """Refuse a source that says too little or contradicts itself."""
    sensor_of(source.sensor)
    files = source.imagery or source.image or source.labels or source.vectors
    simulated = source.folder is None and not source.imagery
    values = list(source.split_values.values())
    faults = {
        "gain must be above 0": source.gain is not None and source.gain <= 0,
        "that is the name of the store's own files: choose another": source.name == STEM,
        "give a folder, or files": source.folder is not None and files,
        "give imagery, or an image from which the sensor is simulated": simulated and not source.image,
        "a sensor is simulated from one image: make each a source of its own": not source.imagery
        and len(source.image) > 1,
        "bands are those of imagery, and it is simulated": source.bands is not None and simulated,
        "reproject is about imagery, and it is simulated": source.reproject and simulated,
        "area is about vectors, and there are none": source.area is not None and not source.vectors,
        "background is about vectors, and there are none": source.background == "unknown"
        and not source.vectors,
        "give a split raster, or only": source.split is not None and source.only is not None,
        "split_values has one value for two splits": len(set(values)) < len(values),
        f"scale is {source.scale}: from 1 (labels on the imagery's own grid) to {MAX_SCALE}": source.scale
        is not None
        and not 1 <= source.scale <= MAX_SCALE,
    }
    if fault := next((text for text, found in faults.items() if found), None):
        raise ConfigError(f"source {source.name}: {fault}")
