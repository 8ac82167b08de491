"""Logs that TensorBoard reads."""

from pathlib import Path

from isamap.errors import ConfigError
from isamap.model.validation import Progress


class Board:
    """Scalars of a run, written as it goes."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as fault:
            raise ConfigError(
                f"--tensorboard needs tensorboard: pip install 'isamap[train]' ({fault})"
            ) from fault
        self._writer = SummaryWriter(str(folder))

    def add(self, progress: Progress) -> None:
        """What a look found."""
        scalars = {"loss": progress.loss, "mean IoU": progress.mean_iou, "threshold": progress.threshold}
        scalars |= {f"term/{name}": value for name, value in progress.terms.items()}
        scalars |= {f"IoU/{name}": value for name, value in progress.isa_iou.items()}
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, progress.step)
        self._writer.flush()
