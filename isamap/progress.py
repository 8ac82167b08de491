"""Progress for people: a bar on a terminal, nothing elsewhere (log lines say enough there)."""

import sys
from types import TracebackType
from typing import Self

from tqdm import tqdm


class Progress:
    """A bar on stderr with the time left; silent unless stderr is a terminal."""

    def __init__(self, total: float, unit: str, label: str, *, show: bool = True) -> None:
        self._bar = tqdm(
            total=total,
            unit=unit,
            desc=label,
            file=sys.stderr,
            disable=None if show else True,
            dynamic_ncols=True,
            leave=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def advance(self, amount: float = 1) -> None:
        """That much more is done."""
        self._bar.update(amount)
