"""What a network is made of: the part of a model card that decides its shape and its input."""

from typing import Annotated, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from isamap.domain.classes import SCHEMES

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

VISIBLE = ("B04", "B03", "B02")
"""Red, green, blue: the bands of the super-resolved image."""


class NetworkConfig(BaseModel):
    """Shape of a network; what a field does not name is fixed by the class."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Key in `MODELS`."""
    bands: tuple[str, ...] = ("B02", "B03", "B04", "B08")
    """Bands in the order of the input channels."""
    optional: tuple[str, ...] = ()
    """Those of `bands` that a scene may lack: training hides them at times."""
    classes: str = "isa"
    """Class scheme: `isa` has one output, any other one output per class."""
    scale: int = Field(10, gt=0, le=20)
    """Output pixels per input pixel and side; 1 is plain segmentation (`bilinear`)."""
    gsd_m: float = Field(10.0, gt=0, le=100)
    """Pixel of the input on the ground: 10 for Sentinel-2, 8 for Gaofen-1, 4 for Gaofen-2, 3 for PlanetScope."""
    channels: int = Field(96, gt=0, le=1024)
    """Width of the widest part at 10 m (`fast`, `staged`, `joint`), of the first level at 1 m (`bilinear`)."""
    blocks: int = Field(10, ge=0, le=100)
    """Blocks at 10 m: residual (`fast`, `joint`), RRDB (`staged`); `bilinear` has none."""
    growth: int = Field(32, gt=0, le=256)
    """Channels that each convolution of a dense block adds (`staged`)."""
    mid: int = Field(48, gt=0, le=512)
    """Width at 2.5 m (`joint`)."""
    mid_blocks: int = Field(2, ge=0, le=100)
    """Blocks at 2.5 m: RRDB (`staged`), residual (`joint`)."""
    fine: int = Field(16, gt=0, le=256)
    """Width at 1 m (`joint`), of the first level of the segmenter (`staged`)."""
    attention_px: int = Field(3, ge=0, le=7)
    """Reach of the local attention in 10 m pixels; 0 leaves it out (`joint`)."""
    cross_scale: bool = True
    """Whether the segmentation reads features of 10 m and 2.5 m beside those of 1 m (`joint`)."""
    mean: tuple[Finite, ...] = (0.115, 0.105, 0.105, 0.220)
    """Reflectance per band that becomes 0: fixed constants, never those of the raster at hand."""
    std: tuple[Positive, ...] = (0.045, 0.050, 0.065, 0.090)
    """Reflectance per band that becomes 1 above the mean."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        from isamap.model.networks import MODELS  # the table of those who import this module

        if self.name not in MODELS:
            raise ValueError(f"no network {self.name!r}: known are {', '.join(MODELS)}")
        if self.classes not in SCHEMES:
            raise ValueError(f"no class scheme {self.classes!r}: known are {', '.join(SCHEMES)}")
        if not self.bands or {len(self.mean), len(self.std)} != {len(self.bands)}:
            raise ValueError(f"{len(self.bands)} bands need as many values of mean and std")
        if twice := {band for band in self.bands if self.bands.count(band) > 1}:
            raise ValueError(f"bands names {', '.join(sorted(twice))} twice")
        if foreign := set(self.optional) - set(self.bands):
            raise ValueError(f"optional names {', '.join(sorted(foreign))}, which bands does not")
        if set(self.optional) == set(self.bands):
            raise ValueError("optional names every band: one at least must be there")
        if self.scale not in MODELS[self.name].scales:
            raise ValueError(f"{self.name} has no scale of {self.scale}")
        return self

    @property
    def outputs(self) -> int:
        """Channels of the logits: one for ISA alone, else one per class."""
        return 1 if self.classes == "isa" else len(SCHEMES[self.classes].classes)

    @property
    def isa_channels(self) -> list[int]:
        """Outputs whose class is impervious."""
        if self.classes == "isa":
            return [0]
        return [channel for channel, one in enumerate(SCHEMES[self.classes].classes) if one.isa]

    @property
    def visible(self) -> tuple[int, ...] | None:
        """Input channels of red, green and blue, or None where a band is missing."""
        there = all(band in self.bands for band in VISIBLE)
        return tuple(self.bands.index(band) for band in VISIBLE) if there else None

    def prepare(self, lr: Tensor, present: Tensor) -> Tensor:
        """Network input `(n, 2 * band, y, x)` float32 from reflectance and presence `(n, band, y, x)`.

        The inverse hyperbolic sine is the identity for ordinary ground and a logarithm far from it: a white
        roof is ten deviations bright and must not look like nothing the network has seen.
        """
        mean = torch.tensor(self.mean)[:, None, None].to(lr.device)
        std = torch.tensor(self.std)[:, None, None].to(lr.device)
        present = present.to(lr.dtype)
        scaled: Tensor = torch.asinh((lr - mean) / std) * present
        return torch.cat((scaled, present), dim=1)
