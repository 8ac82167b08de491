"""The folder of a training run: what lies there besides the model, and its removal."""

from pathlib import Path

from isamap.io.store import storage_errors

STATE = "training-state.safetensors"
RECORD = "training.json"
CURVES = "training.png"
SAMPLES = "samples"
BOARD = "tensorboard"
MADE = (STATE, RECORD, CURVES, f"{SAMPLES}/step-*.png", f"{BOARD}/events.out.tfevents.*")
"""What a run writes and the next one in its place must not leave beside its model."""


def sample_path(folder: Path, step: int) -> Path:
    """Where the sample of a look lies."""
    return folder / SAMPLES / f"step-{step:06d}.png"


def clear(folder: Path) -> None:
    """Remove what another run left beside its model.

    Raises:
        StorageError: the disk refuses.
    """
    with storage_errors(folder):
        for pattern in MADE:
            for path in sorted(folder.glob(pattern)):
                path.unlink(missing_ok=True)
