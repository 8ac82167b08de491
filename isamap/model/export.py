"""A model as one file that runs without isamap: reflectance in, settled probability out.

The exported program holds everything between: scaling, network, settling. Its input has a fixed size, its batch any.
"""

import io
import logging
import warnings
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from isamap.domain.calibration import Calibration
from isamap.errors import ConfigError
from isamap.model import settling
from isamap.model.networks import Network

OPSET = 18
"""Of ONNX: what runtimes of the last years read."""


class Deployed(nn.Module):
    """`(n, band, y, x)` reflectance and presence to `(n, outputs, Y, X)` probability without halo.

    That of ISA alone is calibrated; of a class scheme each class keeps the network's own.
    """

    def __init__(self, network: Network, calibration: Calibration | None = None) -> None:
        super().__init__()
        self.network = network
        self.calibration = calibration if network.config.outputs == 1 else None
        self.halo_px = settling.halo_of(network)

    def forward(self, reflectance: Tensor, present: Tensor) -> Tensor:
        """Probabilities; `present` is 1 where a band is real, else 0."""
        network, scale = self.network, self.network.config.scale
        logits = network.forward_with_image(network.config.prepare(reflectance, present))[0]
        rim = (self.halo_px - 1) * scale
        fine = logits[..., rim : logits.shape[-2] - rim, rim : logits.shape[-1] - rim]
        return settling.calibrated(settling.settle(settling.activate(fine), scale), self.calibration)


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
) -> bytes:
    """The program as a file: `torch.export`'s .pt2, or ONNX.

    Args:
        network: in float32 on the CPU.
        kind: of file.
        window_px: side of the window in input pixels, without halo; a multiple of 8.
        calibration: of its card.

    Raises:
        ConfigError: ONNX was asked for and its libraries are not installed.
    """
    makers: dict[str, Callable[[Deployed, int], bytes]] = {"torch": _torch, "onnx": _onnx}
    return makers[kind](Deployed(network.eval(), calibration), window_px)


def _program(deployed: Deployed, window_px: int) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=1, max=4096)
    shapes = {"reflectance": {0: batch}, "present": {0: batch}}
    return torch.export.export(
        deployed, example(deployed.network, window_px), dynamic_shapes=shapes, strict=False
    )


def _torch(deployed: Deployed, window_px: int) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(_program(deployed, window_px), buffer)
    return buffer.getvalue()


def _onnx(deployed: Deployed, window_px: int) -> bytes:
    try:
        import onnx  # noqa: F401  # torch imports it late and says less when it is missing
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
    content: bytes = made.model_proto.SerializeToString()
    return content
