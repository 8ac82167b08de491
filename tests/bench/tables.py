"""Tables that a bench writes into a page of the documentation, between two marks of its own."""

import argparse
import os
import platform
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path


def keep(path: Path, name: str, lines: Iterable[str]) -> None:
    """Replace what stands between `<!-- NAME -->` and `<!-- end of NAME -->`."""
    head, mark, rest = path.read_text(encoding="utf-8").partition(f"<!-- {name} -->\n")
    _, end, tail = rest.partition(f"<!-- end of {name} -->")
    if not mark or not end:
        raise SystemExit(f"{path} has no marks for {name}")
    path.write_text(head + mark + "\n" + "\n".join(lines) + "\n\n" + end + tail, encoding="utf-8")


def of_runs(
    parser: argparse.ArgumentParser, name: str, report: Callable[[Path, Path], Iterable[str]]
) -> argparse.Namespace:
    """Command of a bench over training runs: prints the tables, and keeps them under `name` where asked.

    Args:
        parser: with what the bench asks for beside `runs`, `--data` and `--write`.
        name: of the marks.
        report: lines from the folders of data and runs.

    Returns:
        What was asked.
    """
    parser.add_argument("runs", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--write", type=Path)
    args = parser.parse_args()
    lines = list(report(args.data, args.runs))
    print("\n".join(lines))
    if args.write:
        keep(args.write, name, lines)
    return args


def machine() -> str:
    """What the figures were measured on."""
    return f"Measured on {platform.machine()}, {os.cpu_count()} cores."


def row(*cells: object) -> str:
    """A Markdown table row; floats with three digits."""
    texts = [f"{c:.3f}" if isinstance(c, float) else str(c) for c in cells]
    return "| " + " | ".join(texts) + " |"


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """A Markdown table, line by line."""
    yield row(*heads)
    yield row(*["---"] * len(heads))
    for cells in rows:
        yield row(*cells)


def ratio(over: Sequence[float], under: Sequence[float]) -> str:
    """Two cells: the median of the ratios of rounds, and their range."""
    ratios = [a / b for a, b in zip(over, under, strict=True)]
    return f"{statistics.median(ratios):.2f} | {min(ratios):.2f}-{max(ratios):.2f}"
