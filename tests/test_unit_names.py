"""Names of units: every unit has one, and none is that of everything."""

import json

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine

from isamap.domain.unit_names import filled, name_of, repeated_name, told_apart

LEFT, TOP = 500_000, 3_500_000


@pytest.mark.parametrize(
    "value", [None, "", "  ", "\u3000", float("nan"), np.float32("nan"), np.datetime64("NaT")]
)
def test_what_says_nothing_is_no_name(value):
    assert name_of(value) == ""


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("Nan", "Nan"),  # a province of Thailand
        ("None", "None"),
        (0, "0"),
        (np.int32(7), "7"),
        (32070.0, "32070"),  # pyogrio reads whole numbers as floats where one of them is null
        (np.float64(1.5), "1.5"),
        (1e300, "1e+300"),
        (float("inf"), "inf"),
        ("007", "007"),
        (" A", " A"),
    ],
)
def test_names_and_codes_are_as_they_were_written(value, name):
    assert name_of(value) == name


def test_polygons_without_a_name_are_one_unit_that_collides_with_none():
    assert filled(["A", "", ""]) == (["A", "unnamed", "unnamed"], {"": "unnamed"})
    assert filled(["Unnamed", "", "unnamed 2"])[0] == ["Unnamed", "unnamed 3", "unnamed 2"]
    assert filled(["A", "B"]) == (["A", "B"], {})


def test_no_unit_has_the_name_of_everything():
    names, renamed = filled(["all", "Ally", "ALL", "All (unit)"])
    assert names == ["all (unit) 2", "Ally", "ALL (unit) 3", "All (unit)"]
    assert renamed == {"all": "all (unit) 2", "ALL": "ALL (unit) 3"}


def test_areas_of_one_name_are_told_apart_beside_areas_without_any():
    rows = [{"pcode": 0}, {"pcode": 2.0}, {"pcode": None}, {"pcode": None}]
    assert told_apart(["Suzhou", "Suzhou", "", ""], rows, "name") == ["Suzhou (0)", "Suzhou (2)", "", ""]
    assert repeated_name(["A", "", ""]) is None


def units_file(path, *names):
    """Boxes of 100 m x 20 m, one below the other."""
    features = [
        {
            "type": "Feature",
            "properties": {"name": name},
            "geometry": shapely.geometry.mapping(
                shapely.box(LEFT, TOP - 20 * row - 20, LEFT + 100, TOP - 20 * row)
            ),
        }
        for row, name in enumerate(names)
    ]
    crs = {"type": "name", "properties": {"name": "EPSG:32650"}}
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": features}))
    return path


def maps(folder):
    """Two maps of 100 m x 100 m: half of the ground is ISA, then 70 %."""
    for name, rows in (("a", 50), ("b", 70)):
        values = np.repeat(np.arange(100) < rows, 100).reshape(100, 100).astype(np.uint8)
        grid = {"crs": "EPSG:32650", "transform": Affine(1, 0, LEFT, 0, -1, TOP)}
        form = {"driver": "GTiff", "height": 100, "width": 100, "count": 1, "dtype": "uint8", "nodata": 255}
        with rasterio.open(folder / f"{name}.tif", "w", **form, **grid) as dst:
            dst.write(values, 1)


def test_change_counts_units_without_a_name_beside_everything(isamap, tmp_path):
    here = tmp_path / "here"
    maps(here)
    units_file(here / "u.geojson", "", None, "all", "unnamed", "Town")
    ended = isamap(
        *("change", "a.tif", "b.tif", "--years", "2017,2019", "--units", "u.geojson", "-o", "o", "--json")
    )
    assert ended.code == 0, ended.err
    rows = [row for row in ended.document["tables"]["areas"] if row["year"] == 2017]
    ground = {row["unit"]: row["ground with enough looks (km²)"] for row in rows}
    assert len(rows) == len(ground) == 5
    assert ground["all"] == pytest.approx(0.01, rel=1e-2)
    assert ground["unnamed 2"] == pytest.approx(0.004, rel=1e-2)
    assert [ground[name] for name in ("all (unit)", "unnamed", "Town")] == pytest.approx(
        [0.002] * 3, rel=1e-2
    )
    assert ended.err.count("2 polygons have no name and count as one unit, 'unnamed 2'") == 1
    assert ended.err.count("tables call everything 'all', so the unit 'all' is called 'all (unit)'") == 1


@pytest.mark.parametrize("option", ["--units", "--strata"])
def test_evaluate_names_what_has_no_name(isamap, tmp_path, option):
    here = tmp_path / "here"
    maps(here)
    units_file(here / "u.geojson", "", "ALL", "Town")
    asked = ("evaluate", "a.tif", "--labels", "b.tif", option, "u.geojson", "--measures", "confusion")
    ended = isamap(*asked, "--json", "-o", "o")
    assert ended.code == 0, ended.err
    found = ended.document["products"]["a"][f"accuracy-{option[2:]}"]
    assert {name: row["pixels"] for name, row in found.items()} == dict.fromkeys(
        ("unnamed", "ALL (unit)", "Town"), 2000
    )
    assert "1 polygons have no name and count as one unit, 'unnamed'" in ended.err
