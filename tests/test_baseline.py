"""The +1000 of processing baseline 04.00: what names, tags and pixels of somebody's imagery say of it."""

from pathlib import PurePath

import numpy as np
import pytest
import rasterio
from realdata import real

from isamap.domain.bands import unit_doubt
from isamap.domain.baseline import VISIBLE, darkest_of, keeps_offset, why_lifted

SAFE = "S2A_MSIL{level}_{day}T064631_N{baseline}_R020_T40RCN_20230613T101010.SAFE/GRANULE/B02_10m.jp2"


@pytest.mark.parametrize(
    ("level", "day", "baseline", "keeps"),
    [
        ("2A", "20230613", "0509", True),
        ("1C", "20220126", "0400", True),
        ("2A", "20180402", "0500", True),  # processed again
        ("1C", "20180402", "0206", False),
        ("2A", "20210714", "0301", False),
        ("2A", "20230613", "9999", None),  # somebody's own processing
    ],
)
def test_the_baseline_that_a_path_names_decides(level, day, baseline, keeps):
    path = PurePath("/data", SAFE.format(level=level, day=day, baseline=baseline))
    assert keeps_offset([path], []) is keeps


@pytest.mark.parametrize(
    ("stem", "tags", "keeps"),
    [
        ("T32TPS_20180330T101021_B02_10m", {}, None),  # may be processed again
        ("town", {"TIFFTAG_SOFTWARE": "built 2020-03-01"}, None),
        ("town-20180402", {"PROCESSING_BASELINE": "05.00"}, True),
        ("town-20230402", {"s2:processing_baseline": "03.01"}, False),
        ("town", {"PROCESSING_BASELINE": "none"}, None),
        ("town", {"LEVEL": "L1C"}, None),  # it has the offset, too
    ],
)
def test_tags_say_it_where_no_path_does_and_dates_never(stem, tags, keeps):
    assert keeps_offset([PurePath("2030-01-01", f"{stem}.tif")], tags.items()) is keeps


def town(rng, lifted=0.1, shape=(3, 10_000)):
    return (rng.uniform(0.03, 0.3, shape) + lifted).astype(np.float32)


@pytest.mark.parametrize("dark", [0, 1, 16, 25])
def test_a_handful_of_dark_pixels_does_not_hide_the_offset(dark):
    pixels = town(np.random.default_rng(4))
    pixels[:, :dark] = 0.0001
    assert "baseline 04.00 or later with the offset left in" in why_lifted(pixels)
    assert not why_lifted(pixels, keeps=False)


def test_pixels_as_dark_as_shadow_show_that_it_is_gone():
    assert not why_lifted(town(np.random.default_rng(4), lifted=0))
    assert not why_lifted(np.zeros((3, 0), np.float32))


@pytest.mark.parametrize("pixels", [1, 40, 1000])
def test_small_rasters_are_judged_by_their_darkest_pixels(pixels):
    assert why_lifted(town(np.random.default_rng(4), shape=(3, pixels)))
    assert darkest_of(np.linspace(0, 1, pixels, dtype=np.float32)[None]) <= 0.06


def test_a_named_baseline_is_said_unless_pixels_prove_that_the_offset_is_gone():
    rng = np.random.default_rng(4)
    doubtful = town(rng)
    doubtful[:, :100] = 0.095
    assert not why_lifted(doubtful)
    assert "name or tags say processing baseline 04.00 or later" in why_lifted(doubtful, keeps=True)
    blue = doubtful.copy()
    blue[0, :500] = 0.01  # as atmospheric correction overdoes it
    assert why_lifted(blue, keeps=True)
    assert not why_lifted(town(rng, lifted=0), keeps=True)


CITIES = {
    "aguasclaras": (20150916, 20171015),
    "beihai": (20161209, 20180309),
    "bordeaux": (20160504, 20171026),
    "chongqing": (20170414, 20180402),
    "milano": (20161228, 20180122),
    "montpellier": (20150812, 20171030),
    "rio": (20160424, 20171011),
    "valencia": (20160730, 20171107),
}
PATCHES = ("AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial")
PATCHES += ("Pasture", "PermanentCrop", "Residential", "River", "SeaLake")
SCENES = [
    *[f"s2-dubai-1m/s2-{day}-10m.tif" for day in (20151211, 20180330)],
    *[f"s2-oscd-change/{city}/{city}-{day}-10m.tif" for city, days in CITIES.items() for day in days],
    *[f"s2-eurosat-270/{name}.tif" for name in PATCHES],
    "s2-leipzig-north/s2-leipzig.tif",
    "s2-bolzano-2022/s2-bolzano-2022-06.tif",
]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("name", SCENES)
def test_no_real_scene_is_doubted_by_its_pixels_and_every_one_is_with_the_offset(name):
    (path,) = real(name)
    with rasterio.open(path) as src:
        dn = src.read([src.descriptions.index(band) + 1 for band in VISIBLE])
    pixels = dn[:, (dn > 0).all(axis=0)].astype(np.float32) / 10_000
    assert not why_lifted(pixels)
    assert not unit_doubt(pixels)
    assert why_lifted(pixels + np.float32(0.1))


def test_bytes_and_stretched_values_in_wide_integers_are_doubted():
    pixels = town(np.random.default_rng(4), lifted=0)
    assert not unit_doubt(pixels)
    assert "no value is above 255" in unit_doubt(pixels * np.float32(0.0255) / pixels.max())
    assert "stretched" in unit_doubt(np.minimum(pixels * np.float32(6.5535 / 0.3), 2))


@pytest.mark.parametrize(("low", "high"), [(0.005, 0.009), (0.2, 1.6), (1.9, 1.99), (0.001, 0.026)])
def test_lakes_and_clouds_are_not_doubted(low, high):
    pixels = np.random.default_rng(4).uniform(low, high, (3, 10_000)).astype(np.float32)
    assert not unit_doubt(pixels)
    assert not unit_doubt(pixels[:, :0])
