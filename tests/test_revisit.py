"""The model behind --dry-run without a catalogue."""

import pytest

from isamap.domain.revisit import expected_scenes, hours, scene_bytes


def test_a_satellite_passes_every_ten_days_at_the_equator_and_more_often_poleward():
    passes = [expected_scenes(lat, 2021) / 1.44 for lat in (0, 30, 45, 60, -30)]
    assert 73 < passes[0] < 85
    assert passes == [*sorted(passes[:4]), passes[1]]
    assert passes[3] == pytest.approx(2 * passes[0], rel=0.01)


def test_one_satellite_at_first_two_from_march_2017():
    assert expected_scenes(30, 2014) == 0
    assert expected_scenes(30, 2016) * 2 == pytest.approx(expected_scenes(30, 2020))
    assert expected_scenes(30, 2015) == pytest.approx(expected_scenes(30, 2016, (6, 7, 8, 9, 10, 11, 12)))
    assert expected_scenes(30, 2017, (2,)) * 2 == pytest.approx(expected_scenes(30, 2018, (2,)))
    assert expected_scenes(30, 2017, (3,)) == pytest.approx(expected_scenes(30, 2018, (3,)))


def test_months_count_by_their_days_and_once():
    assert expected_scenes(30, 2021, [2, 2]) == pytest.approx(expected_scenes(30, 2021, [1]) * 28 / 31)
    assert expected_scenes(30, 2021, []) == 0


def test_nothing_is_seen_at_the_pole():
    assert expected_scenes(84, 2021) == expected_scenes(-90, 2021) == 0
    assert expected_scenes(82, 2021) < 73 * 143


def test_a_tile_moves_whole_blocks():
    assert 20e6 < scene_bytes(1088 * 1088) < 45e6
    assert scene_bytes(1) == pytest.approx((6 * 1.4 + 0.1) * 1024**2)
    whole = scene_bytes(10_980**2) / 10_980**2
    assert 1.4 * 4.5 < whole < 1.4 * 4.5 * 1.3


def test_hours_of_a_transfer():
    assert hours(45, 100) == pytest.approx(1)
