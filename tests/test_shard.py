import pytest
from hypothesis import given
from hypothesis import strategies as st

from isamap.cli.options import side_by_side
from isamap.domain.grid import Tile
from isamap.domain.sources import SOURCES
from isamap.engine.shard import Shard
from isamap.errors import ConfigError
from isamap.io import pace
from isamap.io.http import client_of

TILES = [Tile(48, "N", 60 + ix, 318 + iy) for ix in range(5) for iy in range(4)]


@given(st.integers(1, 40), st.permutations(TILES))
def test_shards_share_the_tiles_evenly_and_every_tile_has_one(count, tiles):
    parts = [Shard(index, count).own(tiles) for index in range(1, count + 1)]
    assert sorted(tile for part in parts for tile in part) == sorted(TILES)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(st.permutations(TILES))
def test_the_order_in_which_tiles_are_given_does_not_matter(tiles):
    assert Shard(2, 3).own(tiles) == Shard(2, 3).own(TILES)


def test_one_shard_is_everything():
    assert Shard(1, 1).own(TILES) == sorted(TILES, key=str)


def test_neighbours_belong_to_different_shards():
    assert [Shard(2, 3).own("abcdefg"), Shard(3, 3).own("gfedcba")] == [["b", "e"], ["c", "f"]]


@pytest.mark.parametrize(("text", "shard"), [("2/8", Shard(2, 8)), (" 10/10 ", Shard(10, 10))])
def test_a_shard_is_written_as_part_and_count(text, shard):
    assert Shard.parse(text) == shard
    assert Shard.parse(str(shard).replace("-of-", "/")) == shard


@pytest.mark.parametrize(
    "text", ["", "2", "2/", "/8", "2/8/1", "a/b", "-1/8", "2 of 8", "1e1/20", "٢/8", "2.0/8"]
)
def test_anything_else_is_named(text):
    with pytest.raises(ConfigError, match="is no shard: write I/N"):
        Shard.parse(text)


@pytest.mark.parametrize("text", ["0/8", "9/8", "1/0", "1/10001"])
def test_a_shard_that_there_is_not_is_refused(text):
    with pytest.raises(ConfigError, match="count from 1"):
        Shard.parse(text)


class Clock:
    """Seconds that pass only while somebody waits."""

    now = 0.0

    def monotonic(self):
        return self.now

    def wait(self, seconds):
        self.now += seconds


@pytest.mark.parametrize(
    ("workers", "shard", "address", "processes"),
    [
        (1, None, None, 1),
        (2, None, None, 2),
        (2, Shard(3, 4), None, 8),
        (2, Shard(3, 4), "tls://10.0.0.5:8786", 4),  # of each worker's machine, not of the cluster
    ],
)
def test_all_processes_of_all_shards_together_keep_the_rate_of_a_source(
    workers, shard, address, processes, monkeypatch
):
    given = {"workers": workers, "shard": shard, "scheduler_address": address}
    assert side_by_side(given) == processes
    source, clock = SOURCES["planetary-computer"], Clock()
    monkeypatch.setattr(pace, "time", clock)
    own = client_of(source, share=processes)._pace
    monkeypatch.setattr(own._stop, "wait", clock.wait)
    asked = 0
    while clock.now < 60:
        with own.turn("catalogue", paced=True):
            asked += 1
    assert asked * processes == pytest.approx(60 * source.requests_per_s, abs=2 * processes)
