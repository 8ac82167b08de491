"""Shifts between imagery and what shall teach it."""

import numpy as np
import pytest
import towns

from isamap.domain.alignment import LIMITS_M, align
from isamap.domain.classes import ISA
from isamap.domain.tiling import Source
from isamap.io.registering import measure_site, sample_windows
from isamap.io.site import Site, jobs_of

MOVES = [(0, 0), (6, 3), (-4, 8), (0, -12)]


def measured(folder, **more):
    source = Source(name="town", imagery=("imagery.tif",), **more)
    (job,) = jobs_of(source, ISA, folder)
    with Site(job) as site:
        return {one.by: one for one in measure_site(site)}


@pytest.mark.parametrize(("east_m", "north_m"), MOVES)
def test_a_shift_of_the_image_is_found_to_half_a_metre(tmp_path, east_m, north_m):
    towns.write_town(tmp_path, towns.make_town(128, 128), east_m=east_m, north_m=north_m)
    found = measured(tmp_path, image=("image.tif",))["image"]
    assert (found.east_m, found.north_m) == pytest.approx((east_m, north_m), abs=0.5)
    assert found.trusted


@pytest.mark.parametrize(("east_m", "north_m"), MOVES)
def test_a_shift_of_labels_alone_is_found_to_a_metre_and_a_half(tmp_path, east_m, north_m):
    towns.write_town(tmp_path, towns.make_town(128, 128), east_m=east_m, north_m=north_m)
    found = measured(tmp_path, labels=("isa.tif",))["labels"]
    assert (found.east_m, found.north_m) == pytest.approx((east_m, north_m), abs=1.5)
    assert found.trusted


def test_labels_of_another_town_show_no_shift_that_is_trusted(tmp_path):
    towns.write_town(tmp_path, towns.make_town(128, 128))
    rng = np.random.default_rng(3)
    noise = np.kron(rng.random((128, 128)) < 0.3, np.ones((10, 10))).astype(np.uint8)
    towns.write(tmp_path / "isa.tif", noise, 1, nodata=255)
    found = measured(tmp_path, labels=("isa.tif",))
    assert "labels" not in found or not found["labels"].trusted


def test_flat_ground_shows_nothing(tmp_path):
    town = towns.make_town(64, 64)
    towns.write_town(tmp_path, town)
    towns.write(tmp_path / "isa.tif", np.zeros_like(town.isa), 1, nodata=255)
    assert measured(tmp_path, labels=("isa.tif",)) == {}
    assert align([], "image", 10) is None


def test_windows_are_spread_over_the_ground_and_no_more_than_needed():
    assert len(sample_windows((64, 200))) == 3
    assert 50 <= len(sample_windows((5000, 5000))) <= 100
    assert [window.shape for window in sample_windows((40, 30))] == [(30, 30)]
    assert sample_windows((20, 400)) == []


def test_limits_are_stricter_for_what_is_measured_better():
    assert LIMITS_M["image"] < LIMITS_M["labels"]
