"""The example from a box to a map runs as it stands, against servers on loopback."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from scenery.ground import bundled
from scenery.landcover import worldcover_sheet
from scenery.scenes import make_scenes, year_of_looks
from scenery.servers import Canary
from scenery.stac import StacApp

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "examples" / "fetch" / "bbox-to-map.sh"
TILE = "48N-0061-0317"


@pytest.fixture
def environment(tmp_path):
    """A shell in which `isamap` is this checkout's, and every proxy leads to the canary."""
    command = tmp_path / "bin" / "isamap"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m isamap "$@"\n')
    command.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ISAMAP_")}
    own = {"PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"}
    return kept | own | {"ISAMAP_WORKSPACE": str(tmp_path / "workspace")}


@pytest.mark.slow
def test_the_example_goes_from_a_box_to_a_map_and_its_accuracy(tmp_path, environment):
    looks = year_of_looks(2021, 5, cloudy=0.4, cover=0.3, seed=2)
    made = make_scenes(
        tmp_path / "cogs", bundled("main"), looks, shapes=("sentinel-2-c1-l2a",), real_weather=False
    )
    sheet = worldcover_sheet(made.folder / "worldcover", made.place)
    assert sheet.name == "N27E105.tif"
    with StacApp(directory=made.folder) as api, Canary() as canary:
        api.publish(made.items("sentinel-2-c1-l2a", api.url))
        environment |= {
            "ISAMAP_SOURCE": f"{api.url}#sentinel-2-c1-l2a",
            "WORLDCOVER": f"{api.url}/worldcover/{{ll}}.tif",
            "HTTPS_PROXY": canary.url,
            "HTTP_PROXY": canary.url,
        }
        done = run(environment)
        assert (done.returncode, canary.hits) == (0, 0), done.stderr
        asked = api.hits
        workspace = tmp_path / "workspace"
        with rasterio.open(workspace / "composites" / "2021" / f"{TILE}.tif") as src:
            values, looks_seen = src.read([1, 2, 3, 4, 5, 6]), src.read(7)
            assert src.descriptions == ("B02", "B03", "B04", "B08", "B11", "B12", "clear_looks")
        assert (looks_seen[32:-32, 32:-32] > 0).mean() > 0.99
        truth = made.place.truth[:, *made.window].astype(float)
        assert np.median(np.abs(values - truth)[:, looks_seen > 0]) < 60
        item = json.loads((workspace / "composites" / "2021" / f"{TILE}.json").read_text())
        assert len(item["properties"]["isamap:scenes"]) + len(item["properties"]["isamap:dropped"]) == 5
        with rasterio.open(workspace / "maps" / "fast" / "2021" / f"{TILE}.tif") as src:
            assert src.shape == (10_240, 10_240)
        assert list((workspace / "reports" / "worldcover-2021").iterdir())
        again = run(environment)
        assert again.returncode == 0, again.stderr
        assert api.hits - asked < 20  # searches are kept, finished tiles skipped


def run(environment):
    return subprocess.run(
        ["sh", SCRIPT], env=environment, capture_output=True, text=True, timeout=600, check=False
    )


def test_the_example_is_a_clean_shell_script():
    assert os.access(SCRIPT, os.X_OK)
    subprocess.run(["sh", "-n", SCRIPT], check=True)
    if shellcheck := shutil.which("shellcheck"):
        subprocess.run([shellcheck, SCRIPT], check=True)
