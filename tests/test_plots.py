"""Charts and maps of a report: their size, their words, and what no input may break."""

import io
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from isamap.domain.product import NODATA
from isamap.errors import ConfigError
from isamap.io import pictures, sheet
from isamap.io.plots import (
    Chip,
    Extent,
    Heading,
    Series,
    agreement_map,
    bars,
    chips,
    class_map,
    confusion_matrix,
    reliability_curve,
    ticks_of,
    time_series,
)

HEADING = Heading("figure-1", "A title", "How to read it")
SQUARE = Extent((500_000, 3_400_000, 502_000, 3_402_000))
LEGEND = {0: ("pervious", "#ecf0e8"), 1: ("impervious", "#b22234"), NODATA: ("nodata", "#ffffff")}
PRODUCTS = [
    Series("isamap", [10.0, 20, 30], [9, 18, 25], [12, 22, 36]),
    Series("another", [9.0, np.nan, 28]),
]


def picture(figure):
    with Image.open(io.BytesIO(figure.png)) as image:
        image.load()
        assert image.format == "PNG"
        return image.convert("RGB")


def blocks(side, seed, cell=10):
    rng = np.random.default_rng(seed)
    return np.kron(rng.integers(0, 2, (side // cell, side // cell)), np.ones((cell, cell))).astype(np.uint8)


@pytest.fixture
def pair():
    mapped, reference = blocks(400, 1), blocks(400, 2)
    mapped[:100] = NODATA
    return mapped, reference


def every_kind(pair):
    rgb = np.random.default_rng(0).uniform(0, 0.4, (40, 40, 3)).astype(np.float32)
    return [
        confusion_matrix(HEADING, ["ISA", "not"], [[40, 3], [2, 100]]),
        reliability_curve(HEADING, [0.1, 0.5, 0.9], [0.1, np.nan, 0.8], [1000, 0, 300]),
        bars(HEADING, ["A", "B", "C"], PRODUCTS, "ISA (km²)"),
        time_series(HEADING, [2017, 2019, 2021], PRODUCTS, "ISA (km²)"),
        class_map(HEADING, pair[0], SQUARE, LEGEND, north_arrow=True),
        agreement_map(HEADING, *pair, SQUARE),
        chips(HEADING, [Chip("1", *pair, rgb), Chip("2", *pair)]),
    ]


def test_every_figure_is_a_small_png_of_its_width_with_words(pair):
    figures = every_kind(pair)
    assert [picture(figure).width for figure in figures] == [600, 690, 900, 900, 900, 900, 900]
    for figure in figures:
        assert len(figure.png) < 150_000
        assert (figure.name, figure.title, figure.caption) == ("figure-1", "A title", "How to read it")
        assert len(figure.alt) > 20
        assert b"matplotlib" not in figure.png
        assert b"tIME" not in figure.png


def test_the_same_input_gives_the_same_bytes_also_in_threads(pair):
    once = [figure.png for figure in every_kind(pair)]
    with ThreadPoolExecutor(2) as pool:
        for again in pool.map(lambda _: every_kind(pair), range(2)):
            assert [figure.png for figure in again] == once


def test_the_text_alternative_gives_the_figures_unless_the_caller_has_words():
    alt = bars(HEADING, ["A", "B", "C"], PRODUCTS, "ISA (km²)").alt
    assert "ISA (km²)" in alt
    assert "isamap: A 10.0 (9.00 to 12.0), B 20.0" in alt
    assert "another: A 9.00, B not defined" in alt
    own = Heading("f", "t", alt="My words")
    assert confusion_matrix(own, ["a", "b"], np.eye(2)).alt == "My words"


def test_a_map_has_the_colours_of_its_legend_and_nothing_drawn_over_its_middle():
    codes = np.zeros((300, 300), np.uint8)
    codes[:, 100:200] = 1
    image = picture(class_map(HEADING, codes, SQUARE, LEGEND))
    assert image.getpixel((450, 450)) == (0xB2, 0x22, 0x34)
    assert image.getpixel((150, 450)) == (0xEC, 0xF0, 0xE8)


@pytest.mark.parametrize(
    ("bounds", "geographic", "size"),
    [
        ((0, 0, 4000, 1000), False, (900, 300)),
        ((0, 0, 1000, 4000), False, (900, 1350)),
        ((106, 29.9, 107, 30.1), True, (900, 300)),
    ],
)
def test_a_map_is_as_tall_as_the_ground_but_within_bounds(bounds, geographic, size):
    image = picture(class_map(HEADING, np.zeros((50, 50), np.uint8), Extent(bounds, geographic), LEGEND))
    assert image.width == size[0]
    assert size[1] <= image.height <= size[1] + 120


def test_a_degree_of_longitude_is_shorter_away_from_the_equator():
    extent = Extent((106, 59.5, 107, 60.5), geographic=True)
    assert extent.m_per_unit == pytest.approx(55_660, rel=0.001)
    assert extent.tallness == pytest.approx(2)


@pytest.mark.parametrize(
    ("length", "rounded"), [(0.5, 0.5), (1, 1), (2, 2), (4.99, 2), (9.9, 5), (499, 200), (5000, 5000)]
)
def test_a_scale_bar_has_a_round_length(length, rounded):
    assert pictures.round_length(length) == pytest.approx(rounded)


def test_agreement_tells_the_four_cases_and_what_is_not_compared():
    mapped = np.array([[1, 1, 0, 0, 255, 1]], np.uint8)
    reference = np.array([[1, 0, 1, 0, 1, 255]], np.uint8)
    assert pictures.agreement(mapped, reference).tolist() == [[3, 2, 1, 0, 255, 255]]


def test_large_maps_are_thinned_and_small_ones_are_not():
    assert max(pictures.thin(np.zeros((3000, 100), np.uint8), 800).shape) <= 800
    assert pictures.thin(np.zeros((800, 3), np.uint8), 800).shape == (800, 3)


def test_an_image_is_stretched_and_white_where_unknown():
    rgb = np.full((4, 4, 3), 0.1, np.float32)
    rgb[0], rgb[1] = np.nan, 0.3
    bright = pictures._bright(rgb)
    assert (bright[0] == 255).all()
    assert (bright[1] == 255).all()
    assert (bright[2:] == 0).all()
    same = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert (pictures._bright(same) == same).all()


@pytest.mark.parametrize(
    "text", ["$x^{$ $", "a_b$c", "_hidden", "重庆市", "\udcff.tif", "x" * 500, "a\nb\x00", ""]
)
def test_no_label_breaks_a_figure(text):
    pair = [Series(text, [1.0], [0.5], [2.0]), Series("other", [2.0])]
    picture(bars(HEADING, [text], pair, text))
    picture(confusion_matrix(HEADING, [text, text], np.eye(2)))
    assert len(sheet.label(text)) <= 2 * sheet.LABEL_LENGTH


def test_a_series_whose_name_begins_with_an_underscore_is_in_the_legend():
    with_name = time_series(HEADING, [2020], [Series("_a", [1.0]), Series("b", [2.0])], "y")
    without = time_series(HEADING, [2020], [Series(" ", [1.0]), Series("b", [2.0])], "y")
    assert with_name.png != without.png


@pytest.mark.parametrize(
    ("years", "named"),
    [
        ([2000, 2001, 2010, 2022, 2023], [2000, 2010, 2023]),
        ([2017, 2019, 2021, 2023], [2017, 2019, 2021, 2023]),
        (list(range(2010, 2020)), list(range(2010, 2020))),
        ([2020], [2020]),
        ([], []),
    ],
)
def test_years_are_named_where_there_is_room(years, named):
    assert ticks_of(years) == named


def test_nothing_to_draw_is_drawn_as_nothing(pair):
    nothing = [np.nan, np.nan]
    picture(bars(HEADING, ["A", "B"], [Series("x", nothing, nothing, nothing)], "y"))
    picture(bars(HEADING, [], [Series("x", [], [], [])], "y"))
    picture(bars(HEADING, [], [], "y"))
    picture(time_series(HEADING, [2020, 2021], [Series("x", nothing)], "y"))
    picture(time_series(HEADING, [], [], "y"))
    picture(reliability_curve(HEADING, [], [], []))
    picture(confusion_matrix(HEADING, ["a", "b"], np.zeros((2, 2))))
    picture(class_map(HEADING, np.full((5, 5), 9, np.uint8), SQUARE, LEGEND))
    picture(chips(HEADING, []))


def test_an_estimate_may_lie_outside_of_its_interval():
    picture(bars(HEADING, ["A"], [Series("x", [-5.0], [1.0], [2.0])], "change (km²)"))


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match=r"pip install 'isamap\[report\]'") as caught:
        bars(HEADING, ["A"], PRODUCTS, "y")
    assert "\n" not in str(caught.value)
