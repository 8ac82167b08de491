"""The scenery of the fetch tests does what it says: each server, and the scenes that they serve."""

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
import warnings
from contextlib import ExitStack
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen
from xml.etree import ElementTree as ET

import numpy as np
import pystac
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate
from scenery.ground import ground, tile_of
from scenery.hostile import HOSTILE, disguised_vrt
from scenery.items import SHAPES, collection
from scenery.safe import cdse_item, write_safe
from scenery.scenes import BANDS, Look, mgrs_of, sample, year_of_looks
from scenery.servers import FAULTS, Canary, Faults, RangeServer, TokenServer, rustac_server, s3_server
from scenery.stac import StacApp
from scenery.weather import KINDS, weather

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "B02.tif").write_bytes(CONTENT)
    (tmp_path / "secret.txt").write_text("secret")
    return tmp_path / "served"


def ask(server, path="/B02.tif", method="GET", timeout_s=5, **headers):
    """Status, headers and body; a body that ends early or a reset is raised."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout_s)
    try:
        connection.request(
            method, path, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def test_ranges_come_back_byte_for_byte(folder):
    with RangeServer(folder) as server:
        for asked, begin, end in (
            ("0-99", 0, 100),
            ("100-", 100, None),
            ("-10", -10, None),
            ("9-99999", 9, None),
        ):
            status, headers, body = ask(server, Range=f"bytes={asked}")
            assert (status, body) == (206, CONTENT[begin:end])
            first = len(CONTENT) + begin if begin < 0 else begin
            assert headers["Content-Range"] == f"bytes {first}-{first + len(body) - 1}/{len(CONTENT)}"
        status, whole, body = ask(server)
        assert (status, body, whole["Accept-Ranges"]) == (200, CONTENT, "bytes")
        assert ask(server, Range=f"bytes={len(CONTENT)}-")[0] == 416
        status, headers, body = ask(server, method="HEAD")
        assert (status, int(headers["Content-Length"]), body) == (200, len(CONTENT), b"")
        assert headers["ETag"] == whole["ETag"]
        assert ask(server, "/%2e%2e/secret.txt")[0] == ask(server, "/../secret.txt")[0] == 404
        assert server.hits == 9
        assert server.requests[0].range == "bytes=0-99"


def test_the_etag_changes_with_the_file(folder):
    with RangeServer(folder) as server:
        before = ask(server, method="HEAD")[1]["ETag"]
        (folder / "B02.tif").write_bytes(CONTENT[::-1][:-1])
        assert ask(server, method="HEAD")[1]["ETag"] != before
        assert ask(server, Range="bytes=0-1", If_Match=before)[0] == 412


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_what_it_says(folder, fault):
    with RangeServer(folder, faults=Faults({fault: 1.0}, retry_after_s=7)) as server:
        began = time.monotonic()
        try:
            status, headers, body = ask(server, timeout_s=0.5, Range="bytes=64-163")
        except (OSError, http.client.HTTPException) as error:
            seen = error
        else:
            seen = (status, body, headers)
        assert time.monotonic() - began < 10
        assert server.struck == {fault: 1}
    if fault in ("429", "500", "502", "503", "504", "403"):
        assert seen[0] == int(fault)
        assert (seen[2].get("Retry-After") == "7") is (fault == "429")
    expected = {"reset": ConnectionResetError, "short": http.client.IncompleteRead}
    expected |= dict.fromkeys(("stall", "trickle"), TimeoutError)
    if fault in expected:
        assert isinstance(seen, expected[fault])
    if fault == "html":
        assert (seen[0], seen[1][:9], seen[2]["Content-Type"][:9]) == (200, b"<!DOCTYPE", "text/html")
    if fault == "wrong-range":
        assert (seen[1], seen[2]["Content-Range"]) == (CONTENT[80:180], f"bytes 80-179/{len(CONTENT)}")
    if fault == "no-range":
        assert seen[:2] == (200, CONTENT)


def test_faults_follow_the_seed_and_not_the_order_of_requests(folder):
    def run(seed, order):
        with RangeServer(folder, faults=Faults.share(0.3, ("500", "503"), seed=seed)) as server:
            return {first: ask(server, Range=f"bytes={first}-{first}")[0] for first in order}

    forward, backward = run(1, range(200)), run(1, range(199, -1, -1))
    assert forward == backward != run(2, range(200))
    assert 35 < sum(status != 206 for status in forward.values()) < 85


def test_a_request_is_struck_at_most_so_often_in_a_row(folder):
    with RangeServer(folder, faults=Faults({"503": 0.9}, in_a_row=2)) as server:
        statuses = "".join("." if ask(server)[0] == 200 else "x" for _ in range(60))
    assert "xx" in statuses
    assert "xxx" not in statuses


def test_a_path_can_fail_for_ever_and_another_can_lead_away(folder):
    with Canary() as canary, RangeServer(folder, redirects={"/away.tif": f"{canary.url}/x"}) as server:
        server.permanent["/B02*"] = "404"
        assert [ask(server)[0] for _ in range(3)] == [404] * 3
        status, headers, _ = ask(server, "/away.tif")
        assert (status, headers["Location"], canary.hits) == (302, f"{canary.url}/x", 0)
        ask(canary, "/x", "POST")
        assert canary.hits == 1


def test_latency_is_paid_by_each_request_alone(folder):
    with RangeServer(folder, latency_s=0.2) as server:
        began = time.monotonic()
        threads = [threading.Thread(target=ask, args=(server,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 0.2 <= time.monotonic() - began < 1.5


def test_servers_end_with_idle_and_stalled_connections_open(folder):
    before = set(threading.enumerate())
    with ExitStack() as ours:
        with RangeServer(folder, faults=Faults({"stall": 1.0})) as server:
            place = ("127.0.0.1", server.port)
            _, stalled = (ours.enter_context(socket.create_connection(place)) for _ in range(2))
            stalled.sendall(b"GET /B02.tif HTTP/1.1\r\nHost: x\r\n\r\n")
            assert stalled.recv(100).startswith(b"HTTP/1.1 200")
            began = time.monotonic()
        assert time.monotonic() - began < 5
    assert not set(threading.enumerate()) - before


def token_of(server):
    with urlopen(f"{server.token_url}/sentinel2l2a01/sentinel2-l2") as answer:
        return json.load(answer)


def test_signatures_hold_until_they_expire_are_used_up_or_revoked(folder):
    with TokenServer(uses=2) as tokens, RangeServer(folder, guard=tokens.fresh) as server:
        assert ask(server)[0] == 403
        signed = f"/B02.tif?{token_of(tokens)['token']}"
        assert [ask(server, signed)[0] for _ in range(3)] == [200, 200, 403]
        again = f"/B02.tif?{token_of(tokens)['token']}"
        assert ask(server, again)[0] == 200
        tokens.revoke()
        assert ask(server, again)[0] == 403
    with (
        TokenServer(expired_first=1, lifetime_s=1) as tokens,
        RangeServer(folder, guard=tokens.fresh) as server,
    ):
        born_dead, alive = token_of(tokens), token_of(tokens)
        assert born_dead["msft:expiry"] < alive["msft:expiry"]
        assert [ask(server, f"/B02.tif?{each['token']}")[0] for each in (born_dead, alive)] == [403, 200]
        tokens.skew_s = 300
        assert ask(server, f"/B02.tif?{alive['token']}")[0] == 403


def test_the_bucket_answers_signed_requests(folder, monkeypatch):
    from botocore.session import Session

    with s3_server(folder, monkeypatch) as bucket:
        client = Session().create_client("s3")  # by the environment alone
        signed = client.generate_presigned_url("get_object", {"Bucket": bucket.name, "Key": "B02.tif"})
        client.close()
        assert signed.startswith(bucket.url)
        with urlopen(Request(signed, headers={"Range": "bytes=5-9"})) as answer:
            assert (answer.status, answer.read()) == (206, CONTENT[5:10])


def feature(number, cloud=10.0, collection="sentinel-2-l2a"):
    west = 100 + number * 0.1
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"S2A_{number}",
        "collection": collection,
        "geometry": {"type": "Point", "coordinates": [west, 30]},
        "bbox": [west, 30, west, 30],
        "properties": {
            "datetime": f"2021-{1 + number % 12:02d}-05T03:35:41.024000Z",
            "eo:cloud_cover": cloud,
        },
        "links": [],
        "assets": {},
    }


FEATURES = [feature(number, cloud=4.0 * number) for number in range(25)]


def search(url, method="POST", pages=5, **asked):
    """Ids of every page of a search, at most so many pages."""
    asked = {"collections": ["sentinel-2-l2a"], "limit": 10, **asked}
    if method == "GET":
        simple = {
            key: ",".join(map(str, value)) if isinstance(value, list) else value
            for key, value in asked.items()
        }
        request = Request(f"{url}/search?{urlencode(simple)}")
    else:
        request = post(f"{url}/search", asked)
    found = []
    for _ in range(pages):
        with urlopen(request, timeout=30) as answer:
            page = json.load(answer)
        found.append([item["id"] for item in page["features"]])
        following = [link for link in page["links"] if link["rel"] == "next"]
        if not following:
            break
        (link,) = following
        request = post(link["href"], link["body"]) if link.get("method") == "POST" else Request(link["href"])
    return found


def flat(pages):
    return [name for page in pages for name in page]


def post(url, body):
    return Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_api_searches_filters_and_pages(method):
    with StacApp([*FEATURES, feature(0, collection="other")]) as api:
        pages = search(api.url, method)
        assert [len(page) for page in pages] == [10, 10, 5]
        assert sorted(flat(pages)) == sorted(item["id"] for item in FEATURES)
        assert search(api.url, method, bbox=[100.05, 29, 100.45, 31], limit=50) == [
            ["S2A_4", "S2A_3", "S2A_2", "S2A_1"]
        ]
        (spring,) = search(api.url, method, datetime="2021-03-01T00:00:00Z/2021-04-30T00:00:00Z", limit=50)
        assert sorted(spring) == ["S2A_14", "S2A_15", "S2A_2", "S2A_3"]
        query = {"eo:cloud_cover": {"lte": 8}}
        (clear,) = search(api.url, method, query=query if method == "POST" else json.dumps(query), limit=50)
        assert sorted(clear) == ["S2A_0", "S2A_1", "S2A_2"]
        assert len(api.searches) == 6
        assert not api.struck


def test_the_api_says_what_it_can():
    with StacApp(FEATURES) as api, urlopen(api.url) as answer:
        page = json.load(answer)
        assert "https://api.stacspec.org/v1.0.0/item-search#query" in page["conformsTo"]
        (link,) = [
            link["href"] for link in page["links"] if link["rel"] == "search" and link["method"] == "POST"
        ]
        assert link == f"{api.url}/search"
        with urlopen(f"{api.url}/collections") as collections:
            assert [each["id"] for each in json.load(collections)["collections"]] == ["sentinel-2-l2a"]


def test_the_api_is_read_by_pystac_client():
    from pystac_client import Client

    with StacApp(FEATURES, most=7) as api:
        found = Client.open(api.url).search(
            collections=["sentinel-2-l2a"], query={"eo:cloud_cover": {"lt": 50}}
        )
        assert len(list(found.items_as_dicts())) == 13


def test_results_are_shuffled_by_their_seed_and_alike_on_every_page():
    def ids(seed):
        with StacApp(FEATURES, seed=seed) as api:
            return flat(search(api.url))

    assert ids(1) == ids(1) != ids(2)
    assert sorted(ids(1)) == sorted(ids(2)) == sorted(ids(None))


@pytest.mark.parametrize(
    ("manner", "pages", "items"),
    [("endless", 5, 50), ("endless-same", 5, 10), ("self-next", 5, 10), ("empty-next", 5, 0)],
)
def test_paging_can_be_made_to_never_end(manner, pages, items):
    with StacApp(FEATURES, manner=manner) as api:
        found = search(api.url)
        assert (len(found), len(set(flat(found)))) == (pages, items)


def test_other_manners_of_a_bad_catalogue():
    with Canary() as canary:
        with StacApp(FEATURES, manner="duplicates") as api:
            found = flat(search(api.url, pages=9))
            assert (len(found), len(set(found))) == (50, 25)
        with StacApp(FEATURES, manner="ignores-query") as api:
            assert len(flat(search(api.url, query={"eo:cloud_cover": {"lt": 1}}))) == 25
        with (
            StacApp(FEATURES[:1], manner="huge-strings") as api,
            urlopen(post(f"{api.url}/search", {})) as answer,
        ):
            assert len(answer.read()) > 10_000_000
        for manner in ("not-json", "nested", "no-features"):
            with StacApp(FEATURES, manner=manner) as api, urlopen(post(f"{api.url}/search", {})) as answer:
                assert answer.status == 200
        assert canary.hits == 0
        with (
            StacApp(FEATURES, manner="next-elsewhere", elsewhere=canary.url) as api,
            pytest.raises(ValueError),
        ):
            search(api.url)
        assert canary.hits == 1
        api = StacApp(FEATURES, manner="redirects", elsewhere=f"{canary.url}/gone")
        with api, pytest.raises(HTTPError, match="307"):
            urlopen(post(f"{api.url}/search", {}))
        assert canary.hits == 1


def test_the_api_has_faults_too():
    with StacApp(FEATURES, faults=Faults({"503": 1.0}, in_a_row=1)) as api:
        with pytest.raises(HTTPError, match="503"):
            urlopen(api.url)
        with urlopen(api.url) as answer:
            assert answer.status == 200
        assert api.struck == {"503": 1}


def test_catalogue_and_pixels_can_share_an_address(folder):
    with StacApp(directory=folder) as api:
        api.publish(FEATURES[:3])
        assert len(flat(search(api.url))) == 3
        assert ask(api, Range="bytes=3-9")[2] == CONTENT[3:10]
        assert ask(api, "/none.tif")[0] == 404


def test_rustac_answers_for_the_same_items(tmp_path):
    with rustac_server(collection("sentinel-2-l2a"), FEATURES, tmp_path / "rustac") as url:
        assert sorted(flat(search(url, limit=100))) == sorted(item["id"] for item in FEATURES)
        assert len(flat(search(url, bbox=[100.05, 29, 100.45, 31]))) == 4


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    looks = year_of_looks(2021, 4, cloudy=0.5, cover=0.3, seed=3)
    looks += [
        Look("2022-05-05", edge=0.4, platform="B"),
        Look("2022-05-05", edge=0.4, platform="B", number=1),
    ]
    return sample(tmp_path_factory.mktemp("scenes"), looks)


def read(path):
    with rasterio.open(path, driver="GTiff") as src:
        return src.read(1), src.profile


@pytest.mark.parametrize("shape", SHAPES)
def test_every_file_is_a_cog_on_the_grid_that_its_item_tells(scenes, shape):
    for item in scenes.items(shape)[::3]:
        for key, asset in item["assets"].items():
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                assert cog_validate(asset["href"], strict=True, quiet=True)[0]
            values, profile = read(asset["href"])
            assert list(values.shape) == asset["proj:shape"]
            assert list(profile["transform"])[:6] == asset["proj:transform"]
            assert profile["crs"].to_epsg() == scenes.place.geobox.crs.epsg == 32648
            assert (profile["nodata"], profile["compress"]) == (0, "deflate")
            assert profile["transform"].c % 20 == profile["transform"].f % 20 == 0
            assert (profile["dtype"], profile["transform"].a) == (
                ("uint8", 20)
                if key.lower() == "scl"
                else ("uint16", 20 if key in {"swir16", "swir22", "B11", "B12"} else 10)
            )


@pytest.mark.parametrize("shape", SHAPES)
def test_items_read_as_stac_and_name_files_as_their_catalogue_does(scenes, shape):
    for item in scenes.items(shape, "https://example.org"):
        with (
            warnings.catch_warnings()
        ):  # pystac on the storage extension 1.0 that Collection 1 still publishes
            warnings.filterwarnings("ignore", "Could not parse bucket", UserWarning)
            parsed = pystac.Item.from_dict(item)
        assert parsed.bbox[0] < 106.3 < parsed.bbox[2]
        assert parsed.datetime.year == int(item["properties"]["datetime"][:4])
        assert json.loads(json.dumps(item)) == item
    first = scenes.items(shape, "https://example.org")[0]
    product = "S2A_MSIL2A_20210103T033541_N0214_R061_T48RXT_20210103T083541"
    folder, stem = "sentinel2-l2/48/R/XT/2021/01/03", "T48RXT_20210103T033541"
    names = {
        "sentinel-2-c1-l2a": (
            "S2A_T48RXT_20210103T033541_L2A",
            "sentinel-2-c1-l2a/48/R/XT/2021/1/S2A_T48RXT_20210103T033541_L2A/B02.tif",
        ),
        "sentinel-2-l2a": (
            "S2A_48RXT_20210103_0_L2A",
            "sentinel-s2-l2a-cogs/48/R/XT/2021/1/S2A_48RXT_20210103_0_L2A/B02.tif",
        ),
        "planetary-computer": (
            "S2A_MSIL2A_20210103T033541_R061_T48RXT_20210103T083541",
            f"{folder}/{product}.SAFE/GRANULE/L2A_T48RXT_A034734_20210103T033541/IMG_DATA/R10m/{stem}_B02_10m.tif",
        ),
    }
    blue = first["assets"]["B02" if shape == "planetary-computer" else "blue"]
    assert (first["id"], blue["href"]) == (names[shape][0], f"https://example.org/{names[shape][1]}")


def test_pixels_keep_the_1000_where_that_catalogue_keeps_it(scenes):
    for index, (scene, kept) in enumerate(zip(scenes.scenes, [(1, 0, 0)] * 4 + [(1, 0, 1)] * 2, strict=True)):
        for shape, one in zip(SHAPES, kept, strict=True):
            for band in ("B04", "B11"):
                values = read(scenes.path(index, shape, band))[0].astype(int)
                step = 1 if band == "B04" else 2
                expected = scene.seen[BANDS.index(band), ::step, ::step].astype(int)
                assert (values == np.where(expected > 0, expected + 1000 * one, 0)).all()


def test_declarations_are_those_that_the_catalogues_publish(scenes):
    flags = [
        [item["properties"].get("earthsearch:boa_offset_applied") for item in scenes.items(shape)]
        for shape in SHAPES
    ]
    assert flags == [[None] * 6, [False] * 4 + [True] * 2, [None] * 6]
    baselines = [
        [item["properties"]["s2:processing_baseline"] for item in scenes.items(shape)] for shape in SHAPES
    ]
    old = ["02.14", "03.00", "03.01", "03.01"]
    assert baselines == [["05.00"] * 6, [*old, "04.00", "04.00"], [*old, "04.00", "04.00"]]
    red = scenes.items("sentinel-2-l2a")[5]["assets"]["red"]["raster:bands"][0]
    assert (red["scale"], red["offset"]) == (0.0001, -0.1)
    assert len({item["id"] for item in scenes.items("sentinel-2-l2a")}) == 6


def test_wrong_flags_and_mixed_pixels_are_made_on_demand(tmp_path):
    looks = [
        Look("2022-06-01", offset_in=True, flag=True, declared=0),
        Look("2022-07-01", offset_in=False, flag=False),
    ]
    made = sample(tmp_path, looks, shapes=SHAPES[1:2])
    first, second = made.items("sentinel-2-l2a")
    assert first["properties"]["earthsearch:boa_offset_applied"] is True
    assert first["assets"]["red"]["raster:bands"][0]["offset"] == 0
    assert second["properties"]["earthsearch:boa_offset_applied"] is False
    assert (
        read(first["assets"]["red"]["href"])[0].min() > 1000 > read(second["assets"]["red"]["href"])[0].min()
    )


def test_the_truth_is_what_a_clear_sky_shows(scenes):
    truth = scenes.place.truth.astype(float)
    for scene in scenes.scenes:
        assert (scene.clear > 0).all()
        error = np.abs(scene.clear - truth)
        assert np.median(error) < 0.06 * np.median(truth)
        undisturbed = ~scene.disturbed
        assert (scene.seen[:, undisturbed] == scene.clear[:, undisturbed]).all()
        assert not undisturbed.all() or not scene.look.cover
    cloudy = [scene for scene in scenes.scenes if scene.look.cover]
    assert len(cloudy) == 2
    for scene in cloudy:
        sure = np.isin(scene.scl, (8, 9)) & ~scene.false_cloud
        assert scene.disturbed[::2, ::2][sure].mean() > 0.95
        apart = np.abs(scene.seen.astype(float) - scene.clear)[:, scene.disturbed]
        assert np.median(apart) > 300
        assert abs(scene.cloud_cover - 100 * scene.look.cover) < 5


def test_the_edge_of_the_swath_has_no_data_in_any_file(scenes):
    scene = scenes.scenes[4]
    assert 0.3 < (scene.seen == 0).all(0).mean() < 0.5
    assert ((scene.seen == 0).all(0) == (scene.seen == 0).any(0)).all()
    assert ((scene.scl == 0) == (scene.seen[0, ::2, ::2] == 0)).all()
    assert scenes.items(SHAPES[0])[4]["properties"]["s2:nodata_pixel_percentage"] > 30


def test_bright_roofs_are_called_cloud_on_most_dates(scenes):
    roofs = scenes.place.roofs
    assert roofs.sum() > 100
    assert sum(scene.false_cloud.any() for scene in scenes.scenes) >= 4
    for scene in scenes.scenes:
        assert np.isin(scene.scl[scene.false_cloud], (0, 8, 9)).all()
        assert roofs[scene.false_cloud].all()


def test_scenes_come_from_their_seed(scenes, tmp_path):
    again = sample(tmp_path, [scenes.scenes[1].look, Look("2021-02-02", seed=9)], shapes=SHAPES[:1])
    assert (again.scenes[0].seen == scenes.scenes[1].seen).all()
    assert again.path(0, SHAPES[0], "B03").read_bytes() == scenes.path(1, SHAPES[0], "B03").read_bytes()
    assert (again.scenes[1].seen != scenes.scenes[1].seen).mean() > 0.5
    assert (scenes.scenes[4].seen == scenes.scenes[5].seen).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("real", [True, False])
def test_weather_covers_what_was_asked(kind, real):
    sky = weather(kind, 0.4, (300, 260), np.random.default_rng(5), real=real)
    under = np.full((6, 300, 260), 1500, np.float32)
    seen = sky.over(under)
    assert (seen[:, ~sky.disturbed] < 1500 + 101).all()
    if kind == "haze":
        assert (seen >= under).all()
        assert (seen[0] > seen[4]).any()
    else:
        share = np.isin(sky.scl, (8, 9)).mean()
        assert share == pytest.approx(1.0 if kind == "overcast" else 0.4, abs=0.02)
        assert seen[2, sky.scl == 9].mean() > 2000
        shaded = (sky.scl == 3) & (sky.cloud == 0)
        assert kind == "overcast" or seen[3, shaded].mean() < 900


@pytest.mark.parametrize("name", ["chongqing", "beihai", "dubai", "bolzano", "rio"])
def test_grounds_cover_their_tile_in_true_place(name):
    place = ground(name, over="main")
    tile = tile_of(place)
    want, have = tile.geobox(10, 32).boundingbox, place.geobox.boundingbox
    assert have.left <= want.left < want.right <= have.right
    assert have.bottom <= want.bottom < want.top <= have.top
    assert place.truth.shape == (6, *place.geobox.shape)
    assert (place.truth > 0).all()
    assert 0.05 < place.real.mean() < 0.6
    alone = ground(name)
    rows, cols = np.nonzero(place.real)
    part = place.truth[:, rows.min() : rows.max() + 1, cols.min() : cols.max() + 1]
    assert (part == alone.truth).all()
    assert (place.geobox.transform * (int(cols.min()), int(rows.min()))) == alone.geobox.transform * (0, 0)
    assert mgrs_of(place.geobox)[:2] == str(place.geobox.crs.epsg % 100)


def test_hostile_items_are_what_they_say(scenes):
    good = scenes.items("sentinel-2-l2a")[0]
    before = json.dumps(good)
    for case in HOSTILE:
        assert json.dumps(case.of(good)) != before
    assert json.dumps(good) == before
    assert len({case.name for case in HOSTILE}) == len(HOSTILE) > 50


def test_a_disguised_vrt_calls_the_canary_when_gdal_is_not_told_better(tmp_path):
    with Canary() as canary:
        disguised_vrt(tmp_path / "B02.tif", canary.url)
        with pytest.raises(rasterio.errors.RasterioIOError):
            rasterio.open(tmp_path / "B02.tif", driver="GTiff")
        assert canary.hits == 0
        with rasterio.open(tmp_path / "B02.tif") as src, pytest.raises(rasterio.errors.RasterioIOError):
            src.read(1)
        assert canary.hits > 0


def test_the_script_writes_a_year(tmp_path):
    script = Path(__file__).parent / "scenery" / "scenes.py"
    environment = {**os.environ, "PYTHONPATH": f"{script.parents[1]}:{script.parents[2]}"}
    command = [sys.executable, script, tmp_path / "out", "--bundled", "--dates", "2"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "2 dates of chongqing, tile 48N-0061-0317" in done.stdout
    page = json.loads((tmp_path / "out" / "planetary-computer.json").read_text())
    assert all(
        Path(asset["href"]).is_file() for item in page["features"] for asset in item["assets"].values()
    )
    with np.load(tmp_path / "out" / "truth.npz") as truth:
        assert truth["truth"].shape[0] == 6
        assert truth["disturbed"].shape[0] == 2


def test_safe_folders_hold_the_same_pixels_in_jpeg_2000(scenes, tmp_path):
    old, new = write_safe(scenes, tmp_path, only=[0, 4])
    assert old.name == "S2A_MSIL2A_20210103T033541_N0214_R061_T48RXT_20210103T083541.SAFE"
    for home, index, kept in ((old, 0, 0), (new, 4, 1000)):
        scene, root = scenes.scenes[index], ET.parse(home / "MTD_MSIL2A.xml").getroot()
        assert root.findtext(".//PROCESSING_BASELINE") == ("04.00" if kept else "02.14")
        assert {each.text for each in root.iter("BOA_ADD_OFFSET")} == ({"-1000"} if kept else set())
        named = [home / f"{each.text}.jp2" for each in root.iter("IMAGE_FILE")]
        assert sorted(named) == sorted(home.rglob("*.jp2"))
        with rasterio.open(named[5], driver="JP2OpenJPEG") as src:
            dn = scene.seen[5, ::2, ::2].astype(int)
            assert (src.read(1) == np.where(dn > 0, dn + kept, 0)).all()
            assert src.transform == scenes.place.geobox.transform * rasterio.Affine.scale(2)
        assert not list(home.rglob("*.aux.xml"))
    assert ET.parse(next(new.rglob("MTD_TL.xml"))).getroot().findtext(".//HORIZONTAL_CS_CODE") == "EPSG:32648"


def test_items_of_cdse_name_the_files_of_the_safe_folder(scenes, tmp_path):
    (home,) = write_safe(scenes, tmp_path, only=[4])
    document = cdse_item(scenes.granules[4, "planetary-computer"], f"{tmp_path}")
    pystac.Item.from_dict(document)
    assert document["id"] == home.stem
    assert all(Path(asset["href"]).is_file() for asset in document["assets"].values())
    assert document["assets"]["B11_20m"]["raster:offset"] == -0.1
