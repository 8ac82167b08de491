"""Composites against loops over single pixels that share no code with them."""

import math
from statistics import median
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from realdata import real

from isamap.domain import compositing
from isamap.domain.compositing import Method, composite, ranked

METHODS = get_args(Method)


def median_of(looks):
    """Half up, per band."""
    return [math.floor(median(int(look[band]) for look in looks) + 0.5) for band in range(len(looks[0]))]


def geomedian_of(looks, step=0.01, most=200, meets=1e-6):
    """Weiszfeld's iteration with the step of Vardi and Zhang, look by look."""
    bands, n = range(len(looks[0])), len(looks)
    looks = [[float(value) for value in look] for look in looks]
    at = [sum(look[b] for look in looks) / n for b in bands]
    for _ in range(most if n > 2 else 0):
        pulls, eta = [], 0
        for look in looks:
            distance = math.sqrt(sum((look[b] - at[b]) ** 2 for b in bands))
            if distance < meets:
                eta += 1
                pulls.append(0.0)
            else:
                pulls.append(1 / distance)
        total = sum(pulls)
        target = [
            sum(p * look[b] for p, look in zip(pulls, looks, strict=True)) / total if total else at[b]
            for b in bands
        ]
        force = total * math.dist(target, at)
        hold = 0.0 if eta == 0 else 1.0 if force <= eta else eta / force
        new = [target[b] + hold * (at[b] - target[b]) for b in bands]
        moved, at = math.dist(new, at), new
        if moved < step:
            break
    return [min(max(math.floor(value + 0.5), 1), 65534) for value in at]


def best_of(looks):
    return [int(value) for value in looks[0]]


ORACLES = {"median": median_of, "geomedian": geomedian_of, "best": best_of}


def brute_force(method, stack, clear, order):
    n, bands, height, width = stack.shape
    values, counts = np.zeros((bands, height, width), np.uint16), np.zeros((height, width), np.uint16)
    for y in range(height):
        for x in range(width):
            scenes = [k for k in (order if method == "best" else range(n)) if clear[k, y, x]]
            counts[y, x] = len(scenes)
            if scenes:
                values[:, y, x] = ORACLES[method]([stack[k, :, y, x] for k in scenes])
    return values, counts


def agree(method, stack, clear):
    order = ranked(clear)
    found, expected = composite(method, stack, clear, order), brute_force(method, stack, clear, order)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == np.uint16
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 12, 13, 31, 60])
def test_every_method_is_the_brute_force_one_bit_for_bit(method, count):
    rng = np.random.default_rng(count)
    ground = rng.integers(200, 4000, (1, 6, 9, 14))
    stack = np.clip(ground + rng.normal(0, 150, (count, 6, 9, 14)), 1, 65534).astype(np.uint16)
    stack[rng.random((count, 6, 9, 14)) < 0.05] = 65534
    clear = rng.random((count, 9, 14)) < rng.random((9, 14))
    clear[:, 0, 0], clear[:, 0, 1] = False, True
    agree(method, stack, clear)


@pytest.mark.parametrize("method", METHODS)
@settings(deadline=None, max_examples=60)
@given(st.data())
def test_few_small_numbers_with_many_ties(method, data):
    n, h, w = (data.draw(st.integers(1, top)) for top in (9, 3, 4))
    values = data.draw(st.lists(st.integers(1, 4), min_size=n * 6 * h * w, max_size=n * 6 * h * w))
    flags = data.draw(st.lists(st.booleans(), min_size=n * h * w, max_size=n * h * w))
    agree(method, np.array(values, np.uint16).reshape(n, 6, h, w), np.array(flags).reshape(n, h, w))


@pytest.mark.parametrize("method", METHODS)
def test_real_pixels_of_two_dates_and_clouds(method):
    """Valencia twice, shifted against itself for more dates, under real clouds."""
    import rasterio

    dates = []
    for path in real(*(f"s2-oscd-change/valencia/valencia-{d}-10m.tif" for d in ("20160730", "20171107"))):
        with rasterio.open(path) as near, rasterio.open(str(path).replace("10m", "20m")) as far:
            names = list(far.descriptions)
            swir = far.read([names.index("B11") + 1, names.index("B12") + 1]).repeat(2, 1).repeat(2, 2)
            dates.append(np.concatenate([near.read(), swir])[:, 100:148, 100:164])
    looks = [np.roll(date, shift, axis=2) for shift in (0, 1, 2) for date in dates]
    stack = np.stack(looks)
    rng = np.random.default_rng(1)
    clear = (rng.random((6, 6, 8)) < 0.6).repeat(8, 1).repeat(8, 2) & (stack > 0).all(axis=1)
    agree(method, stack, clear)


@pytest.mark.parametrize("method", METHODS)
def test_strips_leave_no_trace(method, monkeypatch):
    rng = np.random.default_rng(2)
    stack = rng.integers(1, 9000, (6, 6, 33, 21)).astype(np.uint16)
    clear = rng.random((6, 33, 21)) < 0.5
    whole = composite(method, stack, clear)
    monkeypatch.setattr(compositing, "_MEDIAN_BYTES", 2 * 6 * 21 * 4)
    monkeypatch.setattr(compositing, "_GEOMEDIAN_LOOKS", 6 * 21 * 5)
    for ours, theirs in zip(composite(method, stack, clear), whole, strict=True):
        np.testing.assert_array_equal(ours, theirs)
