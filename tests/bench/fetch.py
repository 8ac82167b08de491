"""`isamap fetch` on one tile: peak memory with 60 scenes, and time with and without latency.

    PYTHONPATH=.:tests python tests/bench/fetch.py [--write docs/benchmarks.md]

Scenes lie behind a server on loopback that answers each request after the latency; each run is a process of its own. 60 scenes are 12 made ones offered on five dates each.
"""

import argparse
import copy
import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import skies
import tables

LATENCY_S = 0.05
RUNS = 3


def many(items, count):
    """That many items of the same files, each on a day of its own."""
    made = []
    for index in range(count):
        item = copy.deepcopy(items[index % len(items)])
        day = datetime(skies.YEAR, 1, 2, 3, 48, 2, tzinfo=UTC) + timedelta(days=6 * index)
        item["id"] = f"S2A_T48RXT_{day:%Y%m%dT%H%M%S}_L2A"
        item["properties"] |= {"datetime": day.isoformat().replace("+00:00", "Z"), "eo:cloud_cover": 20.0}
        item["properties"].pop("s2:product_uri", None)
        item["properties"].pop("s2:datatake_id", None)
        made.append(item)
    return made


CHILD = """
import json, sys, time
from pathlib import Path
from isamap.core.composing import Settings, fetch_tile
from isamap.domain.grid import Tile
tile, workspace, source, host, method = sys.argv[1:]
settings = Settings(Path(workspace), {year}, (source,), method, allowed=(host,))
begin = time.monotonic()
item = fetch_tile(settings, False, Tile.parse(tile)).item
print(json.dumps([time.monotonic() - begin, len(item["properties"]["isamap:scenes"])]))
"""


def run(sky, workspace, method="median"):
    """Seconds from the search to the published file, scenes used, and peak memory in MB of one process."""
    words = [
        sys.executable,
        "-c",
        CHILD.format(year=skies.YEAR),
        sky.tile,
        workspace,
        sky.source,
        sky.host,
        method,
    ]
    child = subprocess.Popen(list(map(str, words)), stdout=subprocess.PIPE)
    out = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    child.stdout.close()
    if child.returncode:
        raise SystemExit(f"the run ended with {child.returncode}")
    seconds, used = json.loads(out)
    return seconds, used, usage.ru_maxrss / 1024


def memory(made, folder):
    """Peak memory of a tile with 60 scenes, for each method."""
    yield tables.row("method", "scenes used", "peak memory, MB", "time, s")
    yield tables.row("---", "---", "---", "---")
    with skies.serve(made) as sky:
        sky.api.catalogue.items = many(sky.made.items(skies.C1, sky.files.url), 60)
        for method in ("median", "geomedian", "best"):
            seconds, used, peak_mb = run(sky, folder / method, method)
            yield tables.row(method, used, f"{peak_mb:.0f}", f"{seconds:.0f}")


def latency(made, folder):
    """Time of a tile with 12 scenes without and with latency, in turns."""
    plain, slow = [], []
    for turn in range(RUNS):
        for times, latency_s in ((plain, 0.0), (slow, LATENCY_S)):
            with skies.serve(made, latency_s=latency_s) as sky:
                sky.api.catalogue.items = many(sky.made.items(skies.C1, sky.files.url), 12)
                times.append(run(sky, folder / f"{turn}-{latency_s}")[0])
    yield tables.row("a tile of 12 scenes, search to published file", "goal", "median", "range")
    yield tables.row("---", "---", "---", "---")
    yield tables.row("with 50 ms a request / without, wall", "<= 1.5", tables.ratio(slow, plain))
    yield ""
    yield f"Fastest without latency {min(plain):.1f} s, with it {min(slow):.1f} s."


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, help="page whose tables are replaced")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="isamap-bench-") as name:
        folder = Path(name)
        made = skies.make(folder / "scenes", 12)
        lines = [tables.machine(), ""]
        for line in (*latency(made, folder), "", *memory(made, folder)):
            print(line, flush=True)
            lines.append(line)
    if given.write:
        tables.keep(given.write, "fetch-tile", lines)


if __name__ == "__main__":
    main()
