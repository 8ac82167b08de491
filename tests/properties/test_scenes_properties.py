"""No catalogue answer breaks anything but itself, and no order of answers matters."""

import copy
from dataclasses import replace

import numpy as np
import published
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from isamap.domain.grid import tiles_over
from isamap.domain.scenes import Selection, deduplicate, once_per_pass, passes, scene_of, select
from isamap.domain.sources import SOURCES, Source, source_of
from isamap.errors import ConfigError, InputError

IN_ANY_TIME = settings(deadline=None, max_examples=300)
ROWS = (
    *SOURCES.values(),
    source_of("https://stac.example.org"),
    Source(name="folder", url="", collections=()),
)
ITEMS = (published.earth_search, published.earth_search_c1, published.planetary_computer, published.cdse)

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**400),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["../x", "\x00", "s3://a/b", "file:///etc/passwd", "x" * 5000, "NaN", "2023-06-28T07:24:41Z"]
    ),
    st.binary(max_size=3),
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)


def places(value, path=()):
    """Every place in a nested document."""
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from places(inner, (*path, index))


@st.composite
def damaged_items(draw):
    """Published items with anything at one to three places."""
    item = copy.deepcopy(draw(st.sampled_from(ITEMS))())
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(places(item))[1:]))
        target = item
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = draw(ANYTHING)
    return item


def outcome(refusal, function, *arguments):
    """What comes back, or the message of the one error that may come instead."""
    try:
        return function(*arguments), ""
    except refusal as error:
        return None, str(error)


@IN_ANY_TIME
@given(damaged_items() | ANYTHING, st.sampled_from(ROWS))
def test_any_item_is_a_scene_or_one_line(item, row):
    scene, fault = outcome(InputError, scene_of, item, row)
    assert "\n" not in fault
    assert len(fault) < 600
    if scene is not None:
        assert scene.id.strip(".") != ""
        assert "/" not in scene.id
        assert len(scene.datetime) == 20
        assert scene.cloud_cover is None or 0 <= scene.cloud_cover <= 100
        assert all(len(asset.href) <= 2048 for asset in scene.assets.values())


@IN_ANY_TIME
@given(st.text() | st.sampled_from(["https://a b", "http://[::1]:80/x#y"]))
def test_any_text_is_a_source_or_one_line(text):
    row, fault = outcome(ConfigError, source_of, text)
    assert "\n" not in fault
    if row is not None:
        assert row.url.startswith(("https://", "http://"))


TILE = tiles_over(shapely.box(48.5, 18.5, 48.501, 18.501))[0]
BASE = scene_of(published.earth_search(), SOURCES["earth-search"])
SCENES = st.builds(
    lambda number, day, minute, platform, mgrs, baseline, source, cloud, box: replace(
        BASE,
        id=f"scene-{number}",
        datetime=f"2023-06-{day:02d}T07:{minute:02d}:00Z",
        platform=platform,
        mgrs=mgrs,
        baseline=baseline,
        source=source,
        cloud_cover=cloud,
        footprint=box,
    ),
    st.integers(0, 5),
    st.integers(1, 3),
    st.sampled_from([0, 20, 59]),
    st.sampled_from(["S2A", "S2B", ""]),
    st.sampled_from(["39QTA", "39QUA"]),
    st.sampled_from(["", "02.12", "05.00", "99.99"]),
    st.sampled_from(["earth-search", "planetary-computer", "else"]),
    st.none() | st.sampled_from([0.0, 30.0, 61.0]),
    st.sampled_from(
        [None, shapely.box(48, 18, 49, 19), shapely.box(48, 18, 48.55, 19), shapely.box(48.5, 18, 49, 19)]
    ),
)


@IN_ANY_TIME
@given(st.lists(SCENES, max_size=12), st.randoms(use_true_random=False), st.integers(1, 6))
def test_order_and_repetition_of_answers_do_not_matter(scenes, random, most):
    def chosen(answers):
        kept, dropped = deduplicate(answers, ("earth-search",), TILE.footprint())
        picked, left = select(kept, TILE, Selection(max_scenes=most))
        return picked, sorted({*dropped, *left}, key=repr)

    shuffled = [*scenes, *random.sample(scenes, len(scenes) // 2)]
    random.shuffle(shuffled)
    assert chosen(scenes) == chosen(shuffled)
    picked, dropped = chosen(scenes)
    assert picked == sorted(picked, key=lambda scene: scene.order)
    assert len(picked) <= most
    assert {scene.id for scene in scenes} == {one.id for one in (*picked, *dropped)}


@IN_ANY_TIME
@given(st.lists(SCENES, min_size=1, max_size=8), st.data())
def test_every_pixel_seen_counts_once_per_pass(scenes, data):
    flags = data.draw(st.lists(st.booleans(), min_size=4 * len(scenes), max_size=4 * len(scenes)))
    before = np.array(flags).reshape(len(scenes), 2, 2)
    valid = before.copy()
    once_per_pass(valid, scenes)
    labels = np.array(passes(scenes))
    for label in set(labels):
        here = labels == label
        assert (valid[here].sum(axis=0) == before[here].any(axis=0)).all()
    assert (valid <= before).all()
