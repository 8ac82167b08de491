"""What a training recipe may say. Paths are relative to the data folder."""

from typing import Literal

from isamap.config import Settings
from isamap.domain.share import ShareRules
from isamap.model.networks import NetworkConfig
from isamap.model.training import Schedule


class Pair(Settings):
    """Real 10 m bands with 1 m labels and image of the same ground, split into train and validation."""

    name: str
    imagery: tuple[str, ...]
    """10 m and 20 m files of one date."""
    isa: tuple[str, ...]
    """1 m labels, 0, 1 and 255; the first one lies on top."""
    image: tuple[str, ...]
    """1 m images, red, green, blue."""
    split: str
    """10 m raster that says what each pixel is for."""
    train: int = 1
    """Its value on training ground."""
    validate_on: int = 2
    """Its value on validation ground."""


class Ground(Settings):
    """A 1 m image with labels whose 10 m input is simulated."""

    name: str
    isa: str
    image: str
    exclude: tuple[int, int, int, int] | None = None
    """Rows and columns (top, bottom, left, right) that training must not see."""


class UnlabelledScene(Settings):
    """A real scene without labels, one or two dates of it."""

    name: str
    dates: tuple[tuple[str, ...], ...]
    """Per date its 10 m and 20 m files."""
    shift_px: tuple[int, int] = (0, 0)
    """Whole pixels (x, y) by which the second date lies off the first."""
    slack_px: int | None = None
    """How far the dates may still lie apart, in place of the rules' own."""


class Patches(Settings):
    """Patches of one scene class, stacked downwards."""

    name: str
    imagery: str
    share: Literal["none", "spectral"]
    """`none`: nothing in this class is impervious. `spectral`: the spectrum tells."""
    patch_px: int = 64


class ChipCounts(Settings):
    """Chips of each kind in a step."""

    pairs: int = 3
    simulated: int = 2
    scenes: int = 3
    patches: int = 1


class Recipe(Settings):
    """A training run from end to end."""

    description: str
    """One line for `isamap models`."""
    licence: str
    """Licence of the weights."""
    attribution: tuple[str, ...]
    """Notices that the training data ask for."""
    threshold: float | None = None
    """Probability from which a pixel is ISA; None takes the best on the validation ground."""
    network: NetworkConfig
    schedule: Schedule = Schedule()
    chips: ChipCounts = ChipCounts()
    shares: ShareRules = ShareRules()
    """How spectra become soft shares."""
    pairs: tuple[Pair, ...]
    simulated: tuple[Ground, ...] = ()
    scenes: tuple[UnlabelledScene, ...] = ()
    patches: tuple[Patches, ...] = ()
