"""How much faster `Confusion.count` is than four boolean masks and count_nonzero, measured side by side.

CPU seconds of interleaved rounds on one thread: medians and spreads. Two raster sizes (one window of
256 x 256 input pixels, one of 512 x 512), complete ground and ground with gaps: scattered single pixels (the worst
case: every block has some) and a swath edge (what a scene's border looks like).

    python tests/bench/confusion.py [--rounds 15] [--side 2560 5120]
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np

from isamap.domain.accuracy import Confusion

Case = tuple[str, np.ndarray, np.ndarray]


def four_masks(mapped: np.ndarray, reference: np.ndarray) -> Confusion:
    """The plain way: a boolean mask per cell of the matrix."""
    isa, rest, truth, other = mapped == 1, mapped == 0, reference == 1, reference == 0
    cells = (isa & truth, isa & other, rest & truth, rest & other)
    return Confusion(*(float(np.count_nonzero(cell)) for cell in cells))


def cases(side: int) -> Iterator[Case]:
    """Maps and references, `side` x `side` uint8, a third of them ISA."""
    rng = np.random.default_rng(1)
    mapped, reference = ((rng.random((side, side)) < 0.3).astype(np.uint8) for _ in range(2))
    yield "complete", mapped, reference
    swath = reference.copy()
    swath[np.add.outer(np.arange(side), np.arange(side) // 4) < side // 2] = 255
    yield "swath edge", mapped, swath
    scattered = reference.copy()
    scattered[rng.random((side, side)) < 0.1] = 255
    yield "scattered gaps", mapped, scattered


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def compare(case: Case, rounds: int) -> dict[str, float]:
    """Medians of both ways on one case, interleaved, and the quartiles of their ratio."""
    _, mapped, reference = case
    if four_masks(mapped, reference) != Confusion.count(mapped, reference):
        raise AssertionError("the two ways disagree")
    plain, fast = [], []
    for _ in range(rounds):
        plain.append(cpu_seconds(lambda: four_masks(mapped, reference)))
        fast.append(cpu_seconds(lambda: Confusion.count(mapped, reference)))
    ratios = statistics.quantiles([p / f for p, f in zip(plain, fast, strict=True)], n=4)
    nanoseconds = [1e9 * statistics.median(times) / mapped.size for times in (plain, fast)]
    return {
        "four_masks_ns_per_px": nanoseconds[0],
        "count_ns_per_px": nanoseconds[1],
        "ratio": nanoseconds[0] / nanoseconds[1],
        "ratio_low": ratios[0],
        "ratio_high": ratios[2],
    }


def measure(rounds: int = 15, sides: tuple[int, ...] = (2560, 5120)) -> dict[str, dict[str, float]]:
    """Every case under its name: nanoseconds per pixel of both ways, their ratio and its quartiles."""
    return {f"{case[0]}, {side} px": compare(case, rounds) for side in sides for case in cases(side)}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--side", type=int, nargs="+", default=[2560, 5120])
    arguments = parser.parse_args()
    print(f"{'case':28}{'four masks':>12}{'count':>10}   ratio (quartiles)")
    for name, figures in measure(arguments.rounds, tuple(arguments.side)).items():
        print(
            f"{name:28}{figures['four_masks_ns_per_px']:9.3f} ns{figures['count_ns_per_px']:7.3f} ns"
            f"   {figures['ratio']:.1f} ({figures['ratio_low']:.1f}-{figures['ratio_high']:.1f})"
        )


if __name__ == "__main__":
    main()
