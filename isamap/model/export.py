"""A model as one file that runs without isamap: reflectance in, settled probability out.

The exported program holds everything between: what counts as seen, scaling, network, settling, calibration. Its input
has a fixed size, its batch any. What lies beyond the edge of a raster its user fills in: mirrored, as isamap does.
"""

import io
import json
import logging
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from isamap.domain.bands import MAX_REFLECTANCE
from isamap.domain.calibration import Calibration
from isamap.errors import ConfigError
from isamap.model import settling
from isamap.model.networks import Network, crop

OPSET = 18
"""Of ONNX: what runtimes of the last years read."""
FACTS = "isamap"
"""Under which a program holds what its user must know, as JSON: ONNX metadata, or an extra file of a .pt2."""


class Deployed(nn.Module):
    """`(n, band, y, x)` reflectance and presence to `(n, outputs, Y, X)` probability without halo, NaN where nothing is seen.

    That of ISA alone is calibrated; of a class scheme each class keeps the network's own. A pixel is seen where every
    band is present that the network cannot do without; what reflectance is elsewhere does not matter.
    """

    def __init__(self, network: Network, calibration: Calibration | None = None) -> None:
        super().__init__()
        config = network.config
        self.network = network
        self.calibration = calibration if config.outputs == 1 else None
        self.halo_px = settling.halo_of(network)
        self.needed = [at for at, band in enumerate(config.bands) if band not in config.optional]

    def forward(self, reflectance: Tensor, present: Tensor) -> Tensor:
        """Probabilities; `present` is 1 where a band is real, else 0."""
        network, scale = self.network, self.network.config.scale
        seen = present[:, self.needed].amin(dim=1, keepdim=True)
        present = present * seen
        reflectance = torch.where(present > 0, reflectance.clamp(max=MAX_REFLECTANCE), 0.0)
        logits = network.forward_with_image(network.config.prepare(reflectance, present))[0]
        rim = (self.halo_px - 1) * scale
        fine = logits[..., rim : logits.shape[-2] - rim, rim : logits.shape[-1] - rim]
        settled = settling.calibrated(settling.settle(settling.activate(fine), scale), self.calibration)
        inside = interpolate(crop(seen, self.halo_px), scale_factor=float(scale), mode="nearest")
        return torch.where(inside > 0, settled, torch.nan)


def example(network: Network, window_px: int) -> tuple[Tensor, Tensor]:
    """Input of the exported program: a window with its halo, two of them."""
    side = window_px + 2 * settling.halo_of(network)
    shape = (2, len(network.config.bands), side, side)
    return torch.full(shape, 0.1), torch.ones(shape)


def export(
    network: Network,
    kind: Literal["torch", "onnx"],
    window_px: int,
    calibration: Calibration | None = None,
    facts: Mapping[str, Any] | None = None,
) -> bytes:
    """The program as a file: `torch.export`'s .pt2, or ONNX.

    Args:
        network: in float32 on the CPU.
        kind: of file.
        window_px: side of the window in input pixels, without halo; a multiple of 8.
        calibration: of its card.
        facts: that the program shall hold as JSON, under `FACTS`.

    Raises:
        ConfigError: ONNX was asked for and its libraries are not installed.
    """
    makers: dict[str, Callable[[Deployed, int, str], bytes]] = {"torch": _torch, "onnx": _onnx}
    return makers[kind](Deployed(network.eval(), calibration), window_px, json.dumps(facts or {}))


def _program(deployed: Deployed, window_px: int) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=1, max=4096)
    shapes = {"reflectance": {0: batch}, "present": {0: batch}}
    return torch.export.export(
        deployed, example(deployed.network, window_px), dynamic_shapes=shapes, strict=False
    )


def _torch(deployed: Deployed, window_px: int, facts: str) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(_program(deployed, window_px), buffer, extra_files={FACTS: facts})
    return buffer.getvalue()


def _onnx(deployed: Deployed, window_px: int, facts: str) -> bytes:
    try:
        import onnx  # torch imports it late and says less when it is missing
        import onnxscript  # noqa: F401
    except ImportError as fault:
        raise ConfigError(
            f"--format onnx needs onnx and onnxscript: pip install 'isamap[export]' ({fault})"
        ) from fault
    talk = logging.getLogger("torch.onnx")
    level = talk.level
    talk.setLevel(logging.ERROR)  # it reports that torchvision, which nobody needs, is not there
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's own
            made = torch.onnx.export(
                _program(deployed, window_px),
                (),
                input_names=["reflectance", "present"],
                output_names=["probability"],
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    finally:
        talk.setLevel(level)
    assert made is not None
    document = made.model_proto
    onnx.helper.set_model_props(document, {FACTS: facts})
    content: bytes = document.SerializeToString()
    return content
