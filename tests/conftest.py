"""Fixtures that several test files share."""

import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tiny


def pytest_configure(config):
    # odc-geo's footprint() and cropping still use them; later versions may drop them, and then the tests say so
    config.addinivalue_line("filterwarnings", "ignore:The 'shapely.ops.transform:DeprecationWarning")
    config.addinivalue_line("filterwarnings", "ignore:Use `@` matmul:PendingDeprecationWarning")


@pytest.fixture(autouse=True)
def _own_log():
    """Logging as a fresh process has it, whatever commands in this process set up, fixtures of modules among them."""
    from isamap import logs

    root, ours = logging.getLogger(), logging.getLogger("isamap")
    root.handlers[:] = [handler for handler in root.handlers if not isinstance(handler, logs._Handler)]
    logs._settings.clear()
    root.setLevel(logging.WARNING)
    ours.setLevel(logging.NOTSET)
    before = root.handlers[:]
    yield
    root.handlers[:] = before


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch):
    """No test of this process reaches another machine."""
    real = socket.socket.connect

    def connect(self, address):
        if self.family in {socket.AF_INET, socket.AF_INET6} and address[0] not in {"127.0.0.1", "::1"}:
            raise OSError(f"a test wanted to connect to {address}")
        return real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)


@dataclass(frozen=True)
class Ended:
    """What the shell sees of a command."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.out)


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    """Weights of the tiny model, its card beside them; torch keeps to one thread: the work is tiny too."""
    import torch

    torch.set_num_threads(1)
    return tiny.write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def scene(tmp_path) -> Path:
    """The tiny scene with 10 x 10 px of nodata in its upper left corner."""
    return tiny.write_scene(tmp_path / "in" / "town-20180402-10m.tif", nodata_corner_px=10)


@pytest.fixture
def isamap(monkeypatch, tmp_path, capfd) -> Callable[..., Ended]:
    """`isamap ARGUMENTS` in this process, in an empty folder and without ISAMAP_* variables."""
    from isamap.cli import main

    for name in [name for name in os.environ if name.startswith("ISAMAP_")]:
        monkeypatch.delenv(name)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    root, handlers, level = logging.getLogger(), logging.getLogger().handlers[:], logging.getLogger().level
    caught = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def run(*arguments: object) -> Ended:
        capfd.readouterr()
        try:
            with pytest.raises(SystemExit) as end:
                main([str(argument) for argument in arguments])
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
            for number, handler in caught.items():
                signal.signal(number, handler)
            if mapping := sys.modules.get("isamap.core.mapping"):
                mapping.mapper.cache_clear()  # another run would load the weights again
        return Ended(int(end.value.code or 0), *capfd.readouterr())

    return run


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """A year of scenes of one tile (skies.make); read only."""
    import skies

    return skies.make(tmp_path_factory.mktemp("scenes"))


@pytest.fixture
def sky(scenes):
    """Their catalogue and their pixels, on loopback."""
    import skies

    with skies.serve(scenes) as served:
        yield served
