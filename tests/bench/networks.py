"""What the benches run: `fast`, a stress model that makes everything but arithmetic count, and both as most would run them."""

from pathlib import Path

import numpy as np
import rasterio
import torch
from rasterio.windows import Window
from torch import Tensor, nn

from isamap.engine.pages import keep_pages
from isamap.model.checkpoint import find, load, pack
from isamap.model.networks import MODELS, NetworkConfig, ResidualBlock, ThinConv, build
from isamap.model.networks.fast import Fast
from isamap.model.settling import halo_of, settle

PART = Window(200, 300, 130, 130)
"""Of the scene, town, river and fields: what the stress model learns from."""
STEPS, CHIP_PX = 60, 48


class Stress(Fast):
    """0.13 million multiply-adds per input pixel, a seventeenth of `fast`: a forward pass that hides nothing."""

    mid = 16
    fine = 4
    head_radius_px = 3
    strip_px = 192

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.at_5m = nn.Sequential(ResidualBlock(self.mid))
        self.to_1m.conv = nn.Conv2d(self.mid, self.fine * (config.scale // 2) ** 2, 1)
        self.at_1m = ThinConv(self.fine, self.fine, 3)
        self.isa = ThinConv(self.fine, config.outputs, 1)


MODELS["stress"] = Stress


def stress(folder: Path, scene: Path) -> Path:
    """Weights of a `Stress` that has learnt a little from `fast`, so that its maps compress as maps do."""
    keep_pages()
    teacher = Eager(find("fast"))
    config = teacher.config.model_copy(update={"name": "stress", "channels": 32, "blocks": 4})
    with rasterio.open(scene, driver="GTiff") as src:
        x = teacher.prepare(src.read(window=PART)[None])
    wanted = teacher.probability(x)[:, None].clone()
    torch.manual_seed(0)
    network = build(config).train()
    optimiser = torch.optim.Adam(network.parameters(), 4e-3)
    for step in range(STEPS):
        top, left = (step * stride % (PART.height - CHIP_PX - 2) for stride in (37, 53))
        chip = x[..., top : top + CHIP_PX + 2, left : left + CHIP_PX + 2]
        fine = wanted[..., 10 * top : 10 * (top + CHIP_PX), 10 * left : 10 * (left + CHIP_PX)]
        made = network(chip)[..., 10:-10, 10:-10]
        loss = nn.functional.binary_cross_entropy_with_logits(made, fine)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        optimiser.step()
    own = {"name": "stress", "network": config.model_dump(mode="json")}
    weights, text = pack(network.state_dict(), teacher.card.model_dump(mode="json") | own)
    path = folder / "stress.safetensors"
    path.write_bytes(weights)
    path.with_suffix(".json").write_bytes(text)
    return path


class Eager:
    """A model in float32, channels first, all of a patch at once."""

    def __init__(self, weights: Path) -> None:
        self.card, self.network = load(weights)
        self.config = self.card.network
        self.halo_px = halo_of(self.network)

    def prepare(self, dn: np.ndarray) -> Tensor:
        """Network input of integer values `(n, band, y, x)`, 0 where there is nothing."""
        lr = torch.from_numpy(dn.astype(np.float32) / 10_000)
        return self.config.prepare(lr, torch.from_numpy(dn != 0))

    @torch.inference_mode()
    def probability(self, x: Tensor) -> Tensor:
        """ISA probability `(n, Y, X)`, without one input pixel on every side."""
        network = self.network
        logits = network.isa(network.refine(network.at_10m(x)))
        return settle(torch.sigmoid(logits), self.config.scale)[:, 0]
