"""Pixels of scenes, wherever they lie: every asset of every scene of a tile, read side by side.

A read that fails after all attempts ends the tile: nothing is ever filled in for it. A file that is whole but not what
a scene is made of (another grid, another type, no raster) comes back as an InputError: that scene cannot be used.
"""

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from isamap.domain.grid import Window
from isamap.domain.scenes import SceneItem
from isamap.domain.sources import BANDS, SCL, Source
from isamap.domain.stack import Look
from isamap.errors import BusyError, InputError, MissingInputError, RemoteError
from isamap.io.asset import Choice, Directories, Part, Place, UndecodableError, fill, read
from isamap.io.header import DamagedError
from isamap.io.http import LIMITS, Client, Limits, Refused, client_of, shown
from isamap.io.placing import check_position, geobox_of, name_crs
from isamap.io.signing import Signers, user_endpoint

SPARE_THREADS = 4
"""Beyond one for each connection: they decode while the others wait."""
AHEAD = 3
"""Scenes that are begun while an earlier one is waited for, beyond those that keep all threads busy: 15 MB each."""


EMPTY = 416
"""The HTTP status of a file that has no first byte: a file is asked for from its beginning."""


@dataclass
class _Reading:
    """One scene on its way."""

    look: Look
    """Filled by the threads."""
    files: list[Future[None]] = field(default_factory=list)
    """One for each asset."""
    faults: dict[str, InputError] = field(default_factory=dict)
    """Why an asset cannot be used, by band."""


class ScenePixels:
    """Reads scenes of some sources. Use it in `with`; one per process."""

    def __init__(
        self,
        sources: Iterable[Source],
        *,
        limits: Limits = LIMITS,
        share: int = 1,
        named: Iterable[str] = (),
    ) -> None:
        """Prepare; nothing is asked yet.

        Args:
            sources: whose scenes will be read.
            limits: of every request.
            share: processes that read side by side; connections and rates are divided by it.
            named: `host` or `host:port` of servers that the user named besides those of the sources.
        """
        self._sources = {source.name: source for source in sources}
        self._options: dict[str, Any] = {"limits": limits, "share": share, "named": tuple(named)}
        self._clients: dict[str, tuple[Client, Signers]] = {}
        self._directories = Directories()
        self._lock = threading.Lock()
        connections = max((source.connections for source in self._sources.values()), default=1)
        self._threads = max(2, connections // share) + SPARE_THREADS
        self._pool = ThreadPoolExecutor(self._threads, "isamap-read")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop what is on its way."""
        self._stop()
        self._pool.shutdown(cancel_futures=True)

    def _stop(self) -> None:
        with self._lock:
            clients = [client for client, _ in self._clients.values()]
        for client in clients:
            client.close()

    def client(self, source: Source) -> Client:
        """The client of a source's servers; its catalogue is asked with it, too."""
        return self._of(source)[0]

    @property
    def requests(self) -> int:
        """Sent so far, to all servers."""
        return sum(client.requests for client, _ in self._clients.values())

    @property
    def received(self) -> int:
        """Bytes that came so far."""
        return sum(client.received for client, _ in self._clients.values())

    def looks(self, scenes: Sequence[SceneItem], geobox: GeoBox) -> Iterator[Look | InputError]:
        """Pixels of each scene on a 10 m grid, in the order of `scenes`.

        Args:
            scenes: of the sources given.
            geobox: the 10 m grid, in the scenes' own CRS; its edges are multiples of 20 m.

        Yields:
            The look, or why the scene cannot be used.

        Raises:
            RemoteError, BusyError, DamagedError: a file cannot be read; names scene, asset and window.
            StorageError: the disk refuses.
        """
        ahead = AHEAD + self._threads // (len(BANDS) + 1)
        waiting = iter(scenes)
        begun: deque[_Reading] = deque()
        try:
            for _ in scenes:
                while len(begun) < ahead and (scene := next(waiting, None)) is not None:
                    begun.append(self._begin(scene, geobox))
                yield _outcome(begun)
                begun.popleft()
        except (KeyboardInterrupt, SystemExit):
            self._stop()  # the process must end: no thread may go on waiting for a server
            raise
        finally:
            for reading in begun:
                for file in reading.files:
                    file.cancel()

    def raster(self, source: Source, href: str, collection: str = "") -> "Raster":
        """Any GeoTIFF, opened for reading windows of its first band.

        Raises:
            MissingInputError: there is no such file.
            InputError: it is no GeoTIFF.
            RemoteError, BusyError: it cannot be had.
        """
        return Raster(self._place(source, href, collection), self._directories)

    def _begin(self, scene: SceneItem, geobox: GeoBox) -> _Reading:
        dn = np.zeros((len(BANDS), *geobox.shape), np.uint16)
        scl = np.zeros(geobox.shape, np.uint8)
        reading = _Reading(Look(dn, scl))
        for band, target in (*zip(BANDS, dn, strict=True), (SCL, scl)):
            reading.files.append(self._pool.submit(self._fill, scene, band, geobox, target, reading.faults))
        return reading

    def _fill(
        self,
        scene: SceneItem,
        band: str,
        geobox: GeoBox,
        target: NDArray[Any],
        faults: dict[str, InputError],
    ) -> None:
        asset, source = scene.assets[band], self._sources[scene.source]
        left, bottom, right, top = geobox.boundingbox
        what = f"{scene.id}: asset {asset.key}: window {left:.0f},{bottom:.0f},{right:.0f},{top:.0f} of {name_crs(geobox.crs)}"
        try:
            fill(target, self._place(source, asset.href, scene.collection), geobox, self._directories)
        except (DamagedError, UndecodableError) as error:
            where = f"{shown(asset.href)}: " if source.url else ""
            raise DamagedError(f"{what}: {where}{_below(source, error)}") from error
        except (InputError, MissingInputError) as error:
            faults[band] = InputError(f"{what}: {_below(source, error)}")
        except BusyError as error:
            raise BusyError(f"{what}: {error}") from error
        except RemoteError as error:
            if isinstance(error, Refused) and error.status == EMPTY:
                raise DamagedError(f"{what}: {shown(asset.href)}: is empty (HTTP {EMPTY})") from error
            raise RemoteError(f"{what}: {error}") from error

    def _place(self, source: Source, href: str, collection: str) -> Place | Path:
        if not source.url:
            return Path(source.root, href)
        client, signers = self._of(source)
        return Place(href, client, signers.of(collection))

    def _of(self, source: Source) -> tuple[Client, Signers]:
        with self._lock:
            if source.name not in self._clients:
                endpoint = user_endpoint() if source.signing == "s3" else ""
                client = client_of(source, endpoint=endpoint, **self._options)
                self._clients[source.name] = (client, Signers(source, client))
            return self._clients[source.name]


class Raster:
    """First band of a GeoTIFF on its own grid. Any thread may read."""

    def __init__(self, place: Place | Path, kept: Directories) -> None:
        self._place = place
        self._kept = kept
        self.geobox: GeoBox
        """Its grid."""
        self.dtype = ""
        """numpy's name of its type."""
        self.nodata: float | None = None
        """As declared."""
        self._read(self._learn)

    def read(self, window: Window) -> NDArray[Any]:
        """Pixels of a window inside it, (y, x), as stored.

        Raises:
            InputError: the window reaches over its edge, or the file is damaged there.
            RemoteError, BusyError: it cannot be had, or does not decode.
        """
        height, width = self.geobox.shape
        if window.clip((height, width)) != window or min(window.shape) < 1:
            raise InputError(f"{self._name}: window {window} is not inside its {width} x {height} pixels")
        part = self._read(lambda _: window)
        assert part is not None
        band: NDArray[Any] = part.values[0]
        return band

    def _learn(self, src: Any) -> None:
        check_position(src)
        self.geobox, self.dtype, self.nodata = geobox_of(src), src.dtypes[0], src.nodatavals[0]

    @property
    def _name(self) -> str:
        return shown(self._place.href if isinstance(self._place, Place) else self._place)

    def _read(self, choose: Choice) -> Part | None:
        try:
            return read(self._place, choose, self._kept)
        except Refused as error:
            if error.status in (404, 410):
                raise MissingInputError(f"{self._name}: there is no such file") from error
            raise
        except InputError as error:
            raise InputError(f"{self._name}: {error}") from error


def _below(source: Source, error: Exception) -> str:
    """A message with paths relative to the source's folder: absolute ones are not published."""
    return str(error).replace(f"{source.root.rstrip('/')}/", "") if source.root else str(error)


def _outcome(begun: Iterable[_Reading]) -> Look | InputError:
    """The first scene, once it is there. A fault of a later one that ends the tile ends the wait, too."""
    first, *_ = begun
    waited = {file for reading in begun for file in reading.files}
    while not all(file.done() for file in first.files):
        done, waited = wait(waited, return_when=FIRST_COMPLETED)
        for file in done:
            file.result()
    for file in first.files:
        file.result()
    return next((first.faults[band] for band in (*BANDS, SCL) if band in first.faults), first.look)
