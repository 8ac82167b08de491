"""Probability rasters of `isamap change --probability`: which are taken, which are missed, which are refused."""

import json
from hashlib import sha256

import numpy as np
import pytest
import rasterio
import tiny
from test_change import write_map

YEARS = (2017, 2019, 2021)
SIDE = 128
MULTIHASH = "1220"
"""sha256, 32 bytes."""


@pytest.fixture
def change(isamap):
    """`isamap change --probability ...` over three years."""
    years = ",".join(map(str, YEARS))
    return lambda *arguments: isamap("change", *arguments, "--years", years, "--probability", "-o", "out")


def made(path, share, *, probable=True):
    """A map with the item that `isamap infer` leaves beside it, with its files' checksums."""
    percent = np.full((SIDE, SIDE), 10, np.uint8)
    percent[: int(SIDE * share)] = 90
    write_map(path, (percent > 50).astype(np.uint8), percent=percent if probable else None)
    item = json.loads(path.with_suffix(".json").read_text())
    files = [path, *([path.with_name(path.stem + ".prob.tif")] if probable else [])]
    for file in files:
        checksum = MULTIHASH + sha256(file.read_bytes()).hexdigest()
        item["assets"][file.name] = {"href": f"./{file.name}", "file:checksum": checksum}
    path.with_suffix(".json").write_text(json.dumps(item))
    return path


def series(folder, name, probable=(True, True, True)):
    """A map per year of one tile."""
    return [
        made(folder / str(year) / f"{name}.tif", 0.25 * (1 + t), probable=has)
        for t, (year, has) in enumerate(zip(YEARS, probable, strict=True))
    ]


def test_a_probability_raster_that_is_not_that_of_its_item_is_refused(change, tmp_path):
    paths = series(tmp_path, "town")
    assert change(*paths).code == 0
    other = paths[2].with_name("town.prob.tif")
    write_map(
        tmp_path / "x" / "x.tif", np.zeros((SIDE, SIDE), np.uint8), percent=np.zeros((SIDE, SIDE), np.uint8)
    )
    other.write_bytes((tmp_path / "x" / "x.prob.tif").read_bytes())
    ended = change(*paths)
    assert ended.code == 65
    assert f"{other} is not the file its item describes" in ended.err.splitlines()[-1]


def test_maps_without_any_probabilities_are_refused_and_it_is_said_how_they_are_made(change, tmp_path):
    paths = series(tmp_path, "town", (False, False, False))
    ended = change(*paths)
    assert ended.code == 66
    said = ended.err.splitlines()[-1]
    assert "town.prob.tif" in said
    assert "isamap infer --probability" in said
    assert not list((tmp_path / "out").glob("*.tif"))


def test_years_without_probabilities_are_read_as_classes_and_named(change, tmp_path):
    paths = series(tmp_path, "town", (True, False, True))
    for _ in ("made", "found made"):
        ended = change(*paths, "--json")
        assert ended.code == 0
        warning = next(text for text in json.loads(ended.out)["warnings"] if "read as classes" in text)
        assert "maps of 2019 in 1 of 1 tiles (town)" in warning
        assert "town has no probabilities of 2019: read as classes" in ended.err
    whole = json.loads(change(*series(tmp_path, "city"), "--json").out)["warnings"]
    assert not any("read as classes" in text for text in whole)


def test_of_many_tiles_the_one_without_any_probabilities_fails_alone(change, tmp_path):
    names = [str(tile) for tile in tiny.TILES[:2]]
    series(tmp_path, names[0])
    series(tmp_path, names[1], (False, False, False))
    ended = change(*(tmp_path / str(year) for year in YEARS), "--json")
    assert ended.code == 3
    document = json.loads(ended.out)
    assert "isamap infer --probability" in document["failed"][names[1]]
    assert list(document["failed"]) == [names[1]]
    assert document["made"] == 1


def bare(tmp_path, values, dtype=np.uint8, *, gone=False):
    """Maps of three years without items, 90 % where they are ISA, each with a raster of these values beside it."""
    paths = []
    for t, year in enumerate(YEARS):
        path = made(tmp_path / str(year) / "town.tif", 0.25)
        path.with_suffix(".json").unlink()
        with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dst:
            dst.update_tags(isamap_threshold="0.5", year=t)
        probability = path.with_name("town.prob.tif")
        with rasterio.open(probability) as src:
            profile, percent = src.profile | {"dtype": dtype, "driver": "GTiff"}, src.read(1)
        with rasterio.open(probability, "w", **(profile | ({"nodata": None} if gone else {}))) as dst:
            dst.write(values(percent).astype(dtype), 1)
        paths.append(path)
    return paths


STRANGE = {
    "int16": (lambda percent: percent, "int16", "is int16"),
    "shares": (lambda percent: percent / 100, "float32", "is float32"),
    "percent as floats": (lambda percent: percent, "float32", "is float32"),
    "bytes up to 254": (lambda percent: percent * 2.5, "uint8", "holds 225"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_what_is_no_percent_is_refused_and_named(change, tmp_path, name):
    values, dtype, said = STRANGE[name]
    ended = change(*bare(tmp_path, values, dtype))
    assert ended.code == 65
    last = ended.err.splitlines()[-1]
    assert f"{tmp_path / '2017' / 'town.prob.tif'} {said}, and a probability raster holds percent" in last
    assert not list((tmp_path / "out").glob("*.tif"))


OTHERS = {
    "classes": lambda percent: percent > 50,
    "of the contrary": lambda percent: 100 - percent,
    "of another map": lambda percent: np.roll(percent, 3, axis=0),
}


@pytest.mark.parametrize("name", OTHERS)
def test_probabilities_that_are_not_those_of_the_classes_are_refused(change, tmp_path, name):
    ended = change(*bare(tmp_path, OTHERS[name]))
    assert ended.code == 65
    assert "town.prob.tif is not the probability of the map beside it" in ended.err.splitlines()[-1]
    assert not list((tmp_path / "out").glob("*.tif"))


def test_probabilities_that_differ_in_a_few_pixels_pass(change, tmp_path):
    def cleaned(percent):
        percent[:1, :100] = 10
        return percent

    assert change(*bare(tmp_path, cleaned)).code == 0


def test_where_the_class_alone_is_known_it_counts(change, tmp_path):
    def unknown(percent):
        return np.full_like(percent, 255)

    isa = "ISA 2017 (km²)"
    ended = change(*bare(tmp_path, unknown), "--json")
    assert ended.code == 0
    assert "town.prob.tif knows nothing of 100 % of the ground of its map" in ended.err
    for row in json.loads(ended.out)["tables"]["methods"]:
        assert row[isa] == pytest.approx(0.25 * SIDE**2 / 1e6, rel=0.01), row["method"]
