"""What is to be mapped and how, and what became of it: small enough to be sent to a worker."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from isamap.domain import product
from isamap.io import raster, store


@dataclass(frozen=True)
class Options:
    """How to map; what of it changes pixels or files is part of the provenance."""

    model: str = "fast"
    """Packaged name or path of a safetensors file."""
    threshold: float | None = None
    """Probability from which a pixel is ISA; None takes the model's."""
    probability: bool = False
    """Also write the probability COG."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    window_px: int = 512
    """Side of a window in input pixels, a multiple of 256."""
    batch: int = 0
    """Windows in one forward pass; 0 chooses: 1 on a CPU, 8 on CUDA."""
    threads: int = 0
    """Threads of one process; 0 leaves it to torch, -n means an nth of the cores."""
    overwrite: bool = False
    """Redo what is done."""
    show_progress: bool = False
    """Whether a bar may be drawn for the windows of a raster."""

    @property
    def layers(self) -> tuple[product.Layer, ...]:
        """Rasters that will be written."""
        return (product.CLASSES, product.PROBABILITY) if self.probability else (product.CLASSES,)


@dataclass(frozen=True)
class Job:
    """One map to make."""

    name: str
    """Tile id, or the stem of the user's raster."""
    source: raster.SceneInput
    """What it is made from."""
    target: store.Target
    """Where it goes."""
    span: tuple[str, str]
    """Time it speaks of."""
    margin_px: int = 0
    """Pixels around the tile that only serve as neighbours."""

    def __str__(self) -> str:
        """As logs name it."""
        return self.name


@dataclass(frozen=True)
class Mapped:
    """What became of a job that did not fail."""

    state: Literal["mapped", "skipped"]
    """`mapped`, or `skipped` because it was done."""
    paths: tuple[Path, ...]
    """Published files, class map first."""
    isa_share: float | None = None
    """ISA share of the valid pixels."""
