"""Pictures of a training run: its curves, and samples of what the network makes."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from isamap.io.sheet import SERIES, Heading, finish, label, new_sheet, plain_axes

GAP_PX, TITLE_PX = 8, 18
INK, PAPER = (40, 40, 40), (255, 255, 255)


def curves(log: Sequence[dict[str, Any]]) -> bytes:
    """PNG of the loss with its terms, and of the IoU on each validation ground, over the steps of a run.

    Args:
        log: one entry per look: `step`, `loss`, `terms`, `isa_iou`.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    sheet = new_sheet(5.2)
    upper, lower = sheet.subplots(2, 1, sharex=True)
    steps = [entry["step"] for entry in log]
    for axes, key, rest, title in (
        (upper, "loss", "terms", "training loss"),
        (lower, "mean_iou", "isa_iou", "ISA IoU on validation ground"),
    ):
        plain_axes(axes, "y")
        axes.plot(
            steps, [entry[key] for entry in log], color=SERIES[0], linewidth=2, label=key.replace("_", " ")
        )
        for number, name in enumerate(
            sorted({name for entry in log for name in entry.get(rest, {})}), start=1
        ):
            values = [entry.get(rest, {}).get(name, np.nan) for entry in log]
            axes.plot(steps, values, color=SERIES[number % len(SERIES)], linewidth=1, label=label(name))
        axes.set_ylabel(title)
        axes.legend(frameon=False, fontsize=7)
    lower.set_xlabel("step")
    return finish(sheet, Heading("training", "Training"), "Training loss and validation IoU over steps.").png


def side_by_side(panels: Sequence[tuple[str, NDArray[np.uint8]]]) -> bytes:
    """PNG of several pictures `(Y, X, 3)` in a row, each under its name."""
    height = max(picture.shape[0] for _, picture in panels)
    width = sum(picture.shape[1] for _, picture in panels) + GAP_PX * (len(panels) - 1)
    canvas = Image.new("RGB", (width, height + TITLE_PX), PAPER)
    pen, font, left = ImageDraw.Draw(canvas), ImageFont.load_default(12), 0
    for name, picture in panels:
        pen.text((left + 2, 2), name, INK, font)
        canvas.paste(Image.fromarray(picture), (left, TITLE_PX))
        left += picture.shape[1] + GAP_PX
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()
