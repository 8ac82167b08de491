"""What a training recipe may say. Paths are relative to the data folder.

A recipe that `extends` another one (a path beside it) says only what differs: tables are merged, everything else
replaces what the other says. Stages of one training share their ground that way.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from isamap.config import Settings, as_settings, read_tables
from isamap.domain.level import Level
from isamap.domain.share import ShareRules
from isamap.errors import ConfigError
from isamap.model.adapt import Adaptation
from isamap.model.checkpoint import NAME, Threshold
from isamap.model.networks import MODELS, NetworkConfig
from isamap.model.schedule import Schedule

OF_IMAGES = (
    *("consistency_weight", "perceptual_weight", "adversarial_weight", "adversarial_ramp"),
    *("discriminator_rate", "discriminator_channels"),
)
"""Keys of the schedule that need a network which makes its map through images."""


class Pair(Settings):
    """Real 10 m bands with 1 m labels and image of the same ground, split into train and validation."""

    name: str
    imagery: tuple[str, ...]
    """10 m and 20 m files of one date."""
    isa: tuple[str, ...]
    """1 m labels, codes of the network's class scheme (0, 1) and 255; the first one lies on top."""
    image: tuple[str, ...] = ()
    """1 m images, red, green, blue."""
    split: str
    """10 m raster that says what each pixel is for."""
    level: Level | None = None
    """Processing level of the imagery, in place of the recipe's."""
    train: int = 1
    """Its value on training ground."""
    validate_on: int = 2
    """Its value on validation ground."""

    def faults(self) -> Iterator[str]:
        """What in it cannot work."""
        if not (self.imagery and self.isa):
            yield f"pair {self.name}: imagery and isa name one file each at least"
        if self.train == self.validate_on:
            yield f"pair {self.name}: train and validate_on are both {self.train}: what teaches cannot judge"


class Ground(Settings):
    """A 1 m image with labels whose 10 m input is simulated."""

    name: str
    isa: str
    image: str
    exclude: tuple[int, int, int, int] | None = None
    """Rows and columns (top, bottom, left, right) that training must not see."""

    def faults(self) -> Iterator[str]:
        """What in it cannot work."""
        top, bottom, left, right = self.exclude or (0, 1, 0, 1)
        if not (0 <= top < bottom and 0 <= left < right):
            yield f"simulated {self.name}: exclude is [{top}, {bottom}, {left}, {right}]: top, bottom, left, right from 0 on"


class UnlabelledScene(Settings):
    """A real scene without labels, one or two dates of it."""

    name: str
    dates: tuple[tuple[str, ...], ...]
    """Per date its 10 m and 20 m files."""
    shift_px: tuple[int, int] = (0, 0)
    """Whole pixels (x, y) by which the second date lies off the first."""
    slack_px: int | None = None
    """How far the dates may still lie apart, in place of the rules' own."""
    level: Level | None = None
    """Processing level of the imagery, in place of the recipe's."""

    def faults(self) -> Iterator[str]:
        """What in it cannot work."""
        if not (len(self.dates) in (1, 2) and all(self.dates)):
            yield f"scene {self.name}: dates are one or two lists of files"
        if self.slack_px is not None and self.slack_px < 0:
            yield f"scene {self.name}: slack_px is {self.slack_px}: 0 or more"


class Patches(Settings):
    """Patches of one scene class, stacked downwards."""

    name: str
    imagery: str
    share: Literal["none", "spectral"]
    """`none`: nothing in this class is impervious. `spectral`: the spectrum tells."""
    patch_px: int = 64
    level: Level | None = None
    """Processing level of the imagery, in place of the recipe's."""

    def faults(self) -> Iterator[str]:
        """What in it cannot work."""
        if self.patch_px < 1:
            yield f"patches {self.name}: patch_px is {self.patch_px}: 1 or more"


class Store(Settings):
    """A chip store of `isamap tile`: its train chips teach, its val chips judge."""

    name: str
    folder: str
    sources: tuple[str, ...] = ()
    """Those of the store that are used; all of them if none is named."""
    validate_on: bool = True
    """Whether its val ground is scored."""
    level: Level | None = None
    """Processing level of the imagery, in place of the recipe's."""


class ChipCounts(Settings):
    """Chips of each kind in a step."""

    pairs: int = 3
    simulated: int = 2
    scenes: int = 3
    patches: int = 1
    stores: int = 3

    def faults(self) -> Iterator[str]:
        """What in it cannot work."""
        yield from (f"chips.{name} is {count}: 0 or more" for name, count in self if count < 0)


class Target(Adaptation):
    """Unlabelled ground that the network shall learn from while it is trained on the rest."""

    scenes: tuple[UnlabelledScene, ...] = ()
    stores: tuple[Store, ...] = ()
    """Chip stores whose target chips it is."""


class Recipe(Settings):
    """A training run from end to end."""

    name: str | None = None
    """Of the model and its files; that of the network if left out."""
    description: str
    """One line for `isamap models`."""
    licence: str
    """Licence of the weights."""
    attribution: tuple[str, ...]
    """Notices that the training data ask for."""
    threshold: Threshold | None = None
    """The network's own probability from which a pixel is ISA; None takes the best on the validation ground. The
    card has it calibrated."""
    level: Level | None = None
    """Processing level of all real imagery that names none of its own."""
    network: NetworkConfig
    schedule: Schedule = Schedule()
    chips: ChipCounts = ChipCounts()
    shares: ShareRules = ShareRules()
    """How spectra become soft shares."""
    perceptual: str | None = None
    """VGG19 weights (safetensors) for the perceptual loss."""
    target: Target | None = None
    """What to adapt to."""
    pairs: tuple[Pair, ...] = ()
    simulated: tuple[Ground, ...] = ()
    scenes: tuple[UnlabelledScene, ...] = ()
    patches: tuple[Patches, ...] = ()
    stores: tuple[Store, ...] = ()

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.name or self.network.name

    @property
    def grounds(self) -> list[str]:
        """Names of all ground."""
        groups: tuple[tuple[Pair | Ground | UnlabelledScene | Patches | Store, ...], ...] = (
            *(self.pairs, self.simulated, self.scenes, self.patches, self.stores),
        )
        targets: list[UnlabelledScene | Store] = []
        if self.target is not None:
            targets = [*self.target.scenes, *self.target.stores]
        return [ground.name for group in groups for ground in group] + [one.name for one in targets]

    @property
    def levels(self) -> tuple[Level, ...]:
        """Processing levels of the real imagery; none unless all of it is known."""
        target: tuple[UnlabelledScene | Store, ...] = ()
        if self.target is not None:
            target = (*self.target.scenes, *self.target.stores)
        real = (*self.pairs, *self.scenes, *self.patches, *self.stores, *target)
        found = {ground.level or self.level for ground in real}
        return tuple(sorted(level for level in found if level is not None and None not in found))

    def faults(self) -> Iterator[str]:
        """What in it cannot work."""
        if not NAME.fullmatch(self.model):
            yield f"name: {self.model!r} cannot be the name of a model"
        if twice := next((name for name in self.grounds if self.grounds.count(name) > 1), None):
            yield f"two grounds are called {twice}: give each a name of its own"
        if self.threshold is not None and self.network.outputs > 1:
            yield f"threshold: maps of {self.network.classes} show the likeliest class, whatever a threshold says"
        scenes = (*self.scenes, *(self.target.scenes if self.target else ()))
        grounds: tuple[Pair | Ground | UnlabelledScene | Patches, ...]
        grounds = (*self.pairs, *self.simulated, *scenes, *self.patches)
        for part in (self.chips, *grounds, *([self.target] if self.target else [])):
            yield from part.faults()
        yield from self._idle()
        rules = self.shares
        if not -1 <= rules.impervious_ndvi < rules.pervious_ndvi <= 1:
            yield "shares: impervious_ndvi lies below pervious_ndvi, both from -1 to 1"
        if not (0 <= rules.doubt <= 1 and 0 <= rules.built_up <= 1 and rules.slack_px >= 0):
            yield "shares: doubt and built_up lie from 0 to 1, slack_px is 0 or more"

    def _idle(self) -> Iterator[str]:
        """Losses that nothing would come of."""
        schedule, name = self.schedule, self.network.name
        given = [key for key in OF_IMAGES if key in schedule.model_fields_set and getattr(schedule, key)]
        if given and not MODELS[name].through_images:
            able = " and ".join(one for one, network in MODELS.items() if network.through_images)
            yield f"schedule.{given[0]}: the network {name} has no such loss: {able} have"
        if not (schedule.teaches or self.target):
            yield f"schedule: no loss that train = {schedule.train!r} learns from has a weight above 0"

    def imagery(self) -> list[str]:
        """Files that say where training took place."""
        scenes = (*self.scenes, *(self.target.scenes if self.target else ()))
        pairs = [pair.imagery[0] for pair in self.pairs]
        return pairs + [date[0] for scene in scenes for date in scene.dates]

    def all_stores(self) -> list[Store]:
        """Chip stores of source and target."""
        return [*self.stores, *(self.target.stores if self.target else ())]

    def files(self) -> list[str]:
        """Every file it names, once."""
        fields = ("pairs", "simulated", "scenes", "patches", "target")
        keys = {"imagery", "isa", "image", "split", "dates"}
        document = self.model_dump(include=set(fields))
        return sorted(set(_texts(document, keys)) | ({self.perceptual} if self.perceptual else set()))


def _texts(part: Any, keys: set[str]) -> Iterator[str]:
    """Texts under any of the keys, at any depth."""
    if isinstance(part, dict):
        for key, value in part.items():
            yield from _leaves(value) if key in keys else _texts(value, keys)
    elif isinstance(part, list | tuple):
        for value in part:
            yield from _texts(value, keys)


def _leaves(part: Any) -> Iterator[str]:
    if isinstance(part, str):
        yield part
    elif isinstance(part, list | tuple):
        for value in part:
            yield from _leaves(value)


def read_recipe(path: Path) -> Recipe:
    """The recipe at `path`, with what it extends.

    Raises:
        MissingInputError: no such file.
        ConfigError: not TOML, an unknown key (the nearest known one is named), a wrong value, a circle, or what cannot work.
    """
    document, here, seen = read_tables(path), path, {path.resolve()}
    while (base := document.pop("extends", None)) is not None:
        if not isinstance(base, str):
            raise ConfigError(f"{here}: extends is {base!r}: the path of a recipe, in quotes")
        here = here.parent / base
        if here.resolve() in seen:
            raise ConfigError(f"{path} extends itself through {here}")
        seen.add(here.resolve())
        document = _merged(read_tables(here), document)
    recipe = as_settings(document, path, Recipe)
    if fault := next(recipe.faults(), None):
        raise ConfigError(f"{path}: {fault}")
    return recipe


def _merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """`own` laid over `base`, table by table."""
    both = {
        key: _merged(base[key], own[key]) for key in base.keys() & own.keys() if _tables(base[key], own[key])
    }
    return base | own | both


def _tables(*values: Any) -> bool:
    return all(isinstance(value, dict) for value in values)
