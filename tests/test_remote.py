"""Remote pixels: the same as GDAL reads from the file itself, and never anything that was not fetched."""

import os
import random
import signal
import struct
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from scenery.hostile import disguised_vrt
from scenery.scenes import sample
from scenery.servers import Canary, Faults, RangeServer, s3_server

from isamap.domain.grid import Window, crop
from isamap.domain.scenes import scene_of
from isamap.domain.sources import BANDS, SCL, source_of
from isamap.errors import BusyError, InputError, MissingInputError, RemoteError
from isamap.io import asset as assets
from isamap.io import mirror as mirrors
from isamap.io.header import FIRST_BYTES, DamagedError
from isamap.io.http import Limits
from isamap.io.mirror import GAP_BYTES, RANGE_BYTES, merged
from isamap.io.remote import ScenePixels

C1 = "sentinel-2-c1-l2a"
FAST = Limits(
    total_s=8,
    connect_s=2,
    head_s=1.5,
    read_s=0.5,
    slow_s=0.5,
    backoff_s=0.02,
    backoff_cap_s=0.1,
    retry_after_cap_s=1,
)
CRS = "EPSG:32648"
GRID = GeoBox((256, 320), Affine(10, 0, 600_000, 0, -10, 3_200_000), CRS)
"""The 10 m grid that the files of `written` are read on."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return sample(tmp_path_factory.mktemp("scenes"), shapes=(C1,))


def source(server, **more):
    return replace(source_of("http://127.0.0.1:9/stac"), hosts=(f"127.0.0.1:{server.port}",), **more)


@contextmanager
def served(folder, limits=FAST, **options):
    """A server, its source and a reader."""
    with RangeServer(folder, **options) as server:
        row = source(server)
        with ScenePixels([row], limits=limits) as pixels:
            yield server, row, pixels


def scenes_of(made, row, server):
    return [scene_of(one, row) for one in made.items(C1, server.url)]


def grid_of(made, height=320, width=320):
    """A 10 m grid with edges on multiples of 20 m, within the scenes."""
    return crop(made.place.geobox, Window(40, 60, height, width))


def oracle(path, geobox):
    """The window of a file, read by GDAL, on a 10 m grid; 0 outside."""
    with rasterio.open(path) as src:
        factor = round(src.res[0] / 10)
        whole = src.read(1).repeat(factor, 0).repeat(factor, 1)
        row = round((geobox.transform.f - src.transform.f) / 10)
        col = round((src.transform.c - geobox.transform.c) / 10)
    out = np.zeros(geobox.shape, whole.dtype)
    for y in range(out.shape[0]):
        if 0 <= y - row < whole.shape[0]:
            left, right = max(0, col), min(out.shape[1], whole.shape[1] + col)
            if left < right:
                out[y, left:right] = whole[y - row, left - col : right - col]
    return out


def matches(look, made, index, geobox):
    dn = [oracle(made.path(index, C1, band), geobox) for band in BANDS]
    return np.array_equal(look.dn, dn) and np.array_equal(look.scl, oracle(made.path(index, C1, SCL), geobox))


def write(path, values, *, factor=1, row=0, col=0, geobox=GRID, crs=CRS, **profile):
    """A file whose upper left corner lies `row`, `col` 10 m pixels from that of a grid."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = values if values.ndim == 3 else values[None]
    transform = geobox.transform * Affine.translation(col, row) * Affine.scale(factor)
    options = {"driver": "GTiff", "compress": "deflate", "tiled": True, "blockxsize": 64, "blockysize": 64}
    options |= {"crs": crs, "transform": transform, "dtype": values.dtype, "count": values.shape[0]}
    with rasterio.open(
        path, "w", height=values.shape[1], width=values.shape[2], **{**options, **profile}
    ) as dst:
        dst.write(values)
    return path


def noise(height, width, seed=0, dtype=np.uint16):
    return (
        np.random.default_rng(seed)
        .integers(1, 9000 if dtype == np.uint16 else 12, (height, width))
        .astype(dtype)
    )


def on_grid(place, geobox, dtype, kept):
    """What `fill` puts on a grid."""
    out = np.zeros(geobox.shape, dtype)
    assets.fill(out, place, geobox, kept)
    return out


def read_one(folder, name="x.tif", geobox=GRID, dtype="uint16", limits=FAST, **options):
    """One file of a folder on a grid, through a server; and the server."""
    with served(folder, limits, **options) as (server, row, pixels):
        place = pixels._place(row, f"{server.url}/{name}", "")
        return on_grid(place, geobox, dtype, assets.Directories()), server


# -- scenes ------------------------------------------------------------------------------------------------------


def test_scenes_are_read_as_gdal_reads_the_files(made):
    with served(made.folder) as (server, row, pixels):
        geobox = grid_of(made)
        for index, look in enumerate(pixels.looks(scenes_of(made, row, server), geobox)):
            assert matches(look, made, index, geobox)
        assert pixels.requests == server.hits
        assert all(request.range for request in server.requests)
        assert {request.method for request in server.requests} == {"GET"}


def test_where_a_scene_has_no_pixel_there_is_0(made):
    with served(made.folder) as (server, row, pixels):
        for offset in ((-200, -100), (300, 650), (-10_000, 0)):
            geobox = crop(made.place.geobox, Window(*offset, 320, 320))
            (look, *_) = pixels.looks(scenes_of(made, row, server)[:1], geobox)
            assert matches(look, made, 0, geobox)
        before = server.hits
        list(
            pixels.looks(scenes_of(made, row, server)[:1], crop(made.place.geobox, Window(9000, 0, 320, 320)))
        )
        assert server.hits == before


def test_a_folder_is_read_like_a_server(made):
    row = replace(source_of("http://x.example"), name="folder", url="", root=str(made.folder))
    geobox = grid_of(made)
    with ScenePixels([row]) as pixels:
        scenes = [scene_of(one, row) for one in made.items(C1, ".")]
        for index, look in enumerate(pixels.looks(scenes, geobox)):
            assert matches(look, made, index, geobox)
        assert pixels.requests == 0


def test_neighbouring_tiles_do_not_fetch_the_directories_again(made):
    with served(made.folder) as (server, row, pixels):
        scenes = scenes_of(made, row, server)[:1]
        list(pixels.looks(scenes, crop(made.place.geobox, Window(0, 0, 128, 128))))
        before = server.hits
        (look,) = pixels.looks(scenes, crop(made.place.geobox, Window(128, 128, 128, 128)))
        assert matches(look, made, 0, crop(made.place.geobox, Window(128, 128, 128, 128)))
        assert server.hits - before <= 7
        assert not any(request.range.startswith("bytes=0-") for request in server.requests[before:])


def test_s3_is_read_with_the_users_keys(made, monkeypatch):
    with s3_server(made.folder, monkeypatch, bucket="remote") as bucket:
        row = source_of("http://127.0.0.1:9/stac")
        items = made.items(C1, "s3://remote")[:2]
        geobox = grid_of(made)
        with ScenePixels([row], limits=FAST) as pixels:
            for index, look in enumerate(pixels.looks([scene_of(one, row) for one in items], geobox)):
                assert matches(look, made, index, geobox)
        assert bucket.name == "remote"


def test_a_scene_that_cannot_be_used_says_why_and_the_others_are_read(made, tmp_path):
    write(tmp_path / "x.tif", noise(64, 64), crs="EPSG:32650")
    with RangeServer(made.folder) as server, RangeServer(tmp_path) as other:
        row = source(server)
        row = replace(row, hosts=(*row.hosts, f"127.0.0.1:{other.port}"))
        scenes = scenes_of(made, row, server)
        bad = replace(scenes[1].assets["B04"], href=f"{other.url}/x.tif")
        scenes[1] = replace(scenes[1], assets={**scenes[1].assets, "B04": bad})
        with ScenePixels([row], limits=FAST) as pixels:
            looks = list(pixels.looks(scenes, grid_of(made)))
        assert [isinstance(look, InputError) for look in looks] == [False, True, False, False]
        assert str(looks[1]).startswith(f"{scenes[1].id}: asset red: window 6")
        assert "lies in EPSG:32650" in str(looks[1])


@pytest.mark.parametrize(
    ("where", "share", "told"),
    [
        ("folder", 2 / 3, "cut off"),
        ("folder", 1e-4, "cannot be opened"),
        ("folder", 0, "is empty"),
        ("folder", 1, "does not decode"),
        ("server", 2 / 3, "cut off"),
        ("server", 1e-4, "cut off"),
        ("server", 0, "is empty"),
        ("server", 1, "does not decode"),
    ],
)
def test_a_damaged_file_ends_the_tile_and_is_named(made, tmp_path, where, share, told):
    whole = bytearray(made.path(1, C1, "B08").read_bytes())
    if share == 1:
        whole[len(whole) // 2 :] = b"\xff" * len(whole[len(whole) // 2 :])
    cut = tmp_path / "x.tif"
    cut.write_bytes(whole[: int(len(whole) * share)])
    with RangeServer(made.folder) as server, RangeServer(tmp_path) as other:
        row = source(server)
        row = replace(row, hosts=(*row.hosts, f"127.0.0.1:{other.port}"))
        scenes = scenes_of(made, row, server)
        if where == "folder":
            row = replace(source_of("http://x.example"), name="folder", url="", root=str(made.folder))
            scenes = [scene_of(one, row) for one in made.items(C1, ".")]
            (made.folder / "x.tif").write_bytes(cut.read_bytes())
        href = "x.tif" if where == "folder" else f"{other.url}/x.tif"
        bad = replace(scenes[1].assets["B08"], href=href)
        scenes[1] = replace(scenes[1], assets={**scenes[1].assets, "B08": bad})
        with (
            ScenePixels([row], limits=FAST) as pixels,
            pytest.raises(DamagedError, match=told) as fault,
        ):
            list(pixels.looks(scenes, made.place.geobox))
    assert fault.value.exit_code == 65
    assert str(fault.value).startswith(f"{scenes[1].id}: asset nir: window")
    assert (f": {other.url}/x.tif: " if where == "server" else "x.tif") in str(fault.value)
    assert str(made.folder) not in str(fault.value)


@pytest.mark.parametrize(("kind", "error"), [("404", RemoteError), ("500", BusyError), ("stall", BusyError)])
def test_a_file_that_cannot_be_had_ends_the_tile_and_names_scene_asset_and_window(made, kind, error):
    with served(made.folder, replace(FAST, total_s=3)) as (server, row, pixels):
        scenes = scenes_of(made, row, server)
        server.permanent["/" + str(made.path(2, C1, "B08").relative_to(made.folder))] = kind
        began = time.monotonic()
        with pytest.raises(error) as fault:
            list(pixels.looks(scenes, grid_of(made)))
        assert time.monotonic() - began < 8
        for words in (scenes[2].id, "asset nir", "window 6", "EPSG:32648", "B08.tif"):
            assert words in str(fault.value)
        server.permanent.clear()
        assert len(list(pixels.looks(scenes, grid_of(made)))) == 4


def test_stopping_early_leaves_nothing_behind(made):
    before = sum(1 for _ in Path("/proc/self/fd").iterdir())
    with served(made.folder, latency_s=0.05) as (server, row, pixels):
        looks = pixels.looks(scenes_of(made, row, server), grid_of(made))
        next(looks)
        looks.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("isamap-read")]
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) <= before + 1


def test_a_signal_ends_the_wait_for_a_stalled_server(made):
    limits = Limits()
    with served(made.folder, limits, faults=Faults({"stall": 1.0})) as (server, row, pixels):
        looks = pixels.looks(scenes_of(made, row, server), grid_of(made))

        def end(*_):
            raise SystemExit(143)

        before = signal.signal(signal.SIGALRM, end)
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        began = time.monotonic()
        try:
            with pytest.raises(SystemExit):
                next(looks)
        finally:
            signal.signal(signal.SIGALRM, before)
        pixels.close()
        assert time.monotonic() - began < 3


def open_files():
    """What the descriptors of this process are open on."""
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of the listing itself
            yield str(entry.readlink())


def test_mirrors_are_gone_when_the_pixels_are_there(made, monkeypatch, tmp_path):
    monkeypatch.setattr(mirrors.tempfile, "tempdir", str(tmp_path))
    seen, begin = [], mirrors.Mirror.begin

    def watched(mirror, *known):
        seen.append(str(mirror.path.readlink()))
        begin(mirror, *known)

    monkeypatch.setattr(mirrors.Mirror, "begin", watched)
    with served(made.folder) as (server, row, pixels):
        assert list(pixels.looks(scenes_of(made, row, server), grid_of(made)))
        assert seen
        assert all(name.startswith(str(tmp_path)) and name.endswith("(deleted)") for name in seen)
        assert not [name for name in open_files() if name.startswith(str(tmp_path))]
    assert not list(tmp_path.iterdir())


# -- layouts of files --------------------------------------------------------------------------------------------

LAYOUTS = {
    "tiled": {},
    "striped": {"tiled": False, "blockxsize": None, "blockysize": 7},
    "one strip": {"tiled": False, "blockxsize": None, "blockysize": 512},
    "big": {"BIGTIFF": "YES"},
    "big-endian": {"ENDIANNESS": "BIG"},
    "big and big-endian": {"BIGTIFF": "YES", "ENDIANNESS": "BIG"},
    "plain": {"compress": "none"},
    "zstd": {"compress": "zstd", "predictor": 2},
    "lzw": {"compress": "lzw", "predictor": 2},
    "small blocks": {"blockxsize": 16, "blockysize": 16},
    "COG": {"driver": "COG", "BLOCKSIZE": 128, "tiled": None, "blockxsize": None, "blockysize": None},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_read_as_it_is(tmp_path, layout):
    options = {"blockxsize": 64, "blockysize": 64} | LAYOUTS[layout]
    path = tmp_path / "x.tif"
    values = noise(500, 600)
    profile = {key: value for key, value in options.items() if value is not None}
    if options.get("tiled", True) is not True or "driver" in options:
        base = {"driver": "GTiff", "compress": "deflate", "dtype": "uint16", "count": 1, "crs": CRS}
        base |= {"transform": GRID.transform * Affine.translation(-100, -50), **profile}
        with rasterio.open(path, "w", height=500, width=600, **base) as dst:
            dst.write(values, 1)
    else:
        write(path, values, row=-50, col=-100, **profile)
    found, server = read_one(tmp_path)
    assert np.array_equal(found, values[50 : 50 + 256, 100 : 100 + 320])
    assert server.hits <= 20


def test_directories_at_the_end_of_a_file_are_found(tmp_path):
    path, values = tmp_path / "x.tif", noise(700, 700)
    write(path, values, row=-50, col=-100)
    with rasterio.open(path, "r+") as dst:  # the directory grows and moves to the end
        dst.update_tags(long="x" * 50_000)
        dst.build_overviews([2, 4])
    assert struct.unpack("<I", path.read_bytes()[4:8])[0] > 100_000
    found, _ = read_one(tmp_path)
    assert np.array_equal(found, values[50 : 50 + 256, 100 : 100 + 320])


def test_directories_longer_than_the_first_read_are_found(tmp_path):
    path = tmp_path / "x.tif"
    values = noise(3000, 3000)
    write(path, values, row=-50, col=-100, blockxsize=16, blockysize=16, compress="none")
    with rasterio.open(path) as src:
        assert int(src.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1)) > 6 * FIRST_BYTES
    found, _ = read_one(tmp_path)
    assert np.array_equal(found, values[50 : 50 + 256, 100 : 100 + 320])


def test_blocks_that_were_never_written_are_nodata(tmp_path):
    path = tmp_path / "x.tif"
    values = noise(256, 320)
    values[64:128] = 0
    write(path, values, SPARSE_OK="TRUE")
    with rasterio.open(path) as src:
        assert src.get_tag_item("BLOCK_OFFSET_0_1", "TIFF", bidx=1) is None
    found, _ = read_one(tmp_path)
    assert np.array_equal(found, values)


def test_20_m_pixels_are_repeated_and_other_nodata_becomes_0(tmp_path):
    values = noise(200, 200)
    values[:50] = 65_535
    write(tmp_path / "x.tif", values, factor=2, row=-20, col=-40, nodata=65_535)
    found, _ = read_one(tmp_path)
    expected = np.where(values == 65_535, 0, values).repeat(2, 0).repeat(2, 1)
    assert np.array_equal(found, expected[20 : 20 + 256, 40 : 40 + 320])


def write_jp2(path, values):
    with rasterio.open(
        path,
        *("w", "JP2OpenJPEG"),
        height=values.shape[0],
        width=values.shape[1],
        count=1,
        dtype="uint16",
        crs=CRS,
        transform=GRID.transform,
        QUALITY=100,
        REVERSIBLE="YES",
        BLOCKXSIZE=128,
        BLOCKYSIZE=128,
    ) as dst:
        dst.write(values, 1)


def test_a_jpeg_2000_file_is_fetched_whole(tmp_path):
    values = noise(256, 320)
    write_jp2(tmp_path / "x.jp2", values)
    found, _ = read_one(tmp_path, "x.jp2")
    assert np.array_equal(found, values)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_jpeg_2000_file_that_is_cut_off_is_never_nodata(tmp_path, share):
    path = tmp_path / "x.jp2"
    write_jp2(path, noise(256, 320))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(assets.UndecodableError, match="does not decode"):
        read_one(tmp_path, "x.jp2")


def test_only_the_blocks_of_the_window_are_fetched(tmp_path):
    write(tmp_path / "x.tif", noise(4096, 4096), row=-1000, col=-1000, compress="none")
    small = crop(GRID, Window(0, 0, 64, 64))
    _, server = read_one(tmp_path, geobox=small)
    asked = [request.range.removeprefix("bytes=").split("-") for request in server.requests]
    assert sum(int(last) - int(first) + 1 for first, last in asked) < 32_768 + 4 * (8192 + GAP_BYTES)
    assert len(asked) <= 4


def test_nothing_but_fetched_bytes_is_ever_decoded(tmp_path, monkeypatch):
    """Holes of the mirror filled with rubbish change nothing: GDAL does not look at them."""
    values = noise(2048, 2048)
    profiles = ({}, {"compress": "none"}, {"compress": "zstd", "blockxsize": 256, "blockysize": 256})
    for number, profile in enumerate(profiles):
        write(tmp_path / f"{number}.tif", values, row=-500, col=-500, **profile)
    rasterio.shutil.copy(tmp_path / "0.tif", tmp_path / "3.tif", driver="COG", BLOCKSIZE=128, NUM_THREADS=1)
    real = mirrors.Mirror._learn

    def dirty(self, known):
        real(self, known)
        rubbish = random.Random(0).randbytes(1 << 20)
        for offset in range(0, known.total, len(rubbish)):
            os.pwrite(self._file, rubbish[: known.total - offset], offset)

    monkeypatch.setattr(mirrors.Mirror, "_learn", dirty)
    for number in range(4):
        found, server = read_one(tmp_path, f"{number}.tif")
        assert np.array_equal(found, values[500 : 500 + 256, 500 : 500 + 320])
        assert server.hits > 1


@given(st.lists(st.tuples(st.integers(0, 40_000_000), st.integers(1, 9_000_000)), max_size=30))
def test_merged_ranges_cover_what_is_wanted_and_stay_small(pairs):
    spans = [(begin, begin + length) for begin, length in pairs]
    joined = merged(spans)
    assert joined == sorted(joined)
    assert all(0 < end - begin <= RANGE_BYTES for begin, end in joined)
    assert all(one[1] <= other[0] for one, other in pairwise(joined))
    covered = np.zeros(50_000_000 // 1000, np.int64)
    for begin, end in joined:
        covered[begin // 1000 : -(-end // 1000)] += 1
    assert all(covered[begin // 1000 : -(-end // 1000)].all() for begin, end in spans)


# -- files that are not what they should be ----------------------------------------------------------------------


def test_a_vrt_under_another_name_is_no_tiff(tmp_path):
    with Canary() as canary:
        disguised_vrt(tmp_path / "x.tif", canary.url)
        with pytest.raises(InputError, match="is no TIFF: begins with b'<VRTDataset"):
            read_one(tmp_path)
        assert canary.hits == 0


def test_a_file_beside_it_is_not_looked_for(tmp_path):
    write(tmp_path / "x.tif", noise(256, 320))
    (tmp_path / "x.tif.aux.xml").write_text("<PAMDataset/>")
    _, server = read_one(tmp_path)
    assert {request.path for request in server.requests} == {"/x.tif"}


def huge(path, side=1_000_000, block=256, count=1):
    """A small file that declares a huge raster."""
    tags = [
        (256, 4, 1, side),
        (257, 4, 1, side),
        (258, 3, 1, 16),
        (259, 3, 1, 8),
        (262, 3, 1, 1),
        (277, 3, 1, count),
        (322, 3, 1, block),
        (323, 3, 1, block),
        (324, 4, 1, 1000),
        (325, 4, 1, 1000),
    ]
    body = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags))
    body += b"".join(struct.pack("<HHII", *tag) for tag in tags) + struct.pack("<I", 0)
    path.write_bytes(body.ljust(4096, b"\0"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "HTTP 416"),
        (b"II", "ends at byte 2"),
        (b"<html><body>Sorry</body></html>" * 9, "web page"),
        (b"PK\x03\x04" + b"\0" * 999, "is no TIFF"),
        (b"II*\0\xff\xff\xff\x7f" + b"\0" * 99, "ends at byte"),
        (b"II*\0\x08\0\0\0" + struct.pack("<H", 60_000) + b"\0" * 99, "60000 tags"),
        (b"II*\0" + b"\0" * 99, "without a directory"),
        (b"II+\0\x04\0\0\0" + b"\0" * 99, "is no BigTIFF"),
        (b"II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 256, 4, 1, 10, 8), "in a circle"),
        (b"II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 320, 1, 4_000_000_000, 26, 0), "ends at byte"),
    ],
)
def test_what_is_no_raster_is_refused(tmp_path, content, words):
    (tmp_path / "x.tif").write_bytes(content)
    with pytest.raises((InputError, RemoteError), match=words):
        read_one(tmp_path, limits=replace(FAST, attempts=2))


def test_a_huge_raster_is_refused_before_anything_is_allocated(tmp_path):
    huge(tmp_path / "x.tif")
    with pytest.raises(InputError, match="declares a side of 1000000"):
        read_one(tmp_path)
    huge(tmp_path / "x.tif", side=100_000, block=100_000 // 16 * 16)
    with pytest.raises(InputError):
        read_one(tmp_path)


def test_declared_block_sizes_are_bounded(tmp_path):
    path = write(tmp_path / "x.tif", noise(256, 320))
    with rasterio.open(path) as src:
        offset, size = (
            int(src.get_tag_item(f"BLOCK_{what}_0_0", "TIFF", bidx=1)) for what in ("OFFSET", "SIZE")
        )
    body = path.read_bytes()
    at = body.find(struct.pack("<I", size))
    path.write_bytes(body[:at] + struct.pack("<I", 4_000_000_000) + body[at + 4 :])
    with pytest.raises(InputError, match="declares 4000000000 bytes"):
        read_one(tmp_path)
    path.write_bytes(body[: offset + size // 2])
    with pytest.raises(InputError, match="is cut off"):
        read_one(tmp_path)


def test_a_block_that_does_not_decode_is_fetched_again_and_then_reported(tmp_path):
    path = write(tmp_path / "x.tif", noise(256, 320))
    with rasterio.open(path) as src:
        offset, size = (
            int(src.get_tag_item(f"BLOCK_{what}_1_1", "TIFF", bidx=1)) for what in ("OFFSET", "SIZE")
        )
    body = bytearray(path.read_bytes())
    body[offset : offset + size] = b"\xff" * size
    path.write_bytes(body)
    with served(tmp_path) as (server, row, pixels):
        with pytest.raises(RemoteError, match="does not decode"):
            on_grid(pixels._place(row, f"{server.url}/x.tif", ""), GRID, "uint16", assets.Directories())
        assert sum(request.range.startswith("bytes=0-") for request in server.requests) == assets.AGAIN


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"crs": "EPSG:3857"}, "lies in EPSG:3857"),
        ({"crs": "EPSG:32748"}, "lies in EPSG:32748"),
        ({"crs": None}, "no CRS"),
        ({"row": 0.5}, "is shifted"),
        ({"factor": 1.5}, "do not nest"),
        ({"factor": 2, "row": 1}, "straddle"),
        ({"transform": GRID.transform * Affine.rotation(3)}, "do not nest"),
        ({"transform": Affine(10, 0, 600_000, 0, 10, 3_190_000)}, "do not nest"),
    ],
)
def test_a_grid_that_does_not_nest_is_refused(tmp_path, change, words):
    write(tmp_path / "x.tif", noise(256, 320), **change)
    with pytest.raises(InputError, match=words):
        read_one(tmp_path)


@pytest.mark.parametrize(
    "values",
    [noise(256, 320, dtype=np.uint8), noise(256, 320).astype("float32"), np.ones((3, 256, 320), np.uint16)],
)
def test_another_type_or_number_of_bands_is_refused(tmp_path, values):
    write(tmp_path / "x.tif", values)
    with pytest.raises(InputError, match="one of uint16 is wanted"):
        read_one(tmp_path)


def test_a_file_that_is_replaced_between_two_requests_is_begun_anew(tmp_path, monkeypatch):
    old, new = noise(900, 900, seed=1), noise(900, 900, seed=2)
    write(tmp_path / "served" / "x.tif", old, compress="none")
    write(tmp_path / "new.tif", new, compress="none")
    real, done = mirrors.Mirror.fetch, []

    def replaced(self, spans):
        if not done:
            done.append((tmp_path / "new.tif").replace(tmp_path / "served" / "x.tif"))
        return real(self, spans)

    monkeypatch.setattr(mirrors.Mirror, "fetch", replaced)
    found, _ = read_one(tmp_path / "served")
    assert np.array_equal(found, new[:256, :320])


def test_a_file_that_was_replaced_since_the_last_tile_is_begun_anew(tmp_path):
    write(tmp_path / "x.tif", noise(900, 900, seed=1), compress="none")
    with served(tmp_path) as (server, row, pixels):
        kept = assets.Directories()
        place = pixels._place(row, f"{server.url}/x.tif", "")
        on_grid(place, GRID, "uint16", kept)
        new = noise(900, 900, seed=2)
        write(tmp_path / "x.tif", new, compress="deflate")
        assert np.array_equal(on_grid(place, GRID, "uint16", kept), new[:256, :320])


def test_a_server_that_ignores_ranges_is_read_if_the_file_is_small(tmp_path, monkeypatch):
    values = noise(256, 320)
    write(tmp_path / "x.tif", values)
    found, server = read_one(tmp_path, faults=Faults({"no-range": 1.0}))
    assert np.array_equal(found, values)
    assert server.hits == 1
    monkeypatch.setattr(mirrors, "WHOLE_BYTES", 1000)
    with pytest.raises(RemoteError, match="ignores byte ranges"):
        read_one(tmp_path, faults=Faults({"no-range": 1.0}))


def test_directories_that_are_kept_stay_within_their_bound():
    kept = assets.Directories(most=1000)
    for number in range(50):
        kept.put(f"https://host/{number}", mirrors.Answer(b"", total=9), [(0, bytes(100))])
    assert kept._size <= 1000
    assert kept.get("https://host/0") == (None, [])
    assert kept.get("https://host/49")[1] == [(0, bytes(100))]


# -- rasters of products -----------------------------------------------------------------------------------------


def test_a_raster_of_any_grid_is_read_in_windows(tmp_path):
    values = noise(600, 700, dtype=np.uint8)
    write(tmp_path / "x.tif", values, crs="EPSG:4326", transform=Affine(1e-4, 0, 106, 0, -1e-4, 30), nodata=0)
    with served(tmp_path) as (server, row, pixels):
        for place in (f"{server.url}/x.tif", None):
            raster = (
                pixels.raster(row, place)
                if place
                else pixels.raster(replace(row, name="folder", url=""), str(tmp_path / "x.tif"))
            )
            assert (raster.dtype, raster.nodata, tuple(raster.geobox.shape)) == ("uint8", 0.0, (600, 700))
            assert str(raster.geobox.crs) == "EPSG:4326"
            window = Window(100, 200, 150, 90)
            assert np.array_equal(raster.read(window), values[window.slices])
            for bad in (Window(-1, 0, 5, 5), Window(599, 0, 5, 5), Window(0, 0, 0, 5)):
                with pytest.raises(InputError, match="is not inside"):
                    raster.read(bad)
        with pytest.raises(MissingInputError, match="no such file"):
            pixels.raster(row, f"{server.url}/none.tif")
        with pytest.raises(MissingInputError):
            pixels.raster(replace(row, name="folder", url=""), str(tmp_path / "none.tif"))


def test_many_readers_of_one_file_do_not_disturb_each_other(tmp_path):
    values = noise(1024, 1024)
    write(tmp_path / "x.tif", values)
    with served(tmp_path, latency_s=0.005) as (server, row, pixels):
        raster, faults = pixels.raster(row, f"{server.url}/x.tif"), []

        def read(seed):
            rng = random.Random(seed)
            for _ in range(10):
                window = Window(rng.randrange(900), rng.randrange(900), 100, 100)
                if not np.array_equal(raster.read(window), values[window.slices]):
                    faults.append(window)

        threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not faults


def test_paths_are_opened_as_rasters_only(tmp_path):
    with Canary() as canary:
        disguised_vrt(tmp_path / "x.tif", canary.url)
        with pytest.raises(InputError):
            on_grid(Path(tmp_path / "x.tif"), GRID, "uint16", assets.Directories())
        assert canary.hits == 0
