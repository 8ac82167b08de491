"""Which shards of a chip store can teach a network, and what they cannot teach it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from isamap.domain.classes import UNLABELLED
from isamap.errors import InputError
from isamap.io.chipstore import ChipStore

log = logging.getLogger(__name__)

LABEL_BYTES = 4
"""Of a fine pixel: a label and three colours."""
BAND_BYTES = 5
"""Of a pixel in one band: reflectance and presence."""


@dataclass(frozen=True)
class Needs:
    """What a network asks of a shard."""

    bands: tuple[str, ...]
    """Those it reads."""
    scale: int
    """Label pixels per input pixel and side."""
    scheme: str
    """Classes of its labels."""


def teachers(chips: ChipStore, asked: Sequence[str], needs: Needs) -> list[str]:
    """The shards that are asked for, or, if none is, all that fit; warns where their labels are of one class.

    Raises:
        InputError: one that is asked for does not fit, none fits, or the network sees nothing of one.
    """

    def fits(name: str) -> bool:
        shard = chips.sources.get(name)
        return shard is not None and (shard.scale, shard.scheme) == (needs.scale, needs.scheme)

    names = list(asked) or [name for name in chips.sources if fits(name)]
    wrong = [name for name in names if not fits(name)]
    if wrong or not names:
        raise InputError(
            f"{chips.folder} has no source {' '.join(wrong) or 'at all'} of scale {needs.scale} "
            f"and class scheme {needs.scheme}"
        )
    check_bands(chips, names, needs.bands)
    found = {code for name in names for code in chips.sources[name].counts if int(code) != UNLABELLED}
    if len(found) == 1:
        log.warning("%s: every label is of class %s: they teach no difference", chips.folder, *found)
    return names


def check_bands(chips: ChipStore, names: Sequence[str], bands: Sequence[str]) -> None:
    """Refuse imagery of which a network sees nothing.

    Raises:
        InputError: a shard has none of the bands, or is not there.
    """
    for name in names:
        if name not in chips.sources:
            raise InputError(f"{chips.folder} has no source {name}")
        there = chips.sources[name].bands
        if not set(bands) & set(there):
            raise InputError(
                f"{chips.folder}: {name} holds {', '.join(there)}: {', '.join(bands)} missing, which are all that the "
                "network reads: tile it with its bands named"
            )


def ground_bytes(chips: ChipStore, name: str, bands: int) -> int:
    """Memory that a shard takes when it is read whole."""
    shard = chips.sources[name]
    height, width = shard.shape
    return height * width * (BAND_BYTES * bands + shard.scale**2 * LABEL_BYTES)
