"""`isamap train`: from a recipe and the ground it names to weights with a card."""

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from isamap import __version__
from isamap.core.grounds import Grounds, class_counts, read_grounds
from isamap.core.recipe import Recipe
from isamap.core.training_run import (
    Run,
    alone,
    check_place,
    data_digests,
    digest_of,
    earlier,
    fresh,
    recipe_of,
)
from isamap.domain.calibration import Calibration
from isamap.engine.pages import keep_pages
from isamap.errors import ConfigError, InputError, ModelError
from isamap.io import run_folder, store, training_plots
from isamap.io.footprint import lonlat_boxes
from isamap.model import device as devices
from isamap.model import parallel
from isamap.model.boards import Board
from isamap.model.checkpoint import load, made_by, pack
from isamap.model.chips import Mixture, Source
from isamap.model.clock import Clock
from isamap.model.networks import NetworkConfig
from isamap.model.samples import sample
from isamap.model.training import Extras, Trainer, as_json
from isamap.model.validation import HALF, Progress
from isamap.progress import Progress as Bar

log = logging.getLogger(__name__)


def trainer(recipe: Recipe, grounds: Grounds, device: str, data: Path, start: Path | None = None) -> Trainer:
    """The run a recipe describes, ready to start, from the weights in `start` if given."""
    counts = recipe.chips
    groups = {
        "pairs": (grounds.pairs, counts.pairs),
        "simulated": (grounds.simulated, counts.simulated),
        "scenes": (grounds.scenes, counts.scenes),
        "patches": (grounds.patches, counts.patches),
        "stores": (grounds.stores, counts.stores),
    }
    sources: list[tuple[Source, int]] = [
        (Mixture(name, tuple(members)), count)
        for name, (members, count) in groups.items()
        if members and count
    ]
    if not sources and recipe.stores and not grounds.stores:
        folders = ", ".join(str(data / store.folder) for store in recipe.stores)
        raise InputError(f"{folders}: no chips to train on (split train): tile more ground, or split it anew")
    if not sources:
        raise ConfigError("the recipe names no ground to train on, or no chips of it in [chips]")
    _check_validation(recipe, grounds)
    classes = recipe.target is not None or recipe.network.outputs > 1
    extras = Extras(
        adaptation=recipe.target,
        target=grounds.target,
        counts=class_counts(grounds, recipe) if classes else None,
        perceptual=data / recipe.perceptual if recipe.perceptual else None,
    )
    where = devices.resolve(device)
    training = Trainer(recipe.network, recipe.schedule, sources, grounds.validations, where, extras)
    if start is not None:
        training.start_from(load(start)[1])
    return training


def _check_validation(recipe: Recipe, grounds: Grounds) -> None:
    """Say what comes of a run that nothing judges; refuse to wait for what would be better."""
    if grounds.validations:
        return
    if recipe.schedule.patience is not None:
        raise ConfigError("patience needs ground to validate on, and the recipe has none: leave it out")
    log.warning(
        "no validation ground: threshold %g, no calibration, the last weights are kept",
        recipe.threshold or HALF,
    )


def run(path: Path, asked: Run) -> Path:
    """Train what the recipe at `path` describes; resumes a run of the same recipe in the same folder.

    Returns:
        The weights, safetensors; their card lies beside them.

    Raises:
        ConfigError: the folder holds another run, or the recipe cannot work.
        InputError, MissingInputError: its ground is damaged, not there, or not what the run in the folder began with; or
            the folder holds files of somebody else.
        ModelError: training diverged, or the best weights of a finished run are lost.
    """
    keep_pages()
    recipe = recipe_of(path, asked)
    digest, weights = digest_of(recipe, asked), asked.out / f"{recipe.model}.safetensors"
    with parallel.group(asked.device) as device, alone(asked):
        check_place(asked, weights)
        data = data_digests(recipe, asked.data)
        found = earlier(asked, digest, data, weights)
        grounds = read_grounds(recipe, asked.data)
        training = trainer(recipe, grounds, device, asked.data, asked.start)
        record = fresh(asked, digest, data) if found is None else _resume(training, asked, found)
        steps, first = recipe.schedule.steps, training.progress.step
        clock = Clock(record["seconds"], record["cpu_seconds"], first)
        board = Board(asked.out / run_folder.BOARD) if asked.tensorboard and parallel.rank() == 0 else None
        with Bar(steps - first, "step", recipe.model, show=parallel.rank() == 0) as bar:
            for progress in training.run(bar.advance):
                clock.note(record)
                record["log"].append(as_json(progress))
                if parallel.rank() == 0:
                    log.info("%s", clock.line(progress, steps, record["seconds"]))
                    _save(training, asked, record, (recipe, grounds))
                    _draw(training, asked, record, board)
                parallel.wait()
        if parallel.rank() == 0 and made_by(weights) != digest:
            _publish_again(training, asked, record, (recipe, grounds))
    return weights


def _resume(training: Trainer, asked: Run, record: dict[str, Any]) -> dict[str, Any]:
    """Continue the run in the folder; its record."""
    training.restore((asked.out / run_folder.STATE).read_bytes(), Progress(**record["log"][-1]))
    log.info("resuming at step %d", training.progress.step)
    return record


def _save(training: Trainer, asked: Run, record: dict[str, Any], made_of: tuple[Recipe, Grounds]) -> None:
    """Keep weights and card if they are the ones to keep so far, then the state to resume from; the record for people last."""
    if _to_keep(training, record):
        record["best"] = max(record["best"], training.progress.mean_iou)
        _publish(training, asked, record, made_of)
    store.write_atomic(asked.out / run_folder.STATE, training.state(record))
    store.write_atomic(asked.out / run_folder.RECORD, (json.dumps(record, indent=1) + "\n").encode())


def _to_keep(training: Trainer, record: dict[str, Any]) -> bool:
    return training.schedule.keep == "last" or training.progress.mean_iou >= record["best"]


def _publish(training: Trainer, asked: Run, record: dict[str, Any], made_of: tuple[Recipe, Grounds]) -> None:
    weights, card = pack(training.weights(), _card(training, record, asked, made_of))
    name = made_of[0].model
    store.write_atomic(asked.out / f"{name}.json", card)  # first: it says whose the folder is
    store.write_atomic(asked.out / f"{name}.safetensors", weights)


def _publish_again(
    training: Trainer, asked: Run, record: dict[str, Any], made_of: tuple[Recipe, Grounds]
) -> None:
    """Weights and card of a finished run that are missing or damaged, from its state.

    Raises:
        ModelError: the state has gone on since the best weights.
    """
    if not _to_keep(training, record):
        raise ModelError(
            f"{asked.out}: {made_of[0].model}.safetensors or its card is missing or damaged, and the state holds the "
            f"weights of step {training.progress.step}, not the best: --overwrite trains again"
        )
    log.warning("%s: weights or card were missing or damaged: written again", asked.out)
    _publish(training, asked, record, made_of)


def _draw(training: Trainer, asked: Run, record: dict[str, Any], board: Board | None) -> None:
    """Curves, samples and TensorBoard's logs, where they were asked for."""
    progress = training.progress
    if board is not None:
        board.add(progress)
    if not asked.pictures:
        return
    store.write_atomic(asked.out / run_folder.CURVES, training_plots.curves(record["log"]))
    if training.validations:
        panels = sample(training.average, training.validations[0], training.device)
        path = run_folder.sample_path(asked.out, progress.step)
        store.write_atomic(path, training_plots.side_by_side(panels))


def _card(
    training: Trainer, record: dict[str, Any], asked: Run, made_of: tuple[Recipe, Grounds]
) -> dict[str, Any]:
    """What is known of the weights as they are now."""
    recipe, grounds = made_of
    start = record["start"] or {}
    network = _network(recipe.network, grounds)
    calibration = _calibration(training)
    threshold = recipe.threshold or training.progress.threshold
    if calibration is not None and network.outputs == 1:
        threshold = calibration.of(threshold)
    shards = [
        path for one in recipe.all_stores() for path in sorted((asked.data / one.folder).glob("*.lr.tif"))
    ]
    return {
        "name": recipe.model,
        "version": __version__,
        "description": recipe.description,
        "network": network.model_dump(),
        "threshold": threshold,
        "calibration": None if calibration is None else asdict(calibration),
        "levels": sorted({*recipe.levels, *start.get("levels", ())}),
        "licence": recipe.licence,
        "attribution": list(dict.fromkeys([*recipe.attribution, *start.get("attribution", ())])),
        "training": {
            "recipe": record["recipe"],
            "ground": recipe.grounds,
            "footprint": lonlat_boxes([asked.data / name for name in recipe.imagery()] + shards),
            "data": record["data"],
            "steps": training.progress.step,
            "seed": recipe.schedule.seed,
            "images": recipe.schedule.makes_images,
            "seconds": record["seconds"],
            "cpu_seconds": record["cpu_seconds"],
            "processes": parallel.world(),
            **devices.describe(training.device),
            "start": record["start"],
            **({"source_network": recipe.network.model_dump()} if network != recipe.network else {}),
        },
        "metrics": {"validation": {k: round(v, 4) for k, v in training.progress.isa_iou.items()}},
    }


def _calibration(training: Trainer) -> Calibration | None:
    """What probabilities are worth on the validation ground; None for a stage that makes no map."""
    found = training.progress.calibration
    return Calibration(*found) if found is not None and training.schedule.makes_maps else None


def _network(config: NetworkConfig, grounds: Grounds) -> NetworkConfig:
    """The network as the card describes it: adapted to a target, it sees that target's reflectance as it is."""
    if grounds.source_scaling is None or grounds.target_scaling is None:
        return config
    return grounds.target_scaling.config(grounds.source_scaling, config)
