"""What a training run is asked for, and what its folder already holds: whether a run goes on or another one begins."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isamap import digests
from isamap.core.recipe import Recipe, Target, UnlabelledScene, read_recipe
from isamap.errors import ConfigError, InputError, MissingInputError, ModelError
from isamap.io import run_folder, store
from isamap.io.chipstore import open_chips
from isamap.io.holders import RUN_LOCK
from isamap.io.plate import check_there
from isamap.model import parallel
from isamap.model.checkpoint import Card, load_card, made_by
from isamap.model.state import read_record


@dataclass(frozen=True)
class Run:
    """What the command line says beside the recipe."""

    data: Path
    """Folder that the recipe's paths start from."""
    out: Path
    """Folder of the run."""
    start: Path | None = None
    """Weights to begin from: the next stage, or fine-tuning."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    steps: int | None = None
    """In place of the recipe's."""
    seed: int | None = None
    """In place of the recipe's."""
    target: tuple[tuple[str, ...], ...] = ()
    """More unlabelled imagery to adapt to: files of one date each, relative to `data` or absolute."""
    tensorboard: bool = False
    """Whether to write logs for TensorBoard."""
    pictures: bool = False
    """Whether to draw curves and samples at every look."""
    overwrite: bool = False
    """Whether a run that is in the folder is done again, or gives way to another."""
    wait: bool = False
    """Wait for another run on the same folder."""


def recipe_of(path: Path, asked: Run) -> Recipe:
    """The recipe with what the command line changes."""
    recipe = read_recipe(path)
    changed = {name: value for name in ("steps", "seed") if (value := getattr(asked, name)) is not None}
    recipe = recipe.model_copy(update={"schedule": recipe.schedule.model_copy(update=changed)})
    if asked.target:
        more = tuple(UnlabelledScene(name=Path(files[0]).stem, dates=(files,)) for files in asked.target)
        target = recipe.target or Target()
        recipe = recipe.model_copy(
            update={"target": target.model_copy(update={"scenes": target.scenes + more})}
        )
    return recipe


def digest_of(recipe: Recipe, asked: Run) -> str:
    """What decides whether a run is the same."""
    document = recipe.model_dump_json().encode() + (asked.start.read_bytes() if asked.start else b"")
    return hashlib.sha256(document).hexdigest()


@contextmanager
def alone(asked: Run) -> Iterator[None]:
    """Nobody else trains in this folder; of several processes the first one sees to it."""
    if parallel.rank():
        parallel.wait()
        yield
        return
    with store.lock(asked.out / RUN_LOCK, wait=asked.wait, what=str(asked.out)):
        parallel.wait()
        yield


def data_digests(recipe: Recipe, data: Path) -> dict[str, str]:
    """Digest of every file and chip store of a recipe: what a run is held against, and what its card names.

    Raises:
        MissingInputError: one of them is not there.
        InputError: one cannot be read.
    """
    files = {name: _of_file(data / name) for name in recipe.files()}
    return files | {one.folder: open_chips(data / one.folder).digest for one in recipe.all_stores()}


def _of_file(path: Path) -> str:
    check_there(path)
    try:
        return digests.of_file(path)
    except OSError as fault:
        raise InputError(f"{path}: cannot be read ({fault.strerror})") from fault


def check_place(asked: Run, weights: Path) -> None:
    """Refuse a folder in which files that no run wrote would be replaced or removed.

    Raises:
        InputError: one of them is there.
    """
    if run_folder.is_run_s(asked.out):
        return
    try:
        load_card(weights)
    except (MissingInputError, ModelError):
        run_folder.refuse_strangers(asked.out, weights)


def earlier(asked: Run, digest: str, data: dict[str, str], weights: Path) -> dict[str, Any] | None:
    """Record of the run in the folder, to be resumed; None if there is none.

    Raises:
        ConfigError: a run or a model of another recipe is there, and was not given up.
        InputError: its ground has changed since.
    """
    if asked.overwrite:
        return None
    state = asked.out / run_folder.STATE
    record = read_record(state) if state.is_file() else None
    there = made_by(weights) if record is None else record["recipe"]
    if there not in (None, digest):
        raise ConfigError(
            f"{asked.out} holds a run of another recipe, seed, start or number of steps: choose another folder, "
            "or --overwrite replaces it"
        )
    known = (record or {}).get("data") or _data_of(weights, digest)
    if changed := next((name for name in data if known.get(name, data[name]) != data[name]), None):
        raise InputError(
            f"{asked.data / changed} is not what the run in {asked.out} learnt from: put it back, choose another "
            "folder, or --overwrite trains anew"
        )
    return None if record is None else {**record, "data": data}


def _data_of(weights: Path, digest: str) -> dict[str, str]:
    """Digests in the card of a model that this recipe made: records of older versions have none."""
    return dict(load_card(weights).training.get("data", {})) if made_by(weights) == digest else {}


def _terms(card: Card) -> dict[str, Any]:
    """How weights to begin from were trained, and what goes with all that is made of them."""
    return {**card.training, "levels": card.levels, "licence": card.licence, "attribution": card.attribution}


def fresh(asked: Run, digest: str, data: dict[str, str]) -> dict[str, Any]:
    """The record of a new run, whose folder holds no other's any more, but for the model until ours is there."""
    if parallel.rank() == 0:
        run_folder.clear(asked.out)
    start = None if asked.start is None else _terms(load_card(asked.start))
    times = {"seconds": 0, "cpu_seconds": 0}
    return {"recipe": digest, "data": data, **times, "best": 0.0, "log": [], "start": start}
