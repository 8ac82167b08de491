"""The folder of a training run: what lies there besides the model, and its removal."""

from pathlib import Path

from isamap.io.store import read_item, storage_errors
from isamap.io.strangers import stranger

STATE = "training-state.safetensors"
RECORD = "training.json"
CURVES = "training.png"
SAMPLES = "samples"
BOARD = "tensorboard"
PLAIN = (RECORD, CURVES, f"{SAMPLES}/step-*.png", STATE)
MADE = (f"{BOARD}/events.out.tfevents.*", *PLAIN)
"""What a run writes and the next one in its place must not leave beside its model; the state last, which says whose it is."""


def sample_path(folder: Path, step: int) -> Path:
    """Where the sample of a look lies."""
    return folder / SAMPLES / f"step-{step:06d}.png"


def is_run_s(folder: Path) -> bool:
    """Whether a state or a record says that a run wrote the files there."""
    record = read_item(folder / RECORD) or {}
    return (folder / STATE).is_file() or {"recipe", "log"} <= set(record)


def refuse_strangers(folder: Path, weights: Path) -> None:
    """Refuse a folder without a run or a card of ours in which files have the names of a run's.

    TensorBoard's logs may be there: a run that died before its first look left nothing else.

    Raises:
        InputError: one of them is there.
    """
    patterns = (*PLAIN, weights.name, weights.with_suffix(".json").name)
    for path in (path for pattern in patterns for path in sorted(folder.glob(pattern))):
        raise stranger(path)


def clear(folder: Path) -> None:
    """Remove what another run left beside its model.

    Raises:
        StorageError: the disk refuses.
    """
    with storage_errors(folder):
        for pattern in MADE:
            for path in sorted(folder.glob(pattern)):
                path.unlink(missing_ok=True)
