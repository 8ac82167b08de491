"""Bad networks and bad catalogues: equal pixels or a clear end, in time, and nobody else is ever asked.

ISAMAP_REMOTE_RUNS is how many runs read while requests fail (40 in the suite, 200 for the record).
"""

import logging
import os
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scenery.hostile import HOSTILE, disguised_vrt
from scenery.scenes import sample
from scenery.servers import FAULTS, TRANSIENT, Canary, Faults, RangeServer, TokenServer

from isamap.domain.grid import Window, crop
from isamap.domain.scenes import scene_of
from isamap.domain.sources import SOURCES, source_of
from isamap.errors import BusyError, ConfigError, InputError, RemoteError
from isamap.io import signing
from isamap.io.http import Limits
from isamap.io.remote import ScenePixels

C1 = "sentinel-2-c1-l2a"
RUNS = int(os.environ.get("ISAMAP_REMOTE_RUNS", "40"))
FAST = Limits(
    total_s=30,
    connect_s=2,
    head_s=1,
    read_s=0.25,
    slow_s=0.3,
    backoff_s=0.01,
    backoff_cap_s=0.05,
    retry_after_cap_s=0.2,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return sample(tmp_path_factory.mktemp("scenes"), shapes=(C1,))


def source(server, **more):
    return replace(source_of("http://127.0.0.1:9/stac"), hosts=(f"127.0.0.1:{server.port}",), **more)


def grid(made):
    """Two by two blocks of each file, with all that leads to them."""
    return crop(made.place.geobox, Window(400, 200, 160, 160))


def read(made, server, row, limits=FAST, scenes=1):
    with ScenePixels([row], limits=limits) as pixels:
        wanted = [scene_of(one, row) for one in made.items(C1, server.url)[:scenes]]
        return list(pixels.looks(wanted, grid(made))), pixels.requests


def same(one, other):
    return all(
        np.array_equal(a.dn, b.dn) and np.array_equal(a.scl, b.scl) for a, b in zip(one, other, strict=True)
    )


@pytest.mark.slow
def test_runs_with_a_fifth_of_all_requests_failing_give_equal_pixels(made):
    with RangeServer(made.folder) as server:
        truth, quiet = read(made, server, source(server))
    struck, asked = Counter(), 0
    for seed in range(RUNS):
        with RangeServer(made.folder, faults=Faults.share(0.2, TRANSIENT, seed=seed)) as server:
            looks, requests = read(made, server, source(server))
            assert same(looks, truth), seed
            assert server.hits == requests
            each = Counter((request.path, request.range) for request in server.requests)
            assert max(each.values()) <= FAST.attempts
            struck += server.struck
            asked += requests
    assert set(struck) == set(TRANSIENT)
    assert asked < 1.4 * RUNS * quiet  # 1 / (1 - 0.2) and a margin


@pytest.mark.slow
def test_signatures_that_wear_out_and_are_refused_are_renewed_in_every_run(made, monkeypatch):
    monkeypatch.setattr(signing, "REFUSED_S", 0.05)
    with RangeServer(made.folder) as server:
        truth, _ = read(made, server, source(server))
    for seed in range(20):
        with TokenServer(uses=25, expired_first=seed % 2) as tokens:
            faults = Faults({"403": 0.02, "503": 0.05}, seed=seed)
            with RangeServer(made.folder, faults=faults, guard=tokens.fresh) as server:
                row = source(
                    server,
                    signing="planetary-computer",
                    token_url=f"{tokens.token_url}/{{collection}}",
                    requests_per_s=1000,
                )
                looks, _ = read(made, server, row, replace(FAST, forbidden=10))
                assert same(looks, truth), seed
                assert tokens.hits < 10


@pytest.mark.parametrize("kind", FAULTS)
def test_every_fault_that_stays_ends_in_time_with_scene_asset_and_window(made, kind):
    limits = replace(FAST, total_s=2)
    with RangeServer(made.folder) as server:
        row = source(server)
        path = "/" + str(made.path(0, C1, "B11").relative_to(made.folder))
        server.permanent[path] = kind
        began = time.monotonic()
        if kind == "no-range":  # small enough to be taken whole
            read(made, server, row, limits)
            return
        with pytest.raises((RemoteError, BusyError)) as fault:
            read(made, server, row, limits)
        assert time.monotonic() - began < 6
        for words in ("asset swir16", "window ", "EPSG:32648", made.granules[0, C1].id(C1), "B11.tif"):
            assert words in str(fault.value)


def test_the_limits_that_users_have_end_every_stall_within_two_minutes():
    limits = Limits()
    assert limits.total_s <= 115
    assert max(limits.read_s, limits.head_s, limits.slow_s, limits.retry_after_cap_s) < limits.total_s
    waits = [min(limits.backoff_cap_s, limits.backoff_s * 2**k) for k in range(limits.attempts - 1)]
    assert sum(waits) < limits.total_s / 2


@pytest.mark.parametrize("case", HOSTILE, ids=lambda case: case.name)
def test_no_hostile_item_makes_anybody_ask_elsewhere(made, case, caplog):
    caplog.set_level(logging.DEBUG)
    with Canary() as canary, RangeServer(made.folder) as server:
        row = source(server)
        raw = case.of(made.items(C1, server.url)[0], canary.url)
        try:
            scene = scene_of(raw, row)
        except InputError:
            assert case.refused in {"parsed", "never"}
            return
        with ScenePixels([row], limits=replace(FAST, total_s=3)) as pixels:
            try:
                (look,) = pixels.looks([scene], grid(made))
            except (RemoteError, BusyError, ConfigError) as error:
                look = error
        if case.refused == "opened":
            assert isinstance(look, InputError | RemoteError)
            assert len(str(look)) < 2000
        assert canary.hits == 0


def test_hostile_addresses_are_refused_for_known_sources_too(made):
    row = SOURCES["earth-search-c1"]
    with Canary() as canary:
        for case in HOSTILE:
            if case.refused == "opened":
                scene = scene_of(case.of(made.items(C1, "https://example.org")[0], canary.url), row)
                with ScenePixels([row], limits=replace(FAST, total_s=1)) as pixels:
                    (look,) = pixels.looks([scene], grid(made))
                    assert isinstance(look, InputError)
                    assert pixels.requests == 0
        assert canary.hits == 0


def test_a_redirect_of_pixels_to_a_stranger_is_not_followed(made):
    path = "/" + str(made.path(0, C1, "B04").relative_to(made.folder))
    with Canary() as canary, RangeServer(made.folder, redirects={path: f"{canary.url}/x.tif"}) as server:
        with pytest.raises(RemoteError, match="nothing is asked"):
            read(made, server, source(server))
        assert canary.hits == 0


def test_a_vrt_in_disguise_makes_the_scene_unusable_and_reaches_nobody(made, tmp_path):
    with Canary() as canary:
        disguised_vrt(tmp_path / "x.tif", canary.url)
        with RangeServer(made.folder) as server, RangeServer(tmp_path) as evil:
            row = source(server)
            row = replace(row, hosts=(*row.hosts, f"127.0.0.1:{evil.port}"))
            items = made.items(C1, server.url)[:2]
            items[0]["assets"]["red"]["href"] = f"{evil.url}/x.tif"
            with ScenePixels([row], limits=FAST) as pixels:
                bad, good = pixels.looks([scene_of(one, row) for one in items], grid(made))
        assert isinstance(bad, InputError)
        assert "is no TIFF" in str(bad)
        assert good.dn.any()
        assert canary.hits == 0


def test_no_token_is_in_any_log_or_message(made, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    with TokenServer(expired_first=1) as tokens:
        faults = Faults.share(0.3, TRANSIENT, seed=3, in_a_row=3)
        with RangeServer(made.folder, faults=faults, guard=tokens.fresh) as server:
            row = source(
                server, signing="planetary-computer", token_url=f"{tokens.token_url}/c", requests_per_s=1000
            )
            read(made, server, row)
            server.permanent["/*"] = "403"
            with pytest.raises((RemoteError, BusyError)) as fault:
                read(made, server, row)
        secrets = [token.text.rpartition("sig=")[2] for token in tokens.issued]
    assert secrets
    output = caplog.text + "".join(capfd.readouterr()) + str(fault.value) + repr(fault.value)
    assert "urllib3" in output
    for secret in (*secrets, "sig=", "se=2"):
        assert secret not in output
