"""Searches: complete whatever the order of the answers, bounded whatever the catalogue does."""

import json
import os
import random
import time
from dataclasses import replace

import pytest
from scenery.items import Granule, collection, item
from scenery.servers import Canary, Faults, rustac_server
from scenery.stac import StacApp
from scenery.web import Answer, LoopbackServer

from isamap.domain.grid import Tile
from isamap.domain.scenes import scene_of
from isamap.domain.sources import source_of
from isamap.errors import BusyError, InputError, RemoteError
from isamap.io import stac
from isamap.io.http import Limits, client_of
from isamap.io.stac import fresh_search, group_bounds, kept_search, search
from isamap.io.stac_pages import SearchLimits

TILE = Tile.parse("48N-0061-0317")
SPAN = ("2021-01-01T00:00:00Z", "2021-12-31T23:59:59Z")
AREA = (106.0, 29.0, 107.0, 30.0)
FAST = Limits(total_s=10, read_s=1, head_s=2, slow_s=1, backoff_s=0.02, backoff_cap_s=0.1)
C1 = "sentinel-2-c1-l2a"


def granules(count=12, tile=TILE):
    return [
        Granule(
            mgrs="48RXT",
            geobox=tile.geobox(10, 32),
            sensed=f"2021-{1 + k % 12:02d}-{1 + k // 12:02d}T03:35:41",
            datatake=f"2021{1 + k % 12:02d}{1 + k // 12:02d}T033541",
            platform="AB"[k % 2],
            orbit=18,
            baseline="05.00",
            made="20230101T000000",
            cloud_cover=k,
        )
        for k in range(count)
    ]


def items(count=12, shape=C1):
    return [item(one, shape, "https://files.example") for one in granules(count)]


def row(url, *collections):
    return replace(source_of(f"{url}#{','.join(collections or (C1,))}"), requests_per_s=1000)


def found(url, limits=stac.LIMITS, bounds=AREA, span=SPAN, *collections):
    source = row(url, *collections)
    with client_of(source, FAST) as client:
        return search(source, bounds, *span, client, limits)


def ids(raw):
    return [one["id"] for one in raw]


def test_all_items_come_in_order_over_many_pages():
    with StacApp(items(25), most=4) as api:
        raw = found(api.url)
        assert ids(raw) == sorted(ids(items(25)))
        assert len(api.searches) == 7
        (first, *_) = api.searches
        assert first["collections"] == [C1]
        assert first["limit"] == 100
        assert first["bbox"] == list(AREA)
        assert not {"query", "sortby", "filter"} & set(first)
        assert len({scene_of(one, row(api.url)).id for one in raw}) == 25


def test_ground_and_time_bound_the_search():
    with StacApp(items(12)) as api:
        assert found(api.url, bounds=(0.0, 0.0, 1.0, 1.0)) == []
        spring = found(api.url, stac.LIMITS, AREA, ("2021-03-01T00:00:00Z", "2021-05-31T23:59:59Z"))
        assert len(spring) == 3
        assert found(api.url, stac.LIMITS, AREA, SPAN, "sentinel-2-l2a") == []


def test_several_collections_are_merged():
    both = [*items(3), *items(3, "sentinel-2-l2a")]
    with StacApp(both) as api:
        assert len(found(api.url, stac.LIMITS, AREA, SPAN, C1, "sentinel-2-l2a")) == 6


def test_the_order_of_answers_and_duplicates_change_nothing():
    answers = []
    for seed in range(5):
        with StacApp(items(20), manner="duplicates", seed=seed, most=7) as api:
            answers.append(json.dumps(found(api.url)))
    with StacApp(items(20)) as api:
        answers.append(json.dumps(found(api.url)))
    assert len(set(answers)) == 1


def test_the_same_id_with_other_contents_does_not_depend_on_the_order():
    raw = items(6)
    others = [{**one, "properties": {**one["properties"], "eo:cloud_cover": 99}} for one in raw]
    answers = []
    for seed in range(6):
        mixed = [*raw, *others]
        random.Random(seed).shuffle(mixed)
        with StacApp(mixed, most=5) as api:
            answers.append(json.dumps(found(api.url)))
    assert len(set(answers)) == 1


def test_only_what_is_read_is_kept_of_an_item():
    with StacApp(items(1)) as api:
        (raw,) = found(api.url)
    assert set(raw) == {*stac.FIELDS, "assets"}
    assert set(raw["assets"]) == {"blue", "green", "red", "nir", "swir16", "swir22", "scl"}


def test_a_foreign_server_answers_the_same(tmp_path):
    raw = items(12)
    with StacApp(raw) as api, rustac_server(collection(C1), raw, tmp_path / "rustac") as url:
        ours, theirs = found(api.url), found(url)
    assert ids(ours) == ids(theirs)
    assert [scene_of(one, row("http://x")) for one in ours] == [
        replace(scene_of(one, row("http://x"))) for one in theirs
    ]


@pytest.mark.parametrize(
    ("manner", "words"),
    [
        ("self-next", "goes in circles"),
        ("endless-same", "nothing new"),
        ("empty-next", "nothing new"),
        ("endless", "does not end"),
        ("next-elsewhere", "nothing is asked"),
        ("redirects", "nothing is asked"),
        ("huge-strings", "more than"),
        ("not-json", "no JSON"),
        ("nested", "too deep"),
        ("no-features", "no list of items"),
    ],
)
def test_a_catalogue_that_goes_wrong_is_refused_and_nobody_else_is_asked(manner, words):
    limits = SearchLimits(pages=20, page_items=5)
    with Canary() as canary, StacApp(items(12), manner=manner, elsewhere=canary.url, most=5) as api:
        began = time.monotonic()
        with pytest.raises(RemoteError, match=words) as fault:
            found(api.url, limits)
        assert time.monotonic() - began < 20
        assert canary.hits == 0
        assert len(str(fault.value)) < 600
        assert len(api.requests) <= 25


def test_a_server_that_ignores_the_page_size_and_the_query_is_read_all_the_same():
    with StacApp(items(12), manner="ignores-query", most=3) as api:
        assert len(found(api.url)) == 12


def test_faults_of_a_catalogue_are_survived():
    expected = None
    for seed in range(8):
        with StacApp(items(15), most=4, faults=Faults.share(0.2, seed=seed, in_a_row=3, pause_s=30)) as api:
            raw = found(api.url)
            assert len(api.requests) <= 4 * 10
        expected = expected or raw
        assert raw == expected


def test_a_catalogue_that_is_down_is_reported_in_time():
    with StacApp(items(3)) as api:
        api.permanent["/search"] = "503"
        began = time.monotonic()
        with pytest.raises(BusyError, match="HTTP 503") as fault:
            found(api.url)
        assert time.monotonic() - began < 15
        assert "/search" in str(fault.value)
        assert len(api.requests) <= 20


def test_a_catalogue_that_breaks_down_under_large_pages_is_asked_for_small_ones():
    class Weak(StacApp):
        def respond(self, request):
            if b'"limit": 100' in request.body:
                return Answer(502)
            return super().respond(request)

    with Weak(items(30)) as api:
        assert len(found(api.url)) == 30


class GetOnly(StacApp):
    def respond(self, request):
        return Answer(405) if request.method == "POST" else super().respond(request)


def test_a_catalogue_that_knows_only_get_is_asked_with_get():
    with GetOnly(items(9), most=4) as api:
        assert len(found(api.url)) == 9
        assert [request.method for request in api.requests] == ["POST", "GET", "GET", "GET"]
        assert "token" not in api.requests[1].query


class _Pages(LoopbackServer):
    def __init__(self, *pages):
        super().__init__()
        self.pages = list(pages)

    def respond(self, request):
        page = self.pages.pop(0)
        text = json.dumps(page).replace("HERE", self.url)
        return Answer(200, text.encode(), {"Content-Type": "application/json"})


def test_odd_pages_are_read_as_far_as_they_make_sense():
    a, b, c = items(3)
    following = {"rel": "next", "href": "HERE/search?page=2"}
    posted = {"rel": "next", "href": "/search", "method": "post", "body": {"page": 3}, "merge": True}
    pages = (
        {
            "features": [a, None, 7, "item", []],
            "links": [None, 7, {"rel": "next"}, {"rel": "next", "href": 7}, following],
        },
        {"features": [], "links": [posted]},
        {"features": [b, b, c], "links": None},
    )
    with _Pages(*pages) as api:
        assert ids(found(api.url)) == sorted(ids([a, b, c]))
        methods = [request.method for request in api.requests]
        assert methods == ["POST", "GET", "POST"]
        assert json.loads(api.requests[2].body) == {"page": 3}


def test_items_without_id_do_not_hide_each_other_or_the_others():
    nameless = {"type": "Feature", "properties": {"a": 1}}
    with _Pages({"features": [nameless, *items(2)]}) as api:
        assert len(found(api.url)) == 3


def test_bytes_pages_and_time_of_a_search_are_bounded():
    with StacApp(items(30), most=2) as api:
        with pytest.raises(RemoteError, match="does not end"):
            found(api.url, SearchLimits(pages=3))
        with pytest.raises(RemoteError, match="does not end"):
            found(api.url, SearchLimits(items=5))
        with pytest.raises(RemoteError, match="more than 0 MB for one search"):
            found(api.url, SearchLimits(total_bytes=20_000))
    with StacApp(items(30), most=2, latency_s=0.3) as api:
        began = time.monotonic()
        with pytest.raises(BusyError, match=r"the search took more than 1 s|did not answer in time"):
            found(api.url, SearchLimits(total_s=1))
        assert time.monotonic() - began < 3


def test_an_area_across_180_degrees_is_asked_in_two_parts():
    with StacApp([]) as api:
        assert found(api.url, bounds=(179.5, -17.0, -179.5, -16.0)) == []
        assert [asked["bbox"] for asked in api.searches] == [
            [179.5, -17.0, 180.0, -16.0],
            [-180.0, -17.0, -179.5, -16.0],
        ]


def test_a_group_is_searched_once_and_kept(tmp_path):
    with StacApp(items(12), most=100) as api:
        source = row(api.url)
        with client_of(source, FAST) as client:
            assert kept_search(source, TILE, *SPAN, tmp_path) is None
            first = fresh_search(source, TILE, *SPAN, client, tmp_path / "searches")
            hits = api.hits
            neighbour = Tile.parse("48N-0060-0316")
            assert kept_search(source, neighbour, *SPAN, tmp_path / "searches") == first
            assert api.hits == hits
            assert kept_search(source, Tile.parse("48N-0064-0316"), *SPAN, tmp_path / "searches") is None
            fresh_search(source, TILE, *SPAN, client, tmp_path / "searches")
            assert api.hits == hits + 1
            later = ("2022-01-01T00:00:00Z", "2022-12-31T23:59:59Z")
            assert kept_search(source, TILE, *later, tmp_path / "searches") is None
            assert (
                kept_search(replace(source, collections=("x",)), TILE, *SPAN, tmp_path / "searches") is None
            )


def test_a_damaged_answer_is_none_and_is_replaced(tmp_path):
    with StacApp(items(12)) as api:
        source = row(api.url)
        with client_of(source, FAST) as client:
            first = fresh_search(source, TILE, *SPAN, client, tmp_path)
            (path,) = tmp_path.iterdir()
            whole = path.read_bytes()
            for damaged in (
                b"",
                whole[: len(whole) // 2],
                b"[]",
                b"{}",
                whole.replace(b'"version": 1', b'"version": 0'),
            ):
                path.write_bytes(damaged)
                assert kept_search(source, TILE, *SPAN, tmp_path) is None
                assert fresh_search(source, TILE, *SPAN, client, tmp_path) == first


def test_an_answer_about_a_time_that_was_not_over_is_kept_for_a_day(tmp_path, monkeypatch):
    with StacApp(items(12)) as api:
        source = row(api.url)
        with client_of(source, FAST) as client:
            now = time.time()
            open_span = (
                "2021-01-01T00:00:00Z",
                time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + 86400)),
            )
            fresh_search(source, TILE, *open_span, client, tmp_path)
            fresh_search(source, TILE, *SPAN, client, tmp_path)
            monkeypatch.setattr(stac.time, "time", lambda: now + 3600)
            assert kept_search(source, TILE, *open_span, tmp_path) is not None
            monkeypatch.setattr(stac.time, "time", lambda: now + 25 * 3600)
            assert kept_search(source, TILE, *open_span, tmp_path) is None
            assert kept_search(source, TILE, *SPAN, tmp_path) is not None


def test_no_failed_search_is_kept(tmp_path):
    with StacApp(items(12), manner="self-next", most=3) as api:
        source = row(api.url)
        with client_of(source, FAST) as client, pytest.raises(RemoteError):
            fresh_search(source, TILE, *SPAN, client, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text", ["48N-0061-0317", "01N-0050-0100", "60N-0050-0100", "31N-0050-0900", "18S-0050-0900"]
)
def test_the_group_of_a_tile_covers_it_with_its_margin(text):
    tile = Tile.parse(text)
    west, south, east, north = group_bounds(tile)
    bounds = tile.geobox(10, 32).footprint("EPSG:4326", npoints=20).boundingbox
    assert south <= bounds.bottom < bounds.top <= north
    if west <= east:
        assert west <= bounds.left < bounds.right <= east
        assert (east - west) * (north - south) < 3


def test_an_address_that_is_not_the_sources_is_not_searched():
    with Canary() as canary, StacApp(items(1)) as api:
        source = row(api.url)
        with client_of(source, FAST) as client, pytest.raises(InputError):
            search(replace(source, url=canary.url), AREA, *SPAN, client)
        assert canary.hits == 0


def test_the_import_of_the_search_is_light():
    """pystac-client is imported when something is asked, not when isamap starts."""
    import subprocess
    import sys

    code = "import sys, isamap.io.stac; sys.exit('pystac_client' in sys.modules or 'requests' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, env={**os.environ}).returncode == 0
