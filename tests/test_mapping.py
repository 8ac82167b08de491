"""What a map is made with: progress in true square kilometres, and this process's share of the cores."""

import json

import pytest
import rasterio
import tiny
from affine import Affine

from isamap.core import mapping
from isamap.core.map_job import Options


class Bar:
    """Notes what it is told."""

    def __init__(self, total, unit, label, *, show):
        self.total, self.unit, self.done = total, unit, 0.0
        BARS.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def advance(self, amount):
        self.done += amount


BARS = []


@pytest.mark.parametrize("gsd_m", [10, 5])
def test_progress_is_in_square_kilometres_whatever_the_pixel(isamap, tmp_path, monkeypatch, gsd_m):
    model = tiny.write_model(tmp_path / "models")
    card = json.loads(model.with_suffix(".json").read_text())
    card["network"]["gsd_m"] = gsd_m
    model.with_suffix(".json").write_text(json.dumps(card))
    scene = tiny.write_scene(tmp_path / "town.tif")
    with rasterio.open(scene, "r+") as dst:
        dst.transform = dst.transform * Affine.scale(gsd_m / 10)
    monkeypatch.setattr(mapping, "Progress", Bar)
    ended = isamap("infer", "--input", scene, "--model", model, "-o", tmp_path / "maps", "-q")
    assert ended.code == 0, ended.err
    area_km2 = 96 * 64 * gsd_m**2 / 1e6
    assert (BARS[-1].total, BARS[-1].done) == (pytest.approx(area_km2), pytest.approx(area_km2))


@pytest.mark.parametrize(("asked", "taken"), [(-1, 6), (-4, 1), (-9, 1), (3, 3), (0, 0)])
def test_a_process_takes_its_share_of_the_cores_that_workers_are_counted_by(model, monkeypatch, asked, taken):
    told = []
    monkeypatch.setattr(mapping, "cores", lambda: 6)
    monkeypatch.setattr(mapping.device, "use_threads", told.append)
    mapping.Mapper(Options(model=str(model), device="cpu", threads=asked))
    assert told == [taken]
