"""The offset of baseline 04.00: right in every case, or refused with the reason."""

from dataclasses import replace
from functools import cache
from itertools import combinations

import numpy as np
import published
import pytest
from realdata import real
from scenery.ground import ground

from isamap.domain.harmonisation import cross_check, decide, evidence, harmonise, record, settle
from isamap.domain.scenes import scene_of
from isamap.domain.sources import BANDS, SOURCES, source_of
from isamap.errors import InputError

ELSEWHERE = source_of("https://stac.example.org/v1")
EARTH_SEARCH, C1, PC = (SOURCES[name] for name in ("earth-search", "earth-search-c1", "planetary-computer"))


def land(rng, shape=(256, 256), *, dark=True, veil=0.0, season=1.0):
    """A made scene: fields, a wood and a lake; without `dark` ground, sand and concrete alone. DN without offset, SCL."""
    height, width = shape
    dn = np.empty((6, *shape), np.float64)
    scl = np.full(shape, 5, np.uint8)
    dn[:] = np.array([1900, 2300, 2800, 3300, 4000, 3700])[:, None, None]
    if dark:
        dn[:] = np.array([700, 950, 1100, 2300, 2500, 1800])[:, None, None]
        dn[:, : height // 2] = np.array([250, 480, 300, 3600, 1700, 750])[:, None, None]
        scl[: height // 2] = 4
        dn[:, : height // 2, : width // 4] = np.array([420, 400, 250, 120, 60, 40])[:, None, None]
        scl[: height // 2, : width // 4] = 6
    dn[3] *= season
    dn = dn * rng.normal(1, 0.04, dn.shape) + rng.normal(0, 8, dn.shape) + veil
    return np.clip(np.rint(dn), 1, 20_000).astype(np.uint16), scl


def item(source, **fields):
    base = {"baseline": "05.09", "declared_offset": None, "declaration": ""}
    return replace(scene_of(published.earth_search(), EARTH_SEARCH), source=source.name, **(base | fields))


def one(dn, scl, source, **fields):
    return decide(item(source, **fields), source, evidence(dn, dn.all(axis=0), scl))


@pytest.mark.parametrize("baseline", ["02.12", "04.00", "05.00", "05.11", "00.01", "99.99", ""])
@pytest.mark.parametrize("declared", [0, -1000, None])
@pytest.mark.parametrize("left_in", [False, True])
@pytest.mark.parametrize("source", [EARTH_SEARCH, ELSEWHERE, C1, PC], ids=lambda row: row.name)
def test_with_dark_pixels_every_case_is_right_or_a_contradiction(baseline, declared, left_in, source):
    dn, scl = land(np.random.default_rng(1))
    stored = dn + np.uint16(1000 * left_in)
    truth = -1000 if left_in else 0
    impossible = left_in and baseline == "02.12"
    ruled = source in (C1, PC) and baseline in ("04.00", "05.00", "05.11") and declared != 0
    if impossible or (ruled and not left_in):
        with pytest.raises(InputError, match="pixels prove"):
            one(stored, scl, source, baseline=baseline, declared_offset=declared, declaration="the flag")
        return
    found = one(stored, scl, source, baseline=baseline, declared_offset=declared, declaration="the flag")
    assert (found.value, found.proof) == (truth, "pixels")
    assert ("although the item says" in found.basis) == (declared not in (None, truth))


@pytest.mark.parametrize("declared", [0, -1000, None])
@pytest.mark.parametrize("left_in", [False, True])
@pytest.mark.parametrize("source", [EARTH_SEARCH, ELSEWHERE], ids=lambda row: row.name)
def test_without_dark_pixels_no_flag_is_believed(declared, left_in, source):
    dn, scl = land(np.random.default_rng(2), dark=False)
    with pytest.raises(InputError, match="nothing tells whether the offset"):
        one(dn + np.uint16(1000 * left_in), scl, source, declared_offset=declared)


def test_without_dark_pixels_a_rule_is_believed():
    dn, scl = land(np.random.default_rng(2), dark=False)
    assert one(dn, scl, EARTH_SEARCH, baseline="02.12").value == 0
    found = one(dn + np.uint16(1000), scl, PC, baseline="05.00")
    assert (found.value, found.proof) == (-1000, "rule")
    with pytest.raises(InputError, match="nothing tells"):
        one(dn, scl, PC, baseline="05.00", declared_offset=0)


def stack_of(cases, seed=3, **how):
    """(source, left_in, dark, fields) of dates of one ground: scenes, stack, usable, scl."""
    scenes, stack, classes = [], [], []
    for k, (source, left_in, dark, fields) in enumerate(cases):
        dn, scl = land(np.random.default_rng(seed + k), dark=dark, season=1 + 0.1 * (k % 3), **how)
        scenes.append(item(source, id=f"scene-{k}", datetime=f"2023-0{k + 1}-01T00:00:00Z", **fields))
        stack.append(dn + np.uint16(1000 * left_in))
        classes.append(scl)
    stack = np.stack(stack)
    return (
        scenes,
        {row.name: row for row in (EARTH_SEARCH, ELSEWHERE, C1, PC)},
        stack,
        stack.all(axis=1),
        np.stack(classes),
    )


def test_a_mixed_stack_is_settled_scene_by_scene():
    wrong = {"declared_offset": -1000, "declaration": "the flag"}
    settled = settle(
        *stack_of(
            [
                (EARTH_SEARCH, False, True, wrong),
                (EARTH_SEARCH, True, True, {"declared_offset": 0, "declaration": "the flag"}),
                (PC, True, True, {"baseline": "05.00"}),
                (PC, False, True, {"baseline": "02.12"}),
                (C1, True, True, {"baseline": "05.00", "declared_offset": -1000}),
            ]
        )
    )
    assert [offset.value for offset in settled.offsets] == [0, -1000, -1000, 0, -1000]
    assert settled.dropped == ()


def test_without_dark_pixels_neighbours_that_are_certain_tell():
    settled = settle(
        *stack_of(
            [
                (PC, False, False, {"baseline": "02.12"}),
                (EARTH_SEARCH, False, False, {"declared_offset": -1000}),
                (EARTH_SEARCH, True, False, {"declared_offset": 0}),
                (EARTH_SEARCH, True, False, {"baseline": ""}),
            ]
        )
    )
    assert [offset.value for offset in settled.offsets] == [0, 0, -1000, -1000]
    assert [offset.proof for offset in settled.offsets] == ["rule", "neighbours", "neighbours", "neighbours"]


def test_without_anything_certain_every_scene_is_refused():
    settled = settle(*stack_of([(EARTH_SEARCH, k % 2 == 1, False, {"declared_offset": 0}) for k in range(4)]))
    assert settled.offsets == (None,) * 4
    assert all(
        "nothing tells" in dropped.reason and "\n" not in dropped.reason for dropped in settled.dropped
    )


def test_a_provider_that_breaks_its_rule_is_found_out_by_the_other_dates():
    """Bright ground, and a catalogue that began to remove the offset without saying so."""
    settled = settle(
        *stack_of(
            [
                (PC, False, False, {"baseline": "02.12"}),
                (PC, False, False, {"baseline": "02.14"}),
                (PC, True, False, {"baseline": "05.00"}),
                (PC, False, False, {"baseline": "05.10"}),
            ]
        )
    )
    assert [offset and offset.value for offset in settled.offsets] == [0, 0, -1000, None]
    assert "the same ground on other dates says 0" in settled.dropped[0].reason


def test_a_veil_of_cloud_is_not_taken_for_the_offset():
    scenes, sources, stack, usable, scl = stack_of([(PC, False, True, {"baseline": "02.12"})] * 3)
    stack[2] += np.uint16(800)
    scl[2] = 5
    scenes[2] = item(EARTH_SEARCH, id="veiled")
    settled = settle(scenes, sources, stack, usable, scl)
    assert settled.offsets[2] is None or settled.offsets[2].value == 0


def test_too_little_ground_in_common_tells_nothing():
    stack = np.full((2, 6, 40, 40), 3000, np.uint16)
    usable = np.zeros((2, 40, 40), bool)
    usable[0, :20], usable[1, 18:] = True, True
    assert cross_check(stack, usable, [0, None]) == [None, None]


def test_a_scene_without_usable_pixels_proves_nothing():
    seen = evidence(np.zeros((6, 8, 8), np.uint16), np.zeros((8, 8), bool), np.zeros((8, 8), np.uint8))
    assert (seen.pixels, seen.verdict) == (0, "unknown")
    assert record(one(*land(np.random.default_rng(1)), PC, baseline="02.12"), seen)["darkest"] == {}


@pytest.mark.parametrize("offset", [0, -1000])
def test_harmonised_dn_stay_within_1_and_65534_and_nodata_stays(offset):
    row = np.array([0, 1, 999, 1000, 1001, 5000, 65534, 65535], np.uint16)
    dn = np.repeat(row[None, None], 6, axis=0)
    valid = dn[0] > 0
    expected = np.where(row > 0, np.clip(row.astype(int) + offset, 1, 65534), 0)
    harmonise(dn, valid, offset)
    assert dn.dtype == np.uint16
    assert (dn == expected).all()


def by_rule(dn):
    """Vegetation, water and the rest, as SCL numbers them."""
    _, green, red, nir, b11, _ = dn.astype(float)
    scl = np.full(red.shape, 5, np.uint8)
    scl[(nir - red) > 0.4 * (nir + red)] = 4
    scl[(green > nir) & (b11 < 900)] = 6
    return scl


@cache
def cities():
    """Real level 1C of eight cities and Dubai: (name, DN without offset, SCL by rule)."""
    import rasterio

    found = []
    names = ["aguasclaras", "beihai", "bordeaux", "chongqing", "milano", "montpellier", "rio", "valencia"]
    root = real("s2-oscd-change/index.csv")[0].parent
    paths = [path for name in names for path in sorted(root.glob(f"{name}/*-10m.tif"))]
    paths += sorted(real("s2-dubai-1m/split-10m.tif")[0].parent.glob("s2-*-10m.tif"))
    for path in paths:
        with rasterio.open(path) as near, rasterio.open(str(path).replace("10m", "20m")) as far:
            swir = (
                far.read([far.descriptions.index(band) + 1 for band in ("B11", "B12")])
                .repeat(2, 1)
                .repeat(2, 2)
            )
            ten = near.read()[:, : swir.shape[1], : swir.shape[2]]
        dn = np.concatenate([ten, swir[:, : ten.shape[1], : ten.shape[2]]])
        found.append((path.name, dn, by_rule(dn)))
    return found


def test_real_cities_are_never_judged_wrongly_and_seldom_not_at_all():
    told = 0
    for name, dn, scl in cities():
        valid = dn.all(axis=0)
        for left_in in (False, True):
            stored = np.where(valid, dn + np.uint16(1000 * left_in), 0)
            verdict = evidence(stored, valid, scl).verdict
            assert verdict in ("unknown", "left-in" if left_in else "removed"), name
            told += verdict != "unknown"
    assert told >= 0.75 * 2 * len(cities())


@pytest.mark.parametrize("size", [144, 256])
def test_no_window_of_a_real_city_is_judged_wrongly(size):
    """Few windows have dark plants and nothing dark in the infrared: there the bands seem to disagree."""
    verdicts = []
    for name, dn, scl in cities():
        for row in range(0, dn.shape[1] - size + 1, size):
            for col in range(0, dn.shape[2] - size + 1, size):
                part, classes = (
                    dn[:, row : row + size, col : col + size],
                    scl[row : row + size, col : col + size],
                )
                valid = part.all(axis=0)
                for left_in in (False, True):
                    verdict = evidence(part + np.uint16(1000 * left_in), valid, classes).verdict
                    right = "left-in" if left_in else "removed"
                    assert verdict in ("unknown", "mixed", right), (name, row, col)
                    verdicts.append(verdict)
    assert verdicts.count("mixed") <= 0.03 * len(verdicts)


def test_real_level_2a_is_told_with_and_without_the_offset():
    """Boadella: a clear winter day, and two weeks before under haze; SCL by rule."""
    import rasterio

    paths = real(*(f"s2-boadella-2020/s2-boadella-2020-01-{day}.tif" for day in (28, 13)))
    for path, clear_day in zip(paths, (True, False), strict=True):
        with rasterio.open(path) as src:
            dn = src.read([src.descriptions.index(band) + 1 for band in BANDS]).clip(0).astype(np.uint16)
        scl = by_rule(dn)
        for left_in in (False, True):
            verdict = evidence(dn + np.uint16(1000 * left_in), dn.all(axis=0), scl).verdict
            right = "left-in" if left_in else "removed"
            assert verdict == right or (verdict == "unknown" and not clear_day)


PARTS = [part for count in range(1, 6) for part in combinations(range(6), count)]
CITIES = [
    "chongqing",
    "beihai",
    "milano",
    "valencia",
    "bordeaux",
    "aguasclaras",
    "montpellier",
    "rio",
    "dubai",
]


@pytest.mark.parametrize("date", [0, 1])
@pytest.mark.parametrize("city", CITIES)
def test_bands_that_disagree_are_refused_and_bands_that_agree_are_not(city, date):
    """Every choice of bands without the +1000, the others with it, on real ground as bright as level 2A."""
    place = ground(city, date)
    scl, valid = place.scl.repeat(2, 0).repeat(2, 1), np.ones(place.ten.shape[1:], bool)
    for without in PARTS:
        kept = np.array([0 if band in without else 1000 for band in range(6)], np.uint16)
        seen = evidence(place.truth + kept[:, None, None], valid, scl)
        for source in (EARTH_SEARCH, C1, PC):
            with pytest.raises(InputError, match="bands disagree on the offset"):
                decide(item(source, baseline="05.09"), source, seen)
    removed, left_in = evidence(place.truth, valid, scl), evidence(place.truth + np.uint16(1000), valid, scl)
    assert decide(item(EARTH_SEARCH, baseline="05.09"), EARTH_SEARCH, removed).value == 0
    assert decide(item(C1, baseline="05.09"), C1, left_in).value == -1000


def test_real_dates_with_haze_and_desert_are_not_taken_for_bands_that_disagree():
    """Level 1C: haze lifts blue by 700 to 1200; in Dubai nothing is darker than 600."""
    for name, dn, scl in cities():
        valid = dn.all(axis=0)
        for left_in in (0, 1000):
            assert not evidence(dn + np.uint16(left_in), valid, scl).disagreement, name


def test_an_oasis_without_dark_infrared_ground_stays():
    """Dubai without its water and shadow, a dark wood in it: only the visible bands go low."""
    place = ground("dubai", 1)
    dn, scl = place.truth.copy(), place.scl.repeat(2, 0).repeat(2, 1)
    lit = (dn[3:] > 1200).all(axis=0) & (scl != 4)
    dn[:, ~lit] = np.median(dn[:, lit], axis=1)[:, None].astype(np.uint16)
    scl[~lit] = 5
    dn[:, :60, :60] = np.array([300, 450, 380, 2800, 1900, 1250], np.uint16)[:, None, None]
    scl[:60, :60] = 4
    valid = np.ones(scl.shape, bool)
    assert evidence(dn, valid, scl).verdict == "removed"
    raw = np.where(np.arange(6) == 3, 1000, 0).astype(np.uint16)
    assert evidence(dn + raw[:, None, None], valid, scl).verdict == "mixed"


def test_other_dates_do_not_save_a_scene_whose_bands_disagree():
    scenes, sources, stack, usable, scl = stack_of([(EARTH_SEARCH, False, True, {})] * 4)
    stack[1, 4:] += np.uint16(1000)
    settled = settle(scenes, sources, stack, usable, scl)
    assert [offset and offset.value for offset in settled.offsets] == [0, None, 0, 0]
    assert "bands disagree on the offset" in settled.dropped[0].reason
    assert "B08" in settled.dropped[0].reason
    assert "B11" in settled.dropped[0].reason


def test_a_tile_without_scenes_is_settled():
    nothing = np.zeros((0, 8, 8), bool)
    empty = settle([], {}, np.zeros((0, 6, 8, 8), np.uint16), nothing, nothing.astype(np.uint8))
    assert (empty.offsets, empty.evidence, empty.dropped) == ((), (), ())


def test_two_real_dates_settle_each_other():
    """Years and seasons apart: what one date proves decides the other, never the wrong way."""
    by_city = {}
    for name, dn, scl in cities():
        by_city.setdefault(name.split("-")[0], []).append((dn, scl))
    told = 0
    for pair in by_city.values():
        stack = np.stack([dn for dn, _ in pair])
        usable = (stack > 0).all(axis=(0, 1))[None].repeat(2, axis=0)
        for left_in in (0, 1000):
            stored = stack.copy()
            stored[1] += np.uint16(left_in)
            answer = cross_check(stored, usable, [0, None])[1]
            assert answer in (None, -left_in)
            told += answer is not None
    assert told >= len(by_city)
