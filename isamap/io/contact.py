"""The contact sheet of a chip store: some chips of each split, input, fine image and labels side by side."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from isamap.domain.chips import ChipRow, ShardRow
from isamap.domain.classes import UNLABELLED, scheme_of
from isamap.domain.splits import CODES
from isamap.io.chipstore import ChipArrays, ChipStore
from isamap.io.store import storage_errors
from isamap.io.strangers import signature

SIDE_PX, GAP_PX, LINE_PX = 160, 6, 18
ACROSS, PER_SPLIT = 3, 12
"""Chips beside each other, and of each split at most."""
INK, PAPER, SILENT = (40, 40, 40), (255, 255, 255), (200, 205, 210)
TRUE_COLOUR = ("B04", "B03", "B02")


def write_contact(path: Path, chips: ChipStore) -> None:
    """PNG with chips of each split, spread from the least to the most impervious.

    Args:
        path: of the picture.
        chips: entered.
    """
    rows = [row for split in CODES if split for row in spread(chips.select(split), PER_SPLIT)]
    width = ACROSS * (3 * SIDE_PX + 3 * GAP_PX) + GAP_PX
    height = (SIDE_PX + LINE_PX + GAP_PX) * max(1, -(-len(rows) // ACROSS)) + GAP_PX
    sheet = Image.new("RGB", (width, height), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    for number, chip in enumerate(rows):
        left = GAP_PX + (number % ACROSS) * (3 * SIDE_PX + 3 * GAP_PX)
        top = GAP_PX + (number // ACROSS) * (SIDE_PX + LINE_PX + GAP_PX)
        shard = chips.sources[chip.source]
        for column, picture in enumerate(_pictures(chips.read(chip, _bands(shard)), shard)):
            sheet.paste(picture, (left + column * (SIDE_PX + 2), top))
        share = "" if chip.isa_share is None else f"  ISA {chip.isa_share:.0%}"
        text = f"{chip.split}  {chip.source} {chip.row},{chip.col}{share}"
        draw.text((left, top + SIDE_PX + 2), text[:72], fill=INK, font=font)
    with storage_errors(path):
        sheet.save(path, format="PNG", compress_level=6, pnginfo=signature())


def spread(chips: Sequence[ChipRow], count: int) -> list[ChipRow]:
    """So many chips at even steps of impervious share."""
    ordered = sorted(chips, key=lambda chip: (chip.isa_share or 0.0, chip.id))
    places = np.unique(np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int))
    return [ordered[place] for place in places.tolist()]


def _bands(shard: ShardRow) -> tuple[str, ...]:
    """True colour, or the first band where there is none."""
    return TRUE_COLOUR if set(TRUE_COLOUR) <= set(shard.bands) else (shard.bands[0],) * 3


def _pictures(arrays: ChipArrays, shard: ShardRow) -> list[Image.Image]:
    """Input, fine image and labels; grey where there is none."""
    shown = [_stretched(arrays.lr, arrays.present)]
    shown.append(_blank() if arrays.hr is None else _picture(arrays.hr))
    if not shard.has_labels:
        return [*shown, _blank()]
    table = np.full((256, 3), 255, np.uint8)
    for one in scheme_of(shard.scheme).classes:
        table[one.code] = one.colour
    table[UNLABELLED] = SILENT
    return [*shown, _sized(table[arrays.labels], Image.Resampling.NEAREST)]


def _stretched(lr: NDArray[np.float32], present: NDArray[np.bool_]) -> Image.Image:
    """Imagery between its 2nd and 98th percentile."""
    there = lr[present]
    low, high = np.percentile(there, (2, 98)) if there.size else (0.0, 1.0)
    bright = np.clip((lr - low) / max(float(high - low), 1e-6) * 255, 0, 255)
    return _sized(
        np.where(present, bright, 255).astype(np.uint8).transpose(1, 2, 0), Image.Resampling.NEAREST
    )


def _picture(hr: NDArray[np.uint8]) -> Image.Image:
    """The fine image, grey where there is none."""
    silent = np.array(SILENT, np.uint8)[:, None, None]
    return _sized(np.where(hr.any(axis=0), hr, silent).transpose(1, 2, 0))


def _sized(values: NDArray[np.uint8], resampling: Image.Resampling = Image.Resampling.BOX) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(values)).resize((SIDE_PX, SIDE_PX), resampling)


def _blank() -> Image.Image:
    return Image.new("RGB", (SIDE_PX, SIDE_PX), SILENT)
