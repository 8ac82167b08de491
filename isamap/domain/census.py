"""Which maps of an area were made how: those that differ are named."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from isamap.domain.audit import Finding

NAMED = 3
"""Tiles that a line about many tiles names."""


@dataclass
class Census:
    """Which tiles were made how; memory grows with the kinds, not with the tiles."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    named: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def add(self, tile: str, traits: Mapping[str, str]) -> None:
        """One more tile."""
        for trait, value in traits.items():
            self.counts.setdefault(trait, Counter())[value] += 1
            names = self.named.setdefault((trait, value), [])
            if len(names) < NAMED:
                names.append(tile)

    def findings(self) -> Iterator[Finding]:
        """A finding for each trait in which tiles differ."""
        for trait, counts in self.counts.items():
            if len(counts) < 2:
                continue
            (usual, number), *others = counts.most_common()
            groups = [f"{_short(usual)} in {number}"]
            for value, count in others:
                names = self.named[trait, value]
                more = ", ..." if count > len(names) else ""
                groups.append(f"{_short(value)} in {count} ({', '.join(names)}{more})")
            todo = "run isamap infer with the same options over the whole area"
            yield Finding("-", "mixed", f"maps differ in {trait}: {'; '.join(groups)}", todo)


def _short(value: str) -> str:
    """A digest by its first characters."""
    return value[:12] if len(value) == 64 else value


def traits_of(item: Mapping[str, Any]) -> dict[str, str]:
    """What tiles of one map have in common: model, weights, threshold, settings, version, rasters."""
    properties = item["properties"]
    model, provenance = properties["isamap:model"], properties["isamap:provenance"]
    return {
        "model": f"{model.get('name')} {model.get('version')}",
        "weights": str(provenance["model"]),
        "threshold": f"{model['threshold']:g}",
        "settings": str(provenance["settings"]),
        "version": str(provenance["code"]),
        "rasters": "+".join(sorted(item["assets"])),
    }
