import numpy as np
import pytest
import rasterio

from isamap.domain.share import (
    ShareRules,
    bare_soil_index,
    green_cover,
    grown,
    impervious_share,
    lowest_neighbour,
    mean_around,
    ndvi,
    normalised_difference,
    water,
)

GROUND = {  # B02, B03, B04, B08, B11 as the sensor sees them at the top of the atmosphere
    "forest": (0.08, 0.07, 0.045, 0.30, 0.13),
    "asphalt": (0.13, 0.12, 0.12, 0.14, 0.13),
    "concrete": (0.30, 0.30, 0.31, 0.33, 0.34),
    "blue steel roof": (0.30, 0.26, 0.20, 0.34, 0.30),
    "river": (0.10, 0.09, 0.07, 0.05, 0.02),
    "dry soil": (0.10, 0.12, 0.17, 0.21, 0.33),
    "half grown over": (0.09, 0.09, 0.09, 0.154, 0.13),
}
NAMES = ("B02", "B03", "B04", "B08", "B11")


def ground(*rows):
    """Bands of a small map of named ground."""
    pixels = np.array([[GROUND[name] for name in row] for row in rows], np.float32)
    return {band: pixels[..., index] for index, band in enumerate(NAMES)}


def far_apart(*names, size=3):
    """One pixel of each kind in the middle of ground of its own, so that no neighbour matters."""
    return [ground(*[[name] * size] * size) for name in names]


@pytest.mark.parametrize(
    ("name", "share", "weight"),
    [
        ("forest", 0, 1),
        ("asphalt", 1, 1),
        ("concrete", 1, 1),
        ("blue steel roof", 1, 1),
        ("river", 0, 1),
        ("dry soil", 1, 0),
        ("half grown over", (0.38 - 0.262) / (0.38 - 0.15), 1),
    ],
)
def test_known_ground_has_the_share_a_person_would_give_it(name, share, weight):
    (bands,) = far_apart(name)
    got, worth = impervious_share(bands)
    if name == "dry soil":
        assert bare_soil_index(bands).min() > 0.12
    np.testing.assert_allclose(worth, weight)
    if weight:
        np.testing.assert_allclose(got, share, atol=0.01)


def test_ground_that_was_green_on_the_other_date_is_not_impervious():
    asphalt, forest = far_apart("asphalt", "forest")
    share, weight = impervious_share(asphalt, forest)
    np.testing.assert_array_equal(share, 0)
    np.testing.assert_array_equal(weight, 0.5)  # a field, or built since


def test_bare_soil_that_was_green_on_the_other_date_is_known_to_be_pervious():
    soil, forest = far_apart("dry soil", "forest")
    share, weight = impervious_share(soil, forest)
    np.testing.assert_array_equal(share, 0)
    np.testing.assert_array_equal(weight, 0.5)


def test_ground_that_was_bare_on_the_other_date_keeps_its_own_green():
    forest, soil = far_apart("forest", "dry soil")
    share, weight = impervious_share(forest, soil)
    np.testing.assert_array_equal(share, 0)
    np.testing.assert_array_equal(weight, 1)


def test_a_road_does_not_drown_in_the_verges_of_a_shifted_date():
    road = ground(*[["forest", "forest", "asphalt", "forest", "forest"]] * 5)
    shifted = ground(*[["forest", "asphalt", "forest", "forest", "forest"]] * 5)
    share, weight = impervious_share(road, shifted)
    np.testing.assert_array_equal(share[:, 2], 1)
    np.testing.assert_array_equal(weight[:, 2], 1)


def test_shores_say_nothing_and_open_water_is_pervious():
    share, weight = impervious_share(ground(*[["river", "river", "asphalt", "asphalt"]] * 4))
    np.testing.assert_array_equal(share[:, :2], 0)
    np.testing.assert_array_equal(weight, [[1, 1, 0, 1]] * 4)


def test_only_the_short_wave_infrared_tells_a_blue_roof_from_water():
    bands = ground(["river"])
    bands["B11"] = np.full_like(bands["B11"], 0.2)
    assert not water(bands).any()
    del bands["B11"]
    assert water(bands).all()


def test_indices_match_a_hand_count():
    bands = ground(["forest", "dry soil"])
    np.testing.assert_allclose(ndvi(bands), [[0.255 / 0.345, 0.04 / 0.38]], rtol=1e-5)
    np.testing.assert_allclose(bare_soil_index(bands)[0, 1], (0.33 + 0.17 - 0.21 - 0.10) / 0.81, rtol=1e-5)


def test_nothing_seen_divides_by_nothing():
    zero = np.zeros((2, 2), np.float32)
    np.testing.assert_array_equal(normalised_difference(zero, zero), zero)
    assert all(np.isfinite(part).all() for part in impervious_share(dict.fromkeys(NAMES, zero)))


def test_the_lowest_neighbour_matches_a_loop():
    values = np.random.default_rng(2).random((6, 7)).astype(np.float32)
    expected = [
        [values[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].min() for x in range(7)] for y in range(6)
    ]
    np.testing.assert_array_equal(lowest_neighbour(values), expected)


def test_a_grown_mask_takes_in_all_eight_neighbours():
    mask = np.zeros((5, 5), np.bool_)
    mask[2, 2] = True
    expected = np.zeros_like(mask)
    expected[1:4, 1:4] = True
    np.testing.assert_array_equal(grown(mask), expected)


def test_shares_of_the_bundled_scene_are_fractions_and_look_like_a_town(pytestconfig):
    folder = pytestconfig.rootpath / "examples" / "chongqing"
    bands = {}
    for gsd in (10, 20):
        with rasterio.open(folder / f"chongqing-20180402-{gsd}m.tif") as src:
            for name, values in zip(src.descriptions, src.read(), strict=True):
                bands[name] = values.astype(np.float32).repeat(gsd // 10, 0).repeat(gsd // 10, 1) / 10_000
    rows, cols = bands["B02"].shape
    share, weight = impervious_share({name: bands[name][:rows, :cols] for name in NAMES})
    assert share.dtype == weight.dtype == np.float32
    assert share.min() == 0
    assert share.max() == 1
    assert set(np.unique(weight)) <= {0.0, 0.5, 1.0}
    assert 0.1 < share[weight > 0].mean() < 0.6


def test_without_slack_a_shifted_verge_drowns_the_road():
    road = ground(*[["forest", "forest", "asphalt", "forest", "forest"]] * 5)
    shifted = ground(*[["forest", "asphalt", "forest", "forest", "forest"]] * 5)
    share, weight = impervious_share(road, shifted, ShareRules(slack_px=0, doubt=0.8))
    np.testing.assert_array_equal(share[:, 2], 0)
    np.testing.assert_allclose(weight[:, 2], 0.8)


def test_the_ramp_between_pervious_and_impervious_follows_the_rules():
    (half,) = far_apart("half grown over")
    share, _ = impervious_share(half, rules=ShareRules(impervious_ndvi=0.162, pervious_ndvi=0.362))
    np.testing.assert_allclose(share, 0.5, atol=0.01)


def test_a_mixed_pixel_is_roof_and_tree_in_town_and_sparse_crop_in_the_fields():
    town = ground(
        *[["half grown over" if (r + c) % 4 == 0 else "asphalt" for c in range(24)] for r in range(24)]
    )
    fields = ground(
        *[["half grown over" if (r + c) % 4 == 0 else "forest" for c in range(24)] for r in range(24)]
    )
    rules = ShareRules(built_up=0.35)
    ramp = (0.38 - 0.262) / (0.38 - 0.15)
    cover = ((0.262 - 0.05) / (0.55 - 0.05)) ** 2
    np.testing.assert_allclose(impervious_share(town, rules=rules)[0][12, 12], 1 - cover, atol=0.01)
    np.testing.assert_allclose(impervious_share(fields, rules=rules)[0][12, 12], ramp, atol=0.01)
    np.testing.assert_allclose(impervious_share(town)[0][12, 12], ramp, atol=0.01)


def test_green_cover_is_none_on_soil_and_whole_under_a_canopy():
    np.testing.assert_allclose(
        green_cover(np.float32([-0.3, 0.05, 0.3, 0.55, 0.9])), [0, 0, 0.25, 1, 1], atol=1e-6
    )


def test_the_mean_around_equals_a_loop():
    values = np.random.default_rng(3).random((9, 13), np.float32)
    padded = np.pad(values, 2, mode="edge")
    wanted = [[padded[r : r + 5, c : c + 5].mean() for c in range(13)] for r in range(9)]
    np.testing.assert_allclose(mean_around(values, 2), wanted, rtol=1e-5)
