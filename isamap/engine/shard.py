"""Which tiles belong to one of several runs that share the work, as the tasks of a Slurm array do."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self, TypeVar

from isamap.errors import ConfigError

Job = TypeVar("Job")
MAX_COUNT = 10_000


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`, from 1."""

    index: int
    """Which one."""
    count: int
    """How many there are."""

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count <= MAX_COUNT:
            raise ConfigError(
                f"there is no shard {self.index}/{self.count}: count from 1, as in 1/{max(self.count, 1)}; "
                "a Slurm array that begins with 0 needs --array=1-N"
            )

    def __str__(self) -> str:
        return f"{self.index}-of-{self.count}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The shard that `2/8` names.

        Raises:
            ConfigError: it names none.
        """
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip(), re.ASCII)
        if match is None:
            raise ConfigError(f"{text[:40]!r} is no shard: write I/N, as in 2/8")
        return cls(int(match[1]), int(match[2]))

    def own(self, jobs: Iterable[Job], name: Callable[[Job], str] = str) -> list[Job]:
        """The jobs of this shard: every count-th in the order of their names.

        Every job belongs to exactly one shard, numbers differ by one at most, and the order in which jobs are given
        does not matter. Neighbours go to different shards: empty sea and finished corners are spread over all.
        """
        return sorted(jobs, key=name)[self.index - 1 :: self.count]
