"""`isamap models`: the registry of models, their STAC items, and models as programs of their own."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from isamap.domain.model_item import model_item, stamp
from isamap.errors import ConfigError, InputError, MissingInputError, ModelError
from isamap.io import store
from isamap.io.holders import RUN_LOCK
from isamap.model import settling
from isamap.model.checkpoint import NAME, PACKAGED, Card, find, known, load, load_card, registry
from isamap.model.export import export as program
from isamap.model.networks import cost_macs
from isamap.model.trial import try_out

log = logging.getLogger(__name__)

WINDOW_STEP_PX = 8
"""Windows of exported programs are multiples of this: the coarsest stride of any network."""


@dataclass(frozen=True)
class Entry:
    """A model that can be named."""

    name: str
    """What `--model` calls it."""
    path: Path
    """Its weights."""
    card: Card
    """What is known of it."""
    packaged: bool
    """Whether it came with isamap."""


def entries() -> list[Entry]:
    """Every packaged and registered model; one whose card cannot be read is left out, with a warning."""
    found = []
    for name, path in known().items():
        try:
            found.append(Entry(name, path, load_card(path), path.parent == PACKAGED))
        except (MissingInputError, ModelError) as fault:
            log.warning("%s is left out: %s", name, fault)
    return found


def add(weights: Path, name: str | None = None, *, overwrite: bool = False) -> Path:
    """Keep a model in the registry after every check that loading it makes; its new path.

    Raises:
        ConfigError: a name that cannot be used, or is taken.
        ModelError: the weights are damaged, do not fit their card, or give no finite number.
    """
    chosen = name or weights.stem
    if not NAME.fullmatch(chosen):
        raise ConfigError(
            f"{chosen!r} cannot be a name: small letters, digits, '.', '_' and '-', letter or digit first"
        )
    if (PACKAGED / f"{chosen}.safetensors").is_file():
        raise ConfigError(f"{chosen} is the name of a packaged model: choose another with --name")
    folder = registry()
    target = folder / f"{chosen}.safetensors"
    with store.lock(folder / RUN_LOCK, wait=True, what=str(folder)):
        if target.exists() and not overwrite:
            raise ConfigError(f"{chosen} is registered already: --overwrite replaces it")
        card, network = load(weights)
        try_out(network, weights)
        document = card.model_dump(mode="json") | {"name": chosen}
        store.write_atomic(target, weights.read_bytes())
        text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        store.write_atomic(target.with_suffix(".json"), text.encode())
    load(target)
    return target


def item(name: str) -> dict[str, Any]:
    """STAC item of a model."""
    weights = find(name)
    card, network = load(weights)
    facts = {
        "href": str(weights),
        "size": weights.stat().st_size,
        "made": stamp(weights.stat().st_mtime),
        "parameters": sum(p.numel() for p in network.parameters()),
        "halo_px": settling.halo_of(network),
    }
    made = model_item(card.model_dump(mode="json"), facts)
    made["properties"]["isamap:macs_per_pixel"] = cost_macs(network)
    return made


def export(name: str, kind: Literal["torch", "onnx"], out: Path, window_px: int) -> dict[str, Any]:
    """Write a model as a program of its own; what its user must know.

    Raises:
        InputError: a window that the network cannot have.
        ConfigError: a library is missing.
    """
    if window_px % WINDOW_STEP_PX:
        raise InputError(f"--export-window {window_px}: must be a multiple of {WINDOW_STEP_PX}")
    card, network = load(find(name))
    config, halo = card.network, settling.halo_of(network)
    side, fine = window_px + 2 * halo, window_px * config.scale
    facts = {
        "model": card.name,
        "weights_sha256": card.weights_sha256,
        "inputs": {name: [-1, len(config.bands), side, side] for name in ("reflectance", "present")},
        "bands": list(config.bands),
        "optional_bands": list(config.optional),
        "halo_px": halo,
        "beyond_the_raster": "mirror reflectance and present about the outermost pixels (numpy.pad, mode 'reflect')",
        "output": [-1, config.outputs, fine, fine],
        "nodata": "NaN where a band that is not optional is not present",
        "threshold": card.threshold,
    }
    store.write_atomic(out, program(network, kind, window_px, card.calibration, facts))
    return {"path": str(out), "format": kind} | facts
