"""What models cost: parameters, arithmetic, and measured time beside that of `fast`."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import tables
import torch
from accuracy_ground import BANDS, Area
from accuracy_models import Linear, Model, stored

from isamap.model import settling
from isamap.model.device import dtype_of
from isamap.model.networks import cost_macs

ROUNDS = 5
SIDE_PX, HEAVY_SIDE_PX = 128, 32
"""Sides of what is mapped in one go; the smaller one for networks of more than `HEAVY` multiply-adds a pixel."""
HEAVY = 30e6
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Runner:
    """One way to make a map, ready to be timed."""

    name: str
    parameters: int
    macs: float
    """Multiply-adds per input pixel."""
    run: Callable[[], object]
    km2: float
    """That one run maps."""

    def seconds(self) -> float:
        """CPU seconds per km2 of one run."""
        begun = time.process_time()
        self.run()
        return (time.process_time() - begun) / self.km2


def runner(model: Model, ground: Area) -> Runner:
    """The network as `infer` runs it on this CPU, settling included, without halo and files."""
    macs, stride = cost_macs(model.network), model.network.stride_px
    side = (SIDE_PX if macs < HEAVY else HEAVY_SIDE_PX) // stride * stride
    lr, present = (torch.from_numpy(part[None, :, :side, :side]) for part in ground.of(model.bands))
    dtype, config = dtype_of(CPU), model.card.network
    network = stored_again(model).to(dtype=dtype, memory_format=torch.channels_last)
    x = config.prepare(lr, present).to(dtype).contiguous(memory_format=torch.channels_last)

    def run() -> None:
        with torch.inference_mode():
            settling.settle(settling.activate(network(x)), config.scale)

    count = sum(parameter.numel() for parameter in network.parameters())
    return Runner(f"**{model.name}**", count, macs, run, side**2 / 1e4)


def stored_again(model: Model) -> torch.nn.Module:
    """A copy of the network, to be turned to another precision."""
    copy = type(model.network)(model.card.network)
    copy.load_state_dict(model.network.state_dict())
    return copy.eval()


def cost_table(models: Sequence[Model], linear: Linear, ground: Area) -> Iterator[str]:
    """Parameters, multiply-adds and CPU time; rounds are interleaved, ratios are medians of the rounds'."""
    lr = ground.of(BANDS)[0][:, :SIDE_PX, :SIDE_PX]
    size = linear.weights.size
    ways = [Runner(linear.name, size, size, lambda: linear.predict(lr), SIDE_PX**2 / 1e4)]
    ways += [runner(model, ground) for model in models]
    yardstick = runner(stored("fast"), ground)
    for way in (yardstick, *ways):
        way.run()
    rounds = [(yardstick.seconds(), [way.seconds() for way in ways]) for _ in range(ROUNDS)]
    rows = []
    for index, way in enumerate(ways):
        took = [each[index] for _, each in rounds]
        ratios = [each[index] / unit for unit, each in rounds]
        spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
        figures = f"{way.parameters:,}", f"{way.macs / 1e6:.2f}"
        rows.append(
            (way.name, *figures, f"{statistics.median(ratios):.2f} ({spread})", statistics.median(took))
        )
    heads = ("map", "parameters", "MMAC per input pixel", "CPU time, packaged `fast` = 1", "CPU s per km2")
    yield from tables.table(heads, rows)
