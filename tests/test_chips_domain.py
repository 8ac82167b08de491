"""What a chip store says about itself."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from isamap.domain.chips import ChipRow, ShardRow, chip_windows, feature, item

SHARD = ShardRow(
    name="a",
    sensor="gaofen-2",
    bands=("B02",),
    gsd_m=4.0,
    scale=4,
    gain=1 / 255,
    scheme="isa",
    has_hr=True,
    simulated=False,
    shape=(90, 70),
    crs="EPSG:32648",
    transform=(4.0, 0.0, 640_000.0, 0.0, -4.0, 3_280_000.0),
    shifts=({"by": "image", "east_m": 0.5},),
    shift_px=(1, -2),
    attribution=("a", "b"),
    counts={"0": 3},
)


def test_a_shard_survives_its_document():
    assert ShardRow.parse(SHARD.document()) == SHARD
    assert SHARD.layers == ("lr", "hr", "labels")
    assert SHARD.geobox.shape == (90, 70)
    assert SHARD.frame == "EPSG:32648"


@given(st.integers(1, 60), st.integers(0, 300), st.integers(0, 300))
def test_chips_lie_inside_and_cover_all_but_a_narrow_rim(size, more_rows, more_cols):
    shape = size + more_rows, size + more_cols
    starts = list(chip_windows(shape, size))
    assert len(set(starts)) == len(starts)
    for axis, side in enumerate(shape):
        ends = sorted({start[axis] + size for start in starts})
        assert ends[0] == size
        assert ends[-1] <= side < ends[-1] + max(1, size / 4)
        assert all(later - earlier <= size for earlier, later in itertools.pairwise(ends))


def test_documents_of_ground_without_position_have_no_geometry():
    assert item("a", {"lr": "a.lr.tif"}, {}, None)["geometry"] is None
    assert item("a", {"lr": "a.lr.tif"}, {}, [1, 2, 3, 4])["bbox"] == [1, 2, 3, 4]
    row = ChipRow("a_1", "a", "train", 0, 0, 64, 0.5, None)
    assert feature(row, None, {"x": 1})["geometry"] is None
    assert feature(row, None, {"x": 1})["properties"]["x"] == 1
