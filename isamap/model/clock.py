"""How long a training run has taken, over all its parts, how long it will, and what it says of itself on the way."""

import time
from dataclasses import dataclass, field
from typing import Any

from isamap.model.validation import Progress

LATE_STEPS = 20
"""Steps after which the time left can be told."""


@dataclass
class Clock:
    """Time of a run, over all its parts."""

    seconds: float
    cpu_seconds: float
    first_step: int
    begun: float = field(default_factory=time.monotonic)
    cpu_begun: float = field(default_factory=time.process_time)

    def note(self, record: dict[str, Any]) -> None:
        """Write the time so far into the record."""
        record["seconds"] = round(self.seconds + time.monotonic() - self.begun)
        record["cpu_seconds"] = round(self.cpu_seconds + time.process_time() - self.cpu_begun)

    def left(self, step: int, steps: int) -> str:
        """Time left at the pace of this part."""
        done = step - self.first_step
        if done < LATE_STEPS:
            return ""
        seconds = (time.monotonic() - self.begun) / done * (steps - step)
        return f"  {seconds / 60:.0f} min left"

    def line(self, progress: Progress, steps: int, seconds: int) -> str:
        """What a look found, for the log.

        Args:
            progress: of the look.
            steps: of the schedule.
            seconds: taken so far, over all parts.
        """
        ious = "".join(f"  {name} IoU {iou:.3f}" for name, iou in progress.isa_iou.items())
        terms = "".join(f"  {name} {value:.3f}" for name, value in progress.terms.items())
        left = self.left(progress.step, steps)
        return f"step {progress.step}/{steps}  loss {progress.loss:.3f}{terms}{ious}  {seconds} s{left}"
