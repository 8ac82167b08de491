"""A folder that a run writes to: held alone, or together with the runs of other shards."""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from isamap.io.claims import claim, claim_path
from isamap.io.holders import RUN_LOCK
from isamap.io.locks import lock
from isamap.io.sweeping import sweep

SWEEP_S = 1.0
"""A sweep holds a claim for a moment to see whether it is dead."""
SHARD = "shard "
"""Begins the name of a shard's claim: no product has a blank in its name."""


@contextmanager
def occupy(directory: Path, *, shard: str | None = None, wait: bool = False) -> Iterator[None]:
    """Hold a folder for the length of the block, cleared of what dead runs left; live ones are not touched.

    It is cleared once more at the end: workers of this run may have died, and nobody else may come.

    A run without shard has the folder for itself. Runs of shards share it: each claims its shard, and every process
    claims the product that it makes, so shards of different countings or areas may work side by side too.

    Args:
        directory: the folder.
        shard: `2-of-8`; None holds the folder alone.
        wait: wait for other runs instead of refusing.

    Raises:
        BusyError: another run holds the folder, or works on this shard.
        StorageError: the disk refuses.
    """
    with ExitStack() as held:
        held.enter_context(
            lock(directory / RUN_LOCK, wait=wait, what=str(directory), shared=shard is not None)
        )
        if shard is not None:
            held.enter_context(
                claim(
                    claim_path(directory, SHARD + shard),
                    f"shard {shard} of {directory}",
                    math.inf if wait else SWEEP_S,
                )
            )
        sweep(directory)
        yield
        sweep(directory)
