"""How far the fine image and the labels of a site lie off its imagery, measured on a sample of windows."""

import numpy as np
from numpy.typing import NDArray

from isamap.domain.alignment import LABELLED, Alignment, align, brightness, likeness
from isamap.domain.classes import FBP24, UNLABELLED
from isamap.domain.grid import Window, windows
from isamap.domain.sensors import observe, sensor_of
from isamap.io.site import Site

SIDE_PX, MAX_WINDOWS = 64, 100
"""Windows in pixels of the imagery, and how many of them at most, spread evenly."""
LEAST_SIDE_PX = 24

Float = NDArray[np.float32]


def measure_site(site: Site) -> list[Alignment]:
    """Shifts by the fine image and by the labels, as far as the site has them and they show any."""
    job = site.job
    by_image, by_labels = job.image and not job.simulated, job.has_labels
    if not (by_image or by_labels):
        return []
    pairs: dict[str, list[tuple[Float, Float]]] = {"image": [], "labels": []}
    for window in sample_windows(site.shape):
        lr = _reflectance(site, window)
        valid = np.asarray(np.isfinite(lr).all(axis=0))
        if by_image:
            pairs["image"].append((brightness(lr, valid, site.coarse.bands), _grey(site, window)))
        if by_labels:
            share = _share(site, window)
            if np.isfinite(share).any():
                pairs["labels"].append((lr, share))
    found = [
        align(pairs["image"], "image", site.gsd_m),
        align(likeness(pairs["labels"]), "labels", site.gsd_m),
    ]
    return [one for one in found if one is not None]


def sample_windows(shape: tuple[int, int]) -> list[Window]:
    """Windows of one size, spread evenly over the imagery; smaller ones on small ground, none on less than that."""
    side = min(SIDE_PX, *shape)
    if side < LEAST_SIDE_PX:
        return []
    whole = [window for window in windows(shape, side) if window.shape == (side, side)]
    step = max(1, -(-len(whole) // MAX_WINDOWS))
    return whole[::step]


def _reflectance(site: Site, window: Window) -> Float:
    """Imagery `(band, y, x)`, NaN where a band is missing."""
    stored = site.lr(window)
    nodata = site.coarse.nodata
    missing = np.isnan(stored) if np.isnan(nodata) else stored == nodata
    lr: Float = np.where(
        missing.any(axis=0), np.float32(np.nan), stored.astype(np.float32) * site.coarse.gain
    )
    return lr.astype(np.float32)


def _grey(site: Site, window: Window) -> Float:
    """The fine image as bright as the sensor would see it, 0-1, NaN where it does not cover a pixel."""
    image = site.hr(window)
    assert image is not None
    there = np.asarray(image.any(axis=0))
    grey = image.mean(axis=0, dtype=np.float32) / np.float32(255)
    return _seen(site, grey, there)


def _share(site: Site, window: Window) -> Float:
    """Impervious share as the sensor would see it, NaN where a pixel is not labelled."""
    codes = site.labels(window)
    assert codes is not None
    isa = FBP24.to_isa(codes) if site.job.scheme is FBP24 else codes
    if site.job.vectors and site.job.source.background == "unknown":
        isa = np.where(
            isa == UNLABELLED, np.uint8(0), isa
        )  # what is drawn stands out from what is not, even so
    return _seen(site, (isa == 1).astype(np.float32), isa != UNLABELLED)


def _seen(site: Site, values: Float, known: NDArray[np.bool_]) -> Float:
    """Values under the sensor's point spread, NaN where too little of a pixel is known."""
    sigma_m = sensor_of(site.job.source.sensor).bands[0].psf_sigma_m
    sigma_px = sigma_m * site.scale / site.gsd_m if site.scale > 1 else 0.0
    weight = observe(known.astype(np.float32), sigma_px, site.scale)
    total = observe(np.where(known, values, 0).astype(np.float32), sigma_px, site.scale)
    seen = np.full(weight.shape, np.nan, np.float32)
    np.divide(total, weight, out=seen, where=weight >= LABELLED)
    return seen
