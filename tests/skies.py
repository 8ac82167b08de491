"""A year of scenes of one tile, the catalogue that offers them and the server that keeps them, for tests of fetch."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from scenery.ground import bundled
from scenery.scenes import Scenery, make_scenes, year_of_looks
from scenery.servers import Faults, RangeServer
from scenery.stac import StacApp

C1 = "sentinel-2-c1-l2a"
YEAR = 2021


def make(folder: Path, dates: int = 5, shapes: Sequence[str] = (C1,)) -> Scenery:
    """Scenes over the bundled ground, half of them cloudy in part; nothing but the repository is needed."""
    looks = year_of_looks(YEAR, dates, cloudy=0.5, cover=0.4, seed=3)
    return make_scenes(folder, bundled("main"), looks, shapes=shapes, real_weather=False)


@dataclass(frozen=True)
class Sky:
    """A catalogue at work."""

    made: Scenery
    """Scenes and truth."""
    api: StacApp
    """The catalogue."""
    files: RangeServer
    """Where pixels lie."""

    @property
    def tile(self) -> str:
        """The tile that the scenes cover."""
        return str(self.made.tile)

    @property
    def source(self) -> str:
        """What --source says."""
        return f"{self.api.url}#{C1}"

    @property
    def host(self) -> str:
        """What --allow-host says."""
        return self.files.url.removeprefix("http://").rstrip("/")

    @property
    def where(self) -> tuple[str, ...]:
        """Options that name both servers."""
        return ("--source", self.source, "--allow-host", self.host)

    def arguments(self, workspace: Path, *more: object) -> tuple[str, ...]:
        """Options of a run over the tile."""
        own = ("--tiles", self.tile, "--year", YEAR, "--workspace", workspace)
        return tuple(map(str, (*own, *self.where, *more)))


@contextmanager
def serve(
    made: Scenery,
    *,
    items: Sequence[dict[str, Any]] | None = None,
    api: dict[str, Any] | None = None,
    faults: Faults | None = None,
    latency_s: float = 0,
) -> Iterator[Sky]:
    """The scenes in a catalogue on loopback; faults and latency are those of the pixel server."""
    with ExitStack() as stack:
        files = stack.enter_context(RangeServer(made.folder, faults=faults, latency_s=latency_s))
        catalogue = stack.enter_context(StacApp(**(api or {})))
        catalogue.publish(made.items(C1, files.url) if items is None else items)
        yield Sky(made, catalogue, files)


def folder_of(made: Scenery, folder: Path, year: int = YEAR) -> Path:
    """A folder that holds the scenes, each with its STAC item; or the same scenes as if they were of another year."""
    shutil.copytree(made.folder, folder)
    for item in made.items(C1, "."):
        item["properties"]["datetime"] = f"{year}{item['properties']['datetime'][4:]}"
        (folder / f"{item['id']}.json").write_text(json.dumps(item))
    return folder


def pixels(path: Path) -> np.ndarray:
    """All bands of a raster."""
    with rasterio.open(path) as src:
        return src.read()
