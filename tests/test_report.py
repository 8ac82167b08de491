"""Reports on disk: the page, its tables and pictures, CSV, JSON and GeoParquet, as a reader finds them."""

import csv
import errno
import io
import json
import math
import os
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from isamap.domain.report import Figure, Report, Section, Table, shown
from isamap.errors import ConfigError, InputError, StorageError
from isamap.io import report as io_report
from isamap.io.report import check_place, check_report_libraries, write_geoparquet, write_report

NAN = float("nan")
HOSTILE = "<script>alert('1')</script>\"&amp;{{ 7 * 7 }}"
VOID = {"meta", "img", "br", "hr", "link", "input"}


@pytest.fixture(autouse=True)
def free_fsync(monkeypatch):
    """Shared disks make fsync slow, and nothing here is about power cuts."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


class Page(HTMLParser):
    """What a browser would see: balanced tags, attributes, the cells of every table."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.tables, self.text, self.ids = [], [], [], "", []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        self.ids += [attrs["id"]] if "id" in attrs else []
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def png(width=300, height=150):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(buffer, "PNG")
    return buffer.getvalue()


def report(words="plain"):
    accuracy = Table(
        "accuracy",
        f"Accuracy of {words}",
        ("stratum", "pixels", "F1", "interval"),
        (
            (words, 202_011, 0.8716, "0.85 to 0.89"),
            ('empty, "quoted"', 0, NAN, None),
            ("new\nline", 7, None, "x"),
        ),
        note=f"Note on {words}",
        highlight=(0,),
    )
    many = Table("many", "Many", ("row", "value"), tuple((f"r{i}", i / 7) for i in range(300)))
    figure = Figure("curve", f"Curve of {words}", png(), f"Alt of {words}", f"Caption of {words}")
    sections = (
        Section(f"First {words}", f"One {words}.\n\nTwo.", (accuracy,), (figure,)),
        Section("Second", tables=(many,)),
    )
    return Report(f"Report {words}", f"Subtitle {words}", (("Map", words),), (f"Mind {words}",), sections)


@pytest.fixture
def folder(tmp_path):
    write_report(report(HOSTILE), tmp_path / "r", {"f1": 0.5})
    return tmp_path / "r"


@pytest.fixture
def page(folder):
    return Page((folder / "index.html").read_text(encoding="utf-8"))


def test_every_file_that_is_named_is_there_and_none_else(tmp_path):
    paths = write_report(report(), tmp_path / "a" / "b", {})
    assert paths[0].name == "index.html"
    assert paths[1].name == "report.json"
    assert sorted(paths) == sorted((tmp_path / "a" / "b").iterdir())
    assert {path.name for path in paths[2:]} == {"accuracy.csv", "many.csv", "curve.png"}


def test_the_same_report_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_report(report(), tmp_path / name, {"x": [1, NAN]})
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_the_page_needs_nothing_outside_of_itself(folder, page):
    text = (folder / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|url\(|@import|//\w", re.sub(r"base64,[^\"]*", "", text))
    assert page.all("script") == page.all("link") == page.all("iframe") == []
    assert all(image["src"].startswith("data:image/png;base64,") for image in page.all("img"))
    for anchor in page.all("a"):
        target = anchor["href"]
        assert target.removeprefix("#") in page.ids if target.startswith("#") else (folder / target).is_file()


def test_the_page_is_for_phones_readers_aloud_and_dark_rooms(folder, page):
    text = (folder / "index.html").read_text(encoding="utf-8")
    assert page.all("html") == [{"lang": "en"}]
    assert "width=device-width" in str(page.all("meta"))
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert len(page.ids) == len(set(page.ids))
    assert len(page.all("h1")) == 1
    assert len(page.all("caption")) == len(page.all("table")) == 2
    assert [image["alt"] for image in page.all("img")] == [f"Alt of {HOSTILE}"]
    assert {cell["scope"] for cell in page.all("th")} == {"col", "row"}


def test_hostile_names_are_shown_and_not_obeyed(page):
    assert page.all("script") == []
    for words in (
        "Report",
        "Subtitle",
        "Mind",
        "First",
        "One",
        "Accuracy of",
        "Note on",
        "Curve of",
        "Caption of",
    ):
        assert f"{words} {HOSTILE}" in page.text


def test_a_name_that_is_no_text_is_written_as_escapes(tmp_path):
    page, document, table, *_ = write_report(report("\udcff.tif"), tmp_path, {"input": "\udcff.tif"})
    assert b"\\udcff.tif" in page.read_bytes()
    assert json.loads(document.read_bytes())["input"] == "\udcff.tif"
    assert b"\\udcff.tif" in table.read_bytes()


def test_the_page_shows_every_row_with_three_digits(page):
    accuracy, many = page.tables
    assert accuracy[0] == ["stratum", "pixels", "F1", "interval"]
    assert accuracy[1] == [HOSTILE, "202\N{NARROW NO-BREAK SPACE}011", "0.872", "0.85 to 0.89"]
    assert accuracy[2] == ['empty, "quoted"', "0", "\N{EN DASH}", "\N{EN DASH}"]
    assert [row[0] for row in many[1:]] == [f"r{i}" for i in range(300)]


def test_what_is_not_defined_says_so_and_numbers_stand_to_the_right(folder, page):
    assert [one["title"] for one in page.all("abbr")] == ["not defined"] * 3
    columns = [cell.get("class") for cell in page.all("th")[:4]]
    assert columns == [None, "num", "num", None]
    assert "mark" in [row.get("class") for row in page.all("tr")]


def test_a_picture_has_its_size_in_inches(page):
    (image,) = page.all("img")
    assert (image["width"], image["height"]) == ("192", "96")


def test_a_report_without_anything_is_still_a_page(tmp_path):
    path, *_ = write_report(Report("Title", "", (), (), ()), tmp_path, {})
    page = Page(path.read_text(encoding="utf-8"))
    assert page.text.split() == ["Title", "Title"]
    write_report(
        Report("T", "", (), (), (Section("S", tables=(Table("t", "T", ("a",), ()),)),)), tmp_path, {}
    )
    assert (tmp_path / "t.csv").read_bytes() == b"a\n"


def test_csv_has_every_row_and_every_digit(folder):
    with (folder / "accuracy.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["stratum", "pixels", "F1", "interval"]
    assert rows[1] == [HOSTILE, "202011", "0.8716", "0.85 to 0.89"]
    assert rows[2:] == [['empty, "quoted"', "0", "", ""], ["new\nline", "7", "", "x"]]
    with (folder / "many.csv").open(newline="", encoding="utf-8") as file:
        values = [float(row["value"]) for row in csv.DictReader(file)]
    assert values == [i / 7 for i in range(300)]


def test_the_document_is_plain_json_with_a_version(tmp_path):
    document = {
        "f1": np.float64(0.25),
        "counts": np.array([[1, 2]]),
        "bad": [NAN, math.inf, np.float32("nan")],
        "nested": {"year": np.int64(2021), "path": Path("a/b"), "none": None, "yes": True},
    }
    text = write_report(report(), tmp_path, document)[1].read_text(encoding="utf-8")
    assert json.loads(text) == {
        "schema": 1,
        "f1": 0.25,
        "counts": [[1, 2]],
        "bad": [None, None, None],
        "nested": {"year": 2021, "path": "a/b", "none": None, "yes": True},
        "files": ["index.html", "report.json", "accuracy.csv", "many.csv", "curve.png"],
    }


def test_the_page_is_written_last(tmp_path):
    folder = tmp_path / "r"
    (folder / "report.json").mkdir(parents=True)
    with pytest.raises(StorageError):
        write_report(report(), folder, {})
    assert not (folder / "index.html").exists()


def test_a_full_disk_leaves_the_report_that_was_there(tmp_path, monkeypatch):
    write_report(report("old"), tmp_path, {})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    whole, room = io_report.write_durably, [3]

    def full(path, content):
        room[0] -= 1
        if room[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(path, content)

    monkeypatch.setattr(io_report, "write_durably", full)
    with pytest.raises(StorageError, match="No space left"):
        write_report(report("new"), tmp_path, {})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    with pytest.raises(StorageError):
        write_report(report("new"), tmp_path / "fresh", {})
    assert list((tmp_path / "fresh").iterdir()) == []


@pytest.mark.parametrize("name", ["../out", "a/b", ".hidden", ""])
def test_a_table_cannot_be_written_elsewhere(tmp_path, name):
    table = Table(name, "t", ("a",), ())
    with pytest.raises(InputError, match="file name"):
        write_report(Report("T", "", (), (), (Section("S", tables=(table,)),)), tmp_path / "r", {})
    assert list(tmp_path.iterdir()) == []


def test_two_tables_of_one_name_are_refused(tmp_path):
    table = Table("same", "t", ("a",), ())
    with pytest.raises(ValueError, match="same name"):
        write_report(Report("T", "", (), (), (Section("S", tables=(table, table)),)), tmp_path, {})


def test_a_table_has_a_cell_for_each_column():
    with pytest.raises(ValueError, match="1 cells under 2 columns"):
        Table("t", "t", ("a", "b"), ((1,),))
    with pytest.raises(ValueError, match="highlight"):
        Table("t", "t", ("a",), ((1,),), highlight=(1,))


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (0.87164, "0.872"),
        (1.0, "1.000"),
        (0.0, "0.000"),
        (-0.0, "0.000"),
        (0.00123, "0.00123"),
        (-0.5, "\N{MINUS SIGN}0.500"),
        (3.14159, "3.14"),
        (9.996, "10.0"),
        (99.97, "100"),
        (1234.4, "1234"),
        (-12345.6, "\N{MINUS SIGN}12\N{NARROW NO-BREAK SPACE}346"),
        (2021, "2021"),
        (np.int64(1_234_567), "1\N{NARROW NO-BREAK SPACE}234\N{NARROW NO-BREAK SPACE}567"),
        (np.float32(0.1), "0.100"),
        (np.float32("nan"), "\N{EN DASH}"),
        (NAN, "\N{EN DASH}"),
        (None, "\N{EN DASH}"),
        (math.inf, "inf"),
        (True, "yes"),
        ("a-b", "a-b"),
    ],
)
def test_a_cell_is_shown_with_three_digits(cell, text):
    assert shown(cell) == text


@given(st.floats(-1e12, 1e12))
def test_what_is_shown_is_the_number_to_three_digits(number):
    text = shown(number).replace("\N{MINUS SIGN}", "-").replace("\N{NARROW NO-BREAK SPACE}", "")
    assert float(text) == pytest.approx(number, rel=0.0051, abs=0.0 if abs(number) < 0.01 else 0.0005001)


@pytest.mark.parametrize("library", ["matplotlib", "jinja2", "pyarrow"])
def test_a_missing_library_is_named_before_the_work(monkeypatch, library):
    check_report_libraries()
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError, match=rf"pip install 'isamap\[report\]'.*{library}") as caught:
        check_report_libraries()
    assert "\n" not in str(caught.value)


def test_without_jinja2_or_pyarrow_nothing_is_written(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match="jinja2"):
        write_report(report(), tmp_path, {})
    with pytest.raises(ConfigError, match="pyarrow"):
        write_geoparquet(tmp_path / "t.parquet", [], {}, "EPSG:4326")
    assert list(tmp_path.iterdir()) == []


SHAPES = [shapely.box(0, 0, 2, 1), shapely.MultiPolygon([shapely.box(5, 5, 6, 7)]), None]
COLUMNS = {"name": ["a", "重庆", None], "area_km2": np.array([1.5, NAN, 2]), "n": [1, 2, 3]}


def read_parquet(path):
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    return table, json.loads(table.schema.metadata[b"geo"])


def test_geoparquet_holds_geometries_columns_and_metadata(tmp_path):
    path = write_geoparquet(tmp_path / "units.parquet", SHAPES, COLUMNS, "EPSG:32648")
    table, geo = read_parquet(path)
    assert table.column_names == ["name", "area_km2", "n", "geometry"]
    assert table["name"].to_pylist() == ["a", "重庆", None]
    assert table["n"].to_pylist() == [1, 2, 3]
    read = [one and shapely.from_wkb(one) for one in table["geometry"].to_pylist()]
    assert read == SHAPES
    assert (geo["version"], geo["primary_column"]) == ("1.1.0", "geometry")
    column = geo["columns"]["geometry"]
    assert column["encoding"] == "WKB"
    assert column["geometry_types"] == ["MultiPolygon", "Polygon"]
    assert column["bbox"] == [0, 0, 6, 7]
    assert column["crs"]["id"] == {"authority": "EPSG", "code": 32648}


def test_geoparquet_may_be_empty_or_three_dimensional_and_is_the_same_again(tmp_path):
    empty = write_geoparquet(tmp_path / "e.parquet", [], {"name": []}, "OGC:CRS84")
    column = read_parquet(empty)[1]["columns"]["geometry"]
    assert column["geometry_types"] == []
    assert "bbox" not in column
    for name in ("a", "b"):
        write_geoparquet(tmp_path / name, [shapely.Point(1, 2, 3)], {}, "OGC:CRS84")
    table, geo = read_parquet(tmp_path / "a")
    assert geo["columns"]["geometry"]["geometry_types"] == ["Point Z"]
    assert shapely.from_wkb(table["geometry"][0].as_py()).z == 3
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_geopandas_reads_the_geoparquet(tmp_path):
    geopandas = pytest.importorskip("geopandas")
    frame = geopandas.read_parquet(write_geoparquet(tmp_path / "u.parquet", SHAPES, COLUMNS, "EPSG:32648"))
    assert frame.crs.to_epsg() == 32648
    assert list(frame.geometry.iloc[:2]) == SHAPES[:2]
    assert frame["area_km2"].iloc[0] == 1.5


def test_a_column_may_not_hide_the_geometries(tmp_path):
    with pytest.raises(ValueError, match="geometry"):
        write_geoparquet(tmp_path / "u.parquet", [], {"geometry": []}, "EPSG:4326")


def test_what_is_no_reports_is_neither_replaced_nor_removed(tmp_path):
    mine = tmp_path / "notes.csv"
    mine.write_text("mine")
    first, *others = write_report(report(), tmp_path, {"f1": 1})
    second = write_report(Report("Title", "", (), (), ()), tmp_path, {})
    assert second == (first, others[0])
    assert set(tmp_path.iterdir()) == {mine, *second}
    others[1].write_text("labelled by hand")
    with pytest.raises(InputError, match="belongs to no earlier report"):
        write_report(report(), tmp_path, {})
    assert others[1].read_text() == "labelled by hand"
    assert set(tmp_path.iterdir()) == {mine, others[1], *second}


def test_the_report_of_another_command_is_not_replaced(tmp_path):
    files = write_report(report(), tmp_path, {"command": "change"})
    before = {path: path.read_bytes() for path in files}
    for act in (
        lambda: check_place(tmp_path, "evaluate"),
        lambda: write_report(report(), tmp_path, {"command": "evaluate"}),
    ):
        with pytest.raises(InputError, match=r"holds the report of isamap change, .* choose another -o"):
            act()
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    check_place(tmp_path, "change")
