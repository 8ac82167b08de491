"""Models on disk: `<name>.safetensors` with its card `<name>.json` beside it. Nothing is ever unpickled.

A model is found by its path, or by its name among the packaged ones and those that `isamap models add` keeps.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import safetensors
import safetensors.torch
import torch
from pydantic import Field, ValidationError
from torch import Tensor

from isamap.config import Settings, first_fault
from isamap.domain.calibration import Calibration
from isamap.domain.level import Level
from isamap.errors import ConfigError, MissingInputError, ModelError
from isamap.model.networks import Network, NetworkConfig, build

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""What a registered model may be called."""
Threshold = Annotated[float, Field(gt=0, lt=1)]
"""A probability that parts two classes."""
PACKAGED = Path(str(files("isamap") / "data" / "models"))
MAX_BYTES = 2 * 1024**3
"""Weights larger than this are not ours."""


class Card(Settings):
    """What is known of a model; the fields `infer` needs, and the story behind them."""

    name: str
    """Name under which maps are stored."""
    version: str
    """Of the isamap that trained it."""
    description: str
    """One line for `isamap models`."""
    network: NetworkConfig
    """Architecture, bands and scaling."""
    threshold: Threshold
    """Probability from which a pixel is mapped as ISA; calibrated, if there is a calibration."""
    calibration: Calibration | None = None
    """From the network's own probability to what it is worth; None leaves it as it is."""
    levels: tuple[Level, ...] = ()
    """Processing levels of the imagery it was trained on; none where nobody said."""
    weights_sha256: str
    """Of the safetensors file; part of every map's provenance."""
    licence: str
    """Of the weights."""
    attribution: tuple[str, ...]
    """Notices that go with the training data."""
    training: dict[str, Any]
    """Recipe digest, ground, steps, time and machine."""
    metrics: dict[str, Any]
    """Scores on validation ground."""

    def settled(self, threshold: float) -> float:
        """A threshold as the network's own probability: what is compared, so that rounding moves no pixel."""
        return threshold if self.calibration is None else self.calibration.back(threshold)


def registry() -> Path:
    """Folder of the user's own models: ISAMAP_MODELS, or `isamap/models` among the user's data.

    Raises:
        ConfigError: the user has no home directory, and nothing else says where.
    """
    if own := os.environ.get("ISAMAP_MODELS"):
        return Path(own)
    if data := os.environ.get("XDG_DATA_HOME"):
        return Path(data) / "isamap" / "models"
    try:
        return Path.home() / ".local" / "share" / "isamap" / "models"
    except RuntimeError as fault:
        raise ConfigError(
            "no home directory to keep models in: set ISAMAP_MODELS to a folder, or HOME"
        ) from fault


def known() -> dict[str, Path]:
    """Weights of every packaged and registered model by name; a packaged name cannot be taken."""
    folders = [PACKAGED]
    with suppress(ConfigError):  # without a home there are no models of one's own
        folders.insert(0, registry())
    found = {path.stem: path for folder in folders for path in sorted(folder.glob("*.safetensors"))}
    return {name: path for name, path in sorted(found.items()) if NAME.fullmatch(name)}


def find(name: str) -> Path:
    """The safetensors file of a packaged or registered model, or at a path.

    Raises:
        MissingInputError: neither.
        ModelError: a file of another kind, e.g. a pickle.
    """
    if NAME.fullmatch(name) and name in (named := known()):
        return named[name]
    path = Path(name)
    if not path.is_file():
        raise MissingInputError(
            f"no model {name}: give the path of a .safetensors file or one of {', '.join(known())}"
        )
    if path.suffix != ".safetensors":
        raise ModelError(
            f"{path} is not a .safetensors file: isamap loads no other kind, pickles can run code"
        )
    return path


def filed_as(name: str) -> str:
    """The name under which a workspace keeps the maps of a model: its own, or that of its file.

    Raises:
        MissingInputError, ModelError: as for `find`.
        ConfigError: other weights than those of the packaged or registered model that they are called like.
    """
    path = find(name)
    other = known().get(path.stem)
    if other is not None and load_card(path).weights_sha256 != load_card(other).weights_sha256:
        raise ConfigError(
            f"{path} is called like the model {path.stem}, whose maps it would replace: rename the file (and its card), "
            "or keep it with isamap models add --name and give that name"
        )
    return path.stem


def load_card(weights: Path) -> Card:
    """The card beside `weights`.

    Raises:
        MissingInputError: there is none.
        ModelError: it is damaged.
    """
    path = weights.with_suffix(".json")
    if not path.is_file():
        raise MissingInputError(f"{path} is missing: every model needs its card")
    try:
        return Card.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as fault:
        raise ModelError(f"{path} is not a model card: {first_fault(fault, Card)}") from fault
    except UnicodeDecodeError as fault:
        raise ModelError(f"{path} is not a model card: not UTF-8 text") from fault


def load(weights: Path) -> tuple[Card, Network]:
    """Card and network of the model at `weights`; float32, on the CPU.

    Raises:
        MissingInputError: no card.
        ModelError: weights that are damaged, of another shape, not finite, or not those of the card.
    """
    card = load_card(weights)
    if weights.stat().st_size > MAX_BYTES:
        raise ModelError(f"{weights} is larger than {MAX_BYTES} bytes: not a model of isamap")
    document = weights.read_bytes()
    if hashlib.sha256(document).hexdigest() != card.weights_sha256:
        raise ModelError(f"{weights} is not the file its card describes (sha256 differs): fetch both again")
    try:
        tensors = safetensors.torch.load(document)
    except (safetensors.SafetensorError, RuntimeError, KeyError) as fault:
        reason = " ".join(str(fault).split())
        raise ModelError(f"{weights} does not fit its card: {reason[:200]}") from fault
    network = build(card.network)
    if misfit := _misfit(tensors, network.state_dict()):
        raise ModelError(f"{weights} does not fit its card: {misfit}")
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    if not all(bool(torch.isfinite(p).all()) for p in network.parameters()):
        raise ModelError(f"{weights} holds weights that are not finite: train again")
    return card, network.eval()


def _misfit(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str | None:
    """Why tensors are not those of the network that a card describes, by the first that is not, or None."""
    for name in sorted(own.keys() | tensors.keys()):
        there, wanted = (
            " x ".join(map(str, group[name].shape)) or "one number" if name in group else "absent"
            for group in (tensors, own)
        )
        if there != wanted:
            return f"{name[:80]!r} is {there}, in the card's network {wanted}"
    return None


def made_by(weights: Path) -> str | None:
    """Digest of the recipe that a whole model at `weights` was trained by; None if it is missing or damaged."""
    try:
        recipe = load(weights)[0].training.get("recipe")
    except (MissingInputError, ModelError, OSError):
        return None
    return str(recipe)


def pack(weights: dict[str, Tensor], card: dict[str, Any]) -> tuple[bytes, bytes]:
    """Weights as bfloat16 safetensors, and the card with their digest as JSON."""
    document = safetensors.torch.save({name: tensor.to(torch.bfloat16) for name, tensor in weights.items()})
    full = Card.model_validate(card | {"weights_sha256": hashlib.sha256(document).hexdigest()})
    text = json.dumps(full.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"
    return document, text.encode()
