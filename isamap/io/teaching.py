"""Which shards of a chip store can teach a network, and what they cannot teach it."""

import logging
from collections.abc import Collection, Sequence
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
    optional: tuple[str, ...]
    """Those of them that it can do without."""
    scale: int
    """Label pixels per input pixel and side."""
    scheme: str
    """Classes of its labels."""


def teachers(chips: ChipStore, asked: Sequence[str], needs: Needs) -> list[str]:
    """The shards that are asked for, or, if none is, all that fit; warns where their labels are of one class.

    Raises:
        InputError: one that is asked for does not fit, none fits, or one lacks bands that the network needs.
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
    check_bands(chips, names, needs.bands, needs.optional)
    found = {code for name in names for code in chips.sources[name].counts if int(code) != UNLABELLED}
    if len(found) == 1:
        log.warning("%s: every label is of class %s: they teach no difference", chips.folder, *found)
    return names


def check_bands(
    chips: ChipStore, names: Sequence[str], bands: Sequence[str], optional: Collection[str]
) -> None:
    """Refuse imagery that lacks bands which a network needs; say which others it lacks.

    Simulated imagery has the bands of the colours that it is made of, whatever the network needs.

    Args:
        chips: the store.
        names: of its shards.
        bands: that the network reads.
        optional: those of them that it can do without.

    Raises:
        InputError: a shard lacks a band that it must have, has none at all, or is not there.
    """
    lacking: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        if name not in chips.sources:
            raise InputError(f"{chips.folder} has no source {name}")
        shard = chips.sources[name]
        missing = [band for band in bands if band not in shard.bands]
        needed = [band for band in missing if band not in optional and not shard.simulated]
        if len(missing) == len(bands) or needed:
            raise InputError(
                f"{chips.folder}: {name} holds {', '.join(shard.bands)}: {', '.join(needed or missing)} missing, which "
                "the network needs: tile it with these bands, or with its bands named"
            )
        if missing:
            lacking.setdefault(tuple(missing), []).append(name)
    for absent, whose in lacking.items():
        log.info(
            "%s: %s without %s (%d of %d sources): the network learns there without them",
            *(chips.folder, whose[0], ", ".join(absent), len(whose), len(names)),
        )


def ground_bytes(chips: ChipStore, name: str, bands: int) -> int:
    """Memory that a shard takes when it is read whole."""
    shard = chips.sources[name]
    height, width = shard.shape
    return height * width * (BAND_BYTES * bands + shard.scale**2 * LABEL_BYTES)
