"""From catalogue to composite on scenes of known ground: what is made is the ground's truth, or nothing is made.

Everything but the command line: search, checks, choice, reading, offset, mask and composite, on real imagery with real
clouds (see tests/scenery/scenes.py), against brute force in numpy and against the truth.
"""

import random
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations

import numpy as np
import pytest
from scenery.ground import bundled, ground
from scenery.items import SHAPES, collection
from scenery.scenes import Look, make_scenes, year_of_looks
from scenery.servers import RangeServer, TokenServer, rustac_server
from scenery.stac import StacApp

from isamap.domain import stack as stacks
from isamap.domain.cloudmask import MaskRules
from isamap.domain.grid import MARGIN_PX
from isamap.domain.scenes import Dropped, Selection, deduplicate, scene_of, select
from isamap.domain.sources import SOURCES, source_of
from isamap.errors import InputError
from isamap.io.http import Limits
from isamap.io.remote import ScenePixels
from isamap.io.stac import search

ROWS = dict(zip(SHAPES, ("earth-search-c1", "earth-search", "planetary-computer"), strict=True))
ALL = Selection(max_cloud=100, max_scenes=100)


@dataclass(frozen=True)
class Made:
    """A composite and what it was made of."""

    values: np.ndarray
    looks: np.ndarray
    scenes: tuple[str, ...]
    offsets: dict[str, int]
    dropped: dict[str, str]
    clear: np.ndarray


def row(shape, api, ranges, tokens=None):
    """The catalogue's own row of the table, its addresses on loopback."""
    known = SOURCES[ROWS[shape]]
    hosts = tuple(server.url.removeprefix("http://") for server in (ranges, api) if server)
    token_url = f"{tokens.token_url}/{{collection}}" if tokens else ""
    return replace(
        known, url=api.url if api else known.url, hosts=hosts, token_url=token_url, requests_per_s=10_000
    )


def found(made, source, url=None):
    """Raw items that a search answers."""
    source = replace(source, url=url) if url else source
    west, south, east, north = made.tile.footprint().bounds
    with ScenePixels([source]) as pixels:
        client = pixels.client(source)
        return search(
            source, (west, south, east, north), "2021-01-01T00:00:00Z", "2022-12-31T23:59:59Z", client
        )


def chosen(made, source, items, selection=ALL):
    """Scenes of raw items, checked, once each, those that count."""
    scenes, dropped = [], []
    for item in items:
        try:
            scenes.append(scene_of(item, source))
        except InputError as error:
            dropped.append(Dropped(str(item.get("id")), str(error)))
    scenes, doubles = deduplicate(scenes, ground=made.tile.footprint())
    scenes, others = select(scenes, made.tile, selection)
    return scenes, [*dropped, *doubles, *others]


def composed(made, source, items, *, geobox=None, method="median", selection=ALL, pixels=None):
    """The composite of raw items, their pixels read as fetch does."""
    scenes, dropped = chosen(made, source, items, selection)
    geobox = geobox or made.tile.geobox(10, MARGIN_PX)
    tile = stacks.Stack(str(made.tile), tuple(geobox.shape), len(scenes))
    with pixels or own_pixels(source) as reader:
        for scene, look in zip(scenes, reader.looks(scenes, geobox), strict=True):
            tile.add(scene, look)
    return result(tile, source, method, dropped)


def result(tile, source, method="median", dropped=()):
    values, looks = tile.compose(source, method, MaskRules())
    offsets = {record["id"]: record["offset"]["offset"] for record in tile.records()}
    reasons = {one.id: one.reason for one in (*dropped, *tile.dropped)}
    return Made(values, looks, tuple(scene.id for scene in tile.scenes), offsets, reasons, tile.clear)


def own_pixels(source):
    return ScenePixels([source], limits=Limits())


def in_memory(made, source, shape, *, only=None, method="median"):
    """The same without servers and files: what the scenes show goes straight into the stack."""
    items = made.items(shape, f"https://{source.hosts[0]}", only=only)
    known = {item["id"]: index for index, item in zip(only or range(len(items)), items, strict=True)}
    scenes, dropped = chosen(made, source, items)
    height, width = made.place.geobox.shape
    tile = stacks.Stack(str(made.tile), (height, width), len(scenes))
    for scene in scenes:
        truth = made.scenes[known[scene.id]]
        kept = 1000 if truth.look.keeps_offset(shape) else 0
        dn = np.where(truth.seen > 0, truth.seen + kept, 0).astype(np.uint16)
        tile.add(scene, stacks.Look(dn, truth.scl.repeat(2, 0).repeat(2, 1)))
    return result(tile, source, method, dropped)


def brute_force(made, clear, order):
    """Median of the clear looks, pixel by pixel and band by band, of what the scenes truly show."""
    seen = np.stack([made.scenes[index].seen[:, *made.window] for index in order])
    median = np.zeros(seen.shape[1:], np.uint16)
    rng = np.random.default_rng(0)
    rows, cols = rng.integers(0, clear.shape[1], 4000), rng.integers(0, clear.shape[2], 4000)
    for y, x in zip(rows, cols, strict=True):
        for band in range(6):
            values = sorted(int(seen[k, band, y, x]) for k in range(len(seen)) if clear[k, y, x])
            if values:
                half = len(values) // 2
                median[band, y, x] = (values[(len(values) - 1) // 2] + values[half] + 1) >> 1
    return median, rows, cols


def rmse(values, truth):
    return np.sqrt(((values.astype(float) - truth) ** 2).mean((-2, -1)))


def own(values):
    """The tile without its margin."""
    return values[..., MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]


@pytest.fixture(scope="module")
def year(tmp_path_factory):
    """Twelve dates of Chongqing, real clouds over half of the ground on 60 % of them."""
    looks = year_of_looks(2021, 12, cloudy=0.6, cover=0.5)
    return make_scenes(tmp_path_factory.mktemp("year"), ground("chongqing", 1, "main"), looks)


@pytest.fixture(scope="module")
def ranges(year):
    with RangeServer(year.folder) as server:
        yield server


@contextmanager
def catalogue(made, shape, ranges, **manners):
    """The catalogue's API on loopback, and its row."""
    with StacApp(made.items(shape, ranges.url), **manners) as api, TokenServer() as tokens:
        yield row(shape, api, ranges, tokens)


@pytest.fixture(scope="module")
def annual(year, ranges):
    """The composite of the year from Collection 1 of Earth Search."""
    with catalogue(year, SHAPES[0], ranges) as source:
        return composed(year, source, found(year, source))


@pytest.mark.slow
def test_a_cloudy_year_shows_the_clear_truth(year, annual):
    truth = year.place.truth[:, *year.window]
    unmasked = np.median(np.stack([scene.seen[:, *year.window] for scene in year.scenes]), axis=0)
    clouds = np.mean([scene.disturbed[year.window].mean() for scene in year.scenes])
    assert clouds > 0.35
    assert (own(annual.looks) > 0).all()
    assert (rmse(own(annual.values), own(truth)) <= rmse(own(unmasked), own(truth)) / 3).all()
    assert rmse(own(annual.values), own(truth)).max() < 60


@pytest.mark.slow
def test_no_bright_roof_is_lost(year, annual):
    roofs = own(year.place.roofs.repeat(2, 0).repeat(2, 1)[year.window])
    assert roofs.sum() > 2000
    truth = own(year.place.truth[:, *year.window])[:, roofs].astype(float)
    assert (own(annual.looks)[roofs] > 0).all()
    assert (np.abs(own(annual.values)[:, roofs] - truth) < 0.1 * truth + 100).all()


@pytest.mark.slow
def test_the_composite_is_the_brute_force_median_of_what_was_read(year, annual):
    order = [
        k for name in annual.scenes for k, item in enumerate(year.items(SHAPES[0])) if item["id"] == name
    ]
    expected, rows, cols = brute_force(year, annual.clear, order)
    assert sorted(order) == list(range(12))
    np.testing.assert_array_equal(annual.values[:, rows, cols], expected[:, rows, cols])
    assert set(annual.offsets.values()) == {-1000}


@pytest.mark.slow
def test_sixty_percent_of_all_looks_may_be_cloud():
    looks = year_of_looks(2021, 12, cloudy=1.0, cover=0.45, seed=4)
    made = make_scenes("/nowhere", ground("chongqing", 1, "main").crop(184, 110, 512, 512), looks, shapes=())
    seen, clouds = (
        np.stack([scene.seen for scene in made.scenes]),
        [scene.disturbed.mean() for scene in made.scenes],
    )
    assert np.mean(clouds) > 0.6
    masked = in_memory(made, SOURCES["earth-search-c1"], SHAPES[0])
    there = masked.looks > 0
    assert there.mean() > 0.85  # the rest was under cloud or its shadow on all twelve dates
    error = np.sqrt(((masked.values.astype(float) - made.place.truth) ** 2)[:, there].mean(1))
    assert (error <= rmse(np.median(seen, axis=0), made.place.truth) / 3).all()


@pytest.mark.slow
def test_a_foreign_api_gives_the_same_bytes(year, ranges, annual, tmp_path):
    items = year.items(SHAPES[0], ranges.url)
    with rustac_server(collection(SHAPES[0]), items, tmp_path / "rustac") as url:
        with catalogue(year, SHAPES[0], ranges) as source:
            foreign = found(year, source, url)
            made = composed(year, source, foreign)
        generic = source_of(f"{url}#{SHAPES[0]}")
        generic = replace(generic, hosts=(ranges.url.removeprefix("http://"),), requests_per_s=10_000)
        assert len(found(year, generic)) == 12
    assert sorted(item["id"] for item in foreign) == sorted(item["id"] for item in items)
    assert made.values.tobytes() == annual.values.tobytes()
    assert made.looks.tobytes() == annual.looks.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES[1:])
def test_other_sources_of_the_same_scenes_give_the_same_pixels(year, ranges, annual, shape):
    with catalogue(year, shape, ranges) as source:
        made = composed(year, source, found(year, source))
    np.testing.assert_array_equal(made.looks, annual.looks)
    np.testing.assert_array_equal(made.values, annual.values)
    assert set(made.offsets.values()) == {0}


class Remembered:
    """Looks of an earlier reading, by scene."""

    def __init__(self, source, scenes, geobox):
        with own_pixels(source) as pixels:
            self._looks = dict(zip([scene.id for scene in scenes], pixels.looks(scenes, geobox), strict=True))

    def looks(self, scenes, geobox):
        return [self._looks[scene.id] for scene in scenes]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["median", "geomedian", "best"])
def test_results_shuffled_and_duplicated_give_the_same_bytes(year, ranges, method):
    geobox = year.tile.geobox(10, MARGIN_PX)[300:428, 300:428]
    with catalogue(year, SHAPES[0], ranges) as source:
        items = found(year, source)
        known = Remembered(source, chosen(year, source, items)[0], geobox)
        first = composed(year, source, items, geobox=geobox, method=method, pixels=nullcontext(known))
        for seed in range(20):
            mixed = random.Random(seed).choices(items, k=12) + items
            random.Random(seed + 100).shuffle(mixed)
            read_anew = method == "median" and seed % 4 == 0
            pixels = own_pixels(source) if read_anew else nullcontext(known)
            again = composed(year, source, mixed, geobox=geobox, method=method, pixels=pixels)
            assert again.scenes == first.scenes
            assert again.values.tobytes() == first.values.tobytes()
            assert again.looks.tobytes() == first.looks.tobytes()


def test_a_server_that_shuffles_and_repeats_pages_gives_the_same_scenes(year, ranges):
    lists = set()
    with StacApp(year.items(SHAPES[0], ranges.url), manner="duplicates", most=5) as api:
        source = row(SHAPES[0], api, ranges)
        for api.catalogue.seed in range(20):
            scenes, _ = chosen(year, source, found(year, source))
            lists.add(tuple(scene.id for scene in scenes))
    assert len(lists) == 1
    assert len(lists.pop()) == 12


DAYS = {"before": ("2021-04-14", "2021-08-02"), "after": ("2022-04-14", "2022-08-02")}
OFFSETS = [
    (shape, when, kept, flag)
    for shape in SHAPES
    for when in ("before", "after", "mixed")
    for kept in (True, False, "mixed")
    for flag in ("published", "true", "false", "absent")
]


@cache
def four_dates(days):
    looks = [Look(day, 0.2 if index == 1 else 0.0) for index, day in enumerate(days)]
    return make_scenes("/nowhere", bundled().crop(0, 0, 320, 320), looks, shapes=(), real_weather=False)


@pytest.mark.parametrize(("shape", "when", "kept", "flag"), OFFSETS)
def test_the_offset_is_right_or_the_scene_is_refused(shape, when, kept, flag):
    days = (
        [*DAYS["before"], *DAYS["after"]]
        if when == "mixed"
        else [*DAYS[when], *(day[:-1] + "9" for day in DAYS[when])]
    )
    flags = {"published": "published", "true": True, "false": False, "absent": None}
    declared = {"published": "published", "true": 0, "false": -0.1, "absent": 0}
    looks = [
        Look(
            day,
            0.2 if index == 1 else 0.0,
            offset_in=kept if kept != "mixed" else index % 2 == 0,
            flag=flags[flag],
            declared=declared[flag],
        )
        for index, day in enumerate(days)
    ]
    made = four_dates(tuple(days)).described(looks)
    truth = {
        made.granules[index, shape].id(shape): (-1000 if scene.look.keeps_offset(shape) else 0)
        for index, scene in enumerate(made.scenes)
    }
    try:
        composite = in_memory(made, SOURCES[ROWS[shape]], shape)
    except InputError as error:
        refusal = str(error)
    else:
        refusal = ""
    natural = all(
        replace(look, offset_in=None).keeps_offset(shape) == look.keeps_offset(shape) for look in looks
    )
    if natural:  # pixels as published: all scenes count, whatever the flags say
        assert not refusal
        assert len(composite.scenes) == 4
    if refusal:
        assert "pixels prove" in refusal or "nothing tells" in refusal
        return
    assert composite.offsets == {name: truth[name] for name in composite.scenes}
    for name in set(truth) - set(composite.scenes):
        assert "offset" in composite.dropped[name] or "other dates" in composite.dropped[name]
    there = composite.looks > 0
    error = np.abs(composite.values.astype(float) - made.place.truth)[:, there]
    assert np.percentile(error, 99) < 400
    assert np.median(error) < 100


PARTS = [part for count in range(1, 6) for part in combinations(range(6), count)]


@cache
def one_date(city):
    place = bundled() if city == "bundled" else ground(city, 1)
    return make_scenes(
        "/nowhere", place.crop(0, 0, 256, 256), [Look("2022-04-14")], shapes=(), real_weather=False
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("city", ["bundled", "beihai", "dubai"])
def test_a_scene_with_the_offset_in_some_bands_is_refused(city, shape):
    made, source = one_date(city), SOURCES[ROWS[shape]]
    (truth,) = made.scenes
    scenes, _ = chosen(made, source, made.items(shape, f"https://{source.hosts[0]}"))
    for without in PARTS:
        tile = stacks.Stack(str(made.tile), tuple(made.place.geobox.shape), 1)
        kept = np.array([0 if band in without else 1000 for band in range(6)], np.uint16)
        look = stacks.Look(truth.seen + kept[:, None, None], truth.scl.repeat(2, 0).repeat(2, 1))
        tile.add(scenes[0], look)
        with pytest.raises(InputError, match="offset"):
            result(tile, source)
    as_published = in_memory(made, source, shape)
    assert as_published.offsets == {scenes[0].id: -1000 if truth.look.keeps_offset(shape) else 0}


@pytest.mark.parametrize("shape", SHAPES)
def test_scenes_published_twice_count_once(shape):
    looks = [
        Look("2022-04-14", baseline="04.00"),
        Look("2022-04-14", baseline="05.10", number=1),
        Look("2022-04-14", baseline="05.10", number=2),
        Look("2022-05-14", platform="B"),
        Look("2022-05-14", platform="B", number=1),
    ]
    made = make_scenes("/nowhere", bundled().crop(0, 0, 256, 256), looks, shapes=(), real_weather=False)
    source = SOURCES[ROWS[shape]]
    items = made.items(shape, f"https://{source.hosts[0]}")
    scenes, dropped = chosen(made, source, items)
    assert [(scene.datetime[:10], scene.platform) for scene in scenes] == [
        ("2022-04-14", "S2A"),
        ("2022-05-14", "S2B"),
    ]
    assert scenes[0].baseline == "05.10"
    assert len(dropped) == 3


def test_where_no_swath_reaches_nothing_is_invented():
    looks = [
        Look("2021-04-14", edge=0.3),
        Look("2021-05-14", edge=0.5, platform="B"),
        Look("2021-06-14", edge=0.4),
    ]
    made = make_scenes("/nowhere", bundled().crop(0, 0, 384, 384), looks, shapes=(), real_weather=False)
    composite = in_memory(made, SOURCES["earth-search-c1"], SHAPES[0])
    seen = np.stack([(scene.seen > 0).all(0) for scene in made.scenes])
    assert (composite.looks[~seen.any(0)] == 0).all()
    assert (composite.values[:, composite.looks == 0] == 0).all()
    assert (composite.values[:, composite.looks > 0] > 0).all()
    assert (composite.looks <= seen.sum(0)).all()
    assert (composite.looks[seen.all(0)] > 0).mean() > 0.95
