"""`isamap train`: from a recipe and the ground it names to weights with a card."""

import hashlib
import json
import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from isamap import __version__
from isamap.config import read_toml
from isamap.core.recipe import Ground, Patches, Recipe, UnlabelledScene
from isamap.domain.share import impervious_share
from isamap.engine.pages import keep_pages
from isamap.errors import InputError
from isamap.io import store
from isamap.io.ground import lay, read_plate, read_reflectance
from isamap.model import device as devices
from isamap.model.checkpoint import load, load_card, pack
from isamap.model.chips import Mixture, PairSource, ShareSource, SimulatedSource, Source
from isamap.model.losses import UNLABELLED
from isamap.model.training import Progress, Trainer, Validation, as_json, read_record

log = logging.getLogger(__name__)

SHARE_BANDS = ("B02", "B03", "B04", "B08", "B11")
"""What the spectral share needs."""


def pair_sources(recipe: Recipe, data: Path) -> tuple[list[Source], list[Validation]]:
    """Real pairs: the ground to train on and the ground to validate on."""
    bands = recipe.network.bands
    sources: list[Source] = []
    validations = []
    for pair in recipe.pairs:
        lr, present, transform = read_reflectance([data / p for p in pair.imagery], bands)
        scale = recipe.network.scale
        a, b, c, d, e, f = transform[:6]
        fine = Affine(a / scale, b / scale, c, d / scale, e / scale, f)
        shape = (lr.shape[1] * scale, lr.shape[2] * scale)
        isa = lay([data / p for p in pair.isa], fine, shape, UNLABELLED)[0]
        image = lay([data / p for p in pair.image], fine, shape, 0)
        split = read_plate(data / pair.split).values[0]
        if split.shape != lr.shape[1:]:
            raise InputError(f"{data / pair.split} is not on the grid of {data / pair.imagery[0]}")
        parts = {
            value: np.where(np.kron(split == value, np.ones((scale, scale), np.bool_)), isa, UNLABELLED)
            for value in (pair.train, pair.validate_on)
        }
        sources.append(PairSource(pair.name, lr, present, parts[pair.train].astype(np.uint8), image, scale))
        if not (split == pair.validate_on).any():
            raise InputError(f"{data / pair.split} has no pixel of value {pair.validate_on} to validate on")
        rows, cols = _extent(split == pair.validate_on)
        fine_rows = slice(rows.start * scale, rows.stop * scale)
        fine_cols = slice(cols.start * scale, cols.stop * scale)
        truth = parts[pair.validate_on][fine_rows, fine_cols].astype(np.uint8)
        validations.append(Validation(pair.name, lr[:, rows, cols], present[:, rows, cols], truth))
    return sources, validations


def _extent(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Smallest window around the True pixels."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(cols[0]), int(cols[-1]) + 1)


def simulated_source(ground: Ground, recipe: Recipe, data: Path) -> SimulatedSource:
    """A 1 m image and its labels, the excluded window unlabelled."""
    isa = read_plate(data / ground.isa).values[0].astype(np.uint8)
    image = read_plate(data / ground.image).values.astype(np.uint8)
    if ground.exclude:
        top, bottom, left, right = ground.exclude
        isa[top:bottom, left:right] = UNLABELLED
    return SimulatedSource(ground.name, isa, image, recipe.network.bands, recipe.network.scale)


def scene_sources(scene: UnlabelledScene, recipe: Recipe, data: Path) -> list[Source]:
    """One source per date of a place; each date is judged with the other's help."""
    dates = [read_reflectance([data / p for p in files], SHARE_BANDS) for files in scene.dates]
    spectra = [dict(zip(SHARE_BANDS, lr, strict=True)) for lr, _, _ in dates]
    rules = recipe.shares if scene.slack_px is None else replace(recipe.shares, slack_px=scene.slack_px)
    sources: list[Source] = []
    for index, files in enumerate(scene.dates):
        other = _moved(spectra[1 - index], scene.shift_px, 1 - 2 * index) if len(spectra) > 1 else None
        share, weight = impervious_share(spectra[index], other, rules)
        weight[~dates[index][1].all(axis=0)] = 0
        lr, present, _ = read_reflectance([data / p for p in files], recipe.network.bands)
        sources.append(ShareSource(f"{scene.name}-{index}", lr, present, share, weight, recipe.network.scale))
    return sources


def _moved(
    spectra: dict[str, NDArray[np.float32]], shift_px: tuple[int, int], sign: int
) -> dict[str, NDArray[np.float32]]:
    """Another date on the pixels of this one; what moves out on one side comes in on the other."""
    dx, dy = (-sign * shift for shift in shift_px)
    return {band: np.roll(values, (dy, dx), axis=(0, 1)) for band, values in spectra.items()}


def patch_sources(patches: Patches, recipe: Recipe, data: Path) -> list[Source]:
    """Patches of one scene class, stacked downwards in one file."""
    path = [data / patches.imagery]
    lr, present, _ = read_reflectance(path, recipe.network.bands)
    spectra = dict(zip(SHARE_BANDS, read_reflectance(path, SHARE_BANDS)[0], strict=True))
    share, weight = impervious_share(spectra, rules=recipe.shares)
    if patches.share == "none":
        share, weight = np.zeros_like(share), np.ones_like(weight)
    size = patches.patch_px
    sources: list[Source] = []
    for top in range(0, lr.shape[1], size):
        rows = slice(top, top + size)
        sources.append(
            ShareSource(
                f"{patches.name}-{top // size}",
                lr[:, rows],
                present[:, rows],
                share[rows],
                weight[rows],
                recipe.network.scale,
            )
        )
    return sources


def trainer(recipe: Recipe, data: Path, device: str, start: Path | None = None) -> Trainer:
    """The run a recipe describes, ground read and ready to start, from the weights in `start` if given."""
    pairs, validations = pair_sources(recipe, data)
    simulated: list[Source] = [simulated_source(ground, recipe, data) for ground in recipe.simulated]
    scenes = [s for scene in recipe.scenes for s in scene_sources(scene, recipe, data)]
    patches = [s for group in recipe.patches for s in patch_sources(group, recipe, data)]
    counts = recipe.chips
    groups = {
        "pairs": (pairs, counts.pairs),
        "simulated": (simulated, counts.simulated),
        "scenes": (scenes, counts.scenes),
        "patches": (patches, counts.patches),
    }
    sources: list[tuple[Source, int]] = [
        (Mixture(name, tuple(members)), count)
        for name, (members, count) in groups.items()
        if members and count
    ]
    training = Trainer(recipe.network, recipe.schedule, sources, validations, devices.resolve(device))
    if start is not None:
        training.start_from(load(start)[1])
    return training


def run(
    path: Path,
    *,
    data: Path,
    out: Path,
    start: Path | None = None,
    device: str = "auto",
    steps: int | None = None,
    wait: bool = False,
) -> Path:
    """Train what the recipe at `path` describes; resumes a run of the same recipe in `out`.

    Args:
        path: TOML recipe.
        data: folder that the recipe's paths start from.
        out: folder of the run.
        start: weights to begin from: fine-tuning.
        device: auto, cpu, cuda or cuda:N.
        steps: in place of the recipe's.
        wait: wait for another run on the same folder.

    Returns:
        The weights, safetensors; their card lies beside them.
    """
    keep_pages()
    recipe = read_toml(path, Recipe)
    if steps is not None:
        recipe = recipe.model_copy(update={"schedule": recipe.schedule.model_copy(update={"steps": steps})})
    document = recipe.model_dump_json().encode() + (start.read_bytes() if start else b"")
    digest = hashlib.sha256(document).hexdigest()
    with store.lock(out / ".isamap.lock", wait=wait, what=str(out)):
        training = trainer(recipe, data, device, start)
        record = _resume(training, out, digest)
        record["start"] = load_card(start).training if start else None
        started, cpu_started = (
            time.monotonic() - record["seconds"],
            time.process_time() - record["cpu_seconds"],
        )
        for progress in training.run():
            record["seconds"] = round(time.monotonic() - started)
            record["cpu_seconds"] = round(time.process_time() - cpu_started)
            record["log"].append(as_json(progress))
            log.info(
                "step %d/%d  loss %.3f  %s  %d s",
                progress.step,
                recipe.schedule.steps,
                progress.loss,
                "  ".join(f"{name} IoU {iou:.3f}" for name, iou in progress.isa_iou.items()),
                record["seconds"],
            )
            _save(training, out, record, recipe)
    return out / f"{recipe.network.name}.safetensors"


STATE = "training-state.safetensors"


def _resume(training: Trainer, out: Path, digest: str) -> dict[str, Any]:
    """Continue the run in `out` if it is one of the same recipe; its record, or a fresh one."""
    state = out / STATE
    record = read_record(state) if state.is_file() else None
    if record is None or record["recipe"] != digest:
        return {"recipe": digest, "seconds": 0, "cpu_seconds": 0, "best": 0.0, "log": []}
    training.restore(state.read_bytes(), Progress(**record["log"][-1]))
    log.info("resuming at step %d", training.progress.step)
    return record


def _save(training: Trainer, out: Path, record: dict[str, Any], recipe: Recipe) -> None:
    """Keep weights and card if they are the ones to keep so far, then the state to resume from; the record for people last."""
    progress = training.progress
    if progress.mean_iou >= record["best"] or recipe.schedule.keep == "last":
        record["best"] = max(record["best"], progress.mean_iou)
        weights, card = pack(training.weights(), _card(training, record, recipe))
        name = recipe.network.name
        store.write_atomic(out / f"{name}.safetensors", weights)
        store.write_atomic(out / f"{name}.json", card)
    store.write_atomic(out / STATE, training.state(record))
    store.write_atomic(out / "training.json", (json.dumps(record, indent=1) + "\n").encode())


def _card(training: Trainer, record: dict[str, Any], recipe: Recipe) -> dict[str, Any]:
    """What is known of the weights as they are now."""
    ground = [
        g.name for group in (recipe.pairs, recipe.simulated, recipe.scenes, recipe.patches) for g in group
    ]
    return {
        "name": recipe.network.name,
        "version": __version__,
        "description": recipe.description,
        "network": recipe.network.model_dump(),
        "threshold": recipe.threshold or training.progress.threshold,
        "licence": recipe.licence,
        "attribution": recipe.attribution,
        "training": {
            "recipe": record["recipe"],
            "ground": ground,
            "steps": training.progress.step,
            "seconds": record["seconds"],
            "cpu_seconds": record["cpu_seconds"],
            **devices.describe(training.device),
            "start": record["start"],
        },
        "metrics": {"validation": {k: round(v, 4) for k, v in training.progress.isa_iou.items()}},
    }
