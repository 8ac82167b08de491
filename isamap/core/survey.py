"""`isamap evaluate --sample`: accuracy and areas estimated from a reference sample."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from isamap.domain.estimation import SampleAccuracy, Stratum, estimate
from isamap.domain.evaluation import mean_shares
from isamap.domain.product import NODATA
from isamap.errors import InputError
from isamap.io.products import Product, footprints, grid_of
from isamap.io.sample import Sample, read_sample, read_table

log = logging.getLogger(__name__)

HALF = 0.5
SQUARE_KM = 1e6


@dataclass(frozen=True)
class Survey:
    """A reference sample and how it was drawn."""

    path: Path
    """Points."""
    observed: str = "observed"
    """Column with the observed class: 1 ISA, 0 not; empty where nobody has looked."""
    stratum: str | None = None
    """Column with the stratum; None: a simple random sample."""
    strata: Path | None = None
    """CSV with the columns `stratum` and `size` (or `n_pixels`, `area_km2`); needed with strata."""
    where: str | None = None
    """`COLUMN=VALUE` or `COLUMN!=VALUE`: the points that count."""
    support_m: float = 0
    """Side of the square around a point whose majority is compared; 0: the map's pixel at the point."""


@dataclass(frozen=True)
class Surveyed:
    """What a sample says of one product."""

    accuracy: SampleAccuracy
    """The estimates."""
    left_out: int
    """Points on ground that the product does not map."""


def run(products: Sequence[Product], survey: Survey) -> tuple[dict[str, Surveyed], str]:
    """Estimates for every product from the same points, and the unit of the areas.

    Raises:
        InputError: columns, classes or strata do not fit, or no point lies on a product.
    """
    sample = read_sample(survey.path)
    rows = _chosen(sample, survey)
    observed = _observed(sample, survey)
    rows &= observed != NODATA
    if not rows.any():
        raise InputError(f"{survey.path}: no point has an observed class in column {survey.observed!r}")
    strata, index, unit = _strata(sample, survey, products[0])
    results = {}
    for product in products:
        mapped = classes_at(product, sample, survey.support_m)
        used = rows & (mapped != NODATA)
        if not used.any():
            raise InputError(f"no point of {survey.path} lies on a pixel that {product.name} maps")
        left_out = int((rows & ~used).sum())
        if left_out:
            log.warning(
                "%s: %d of %d points lie where it maps nothing: the others stand for them",
                product.name,
                left_out,
                int(rows.sum()),
            )
        accuracy = estimate(
            strata, index[used], mapped[used].astype(np.int64), observed[used].astype(np.int64)
        )
        results[product.name] = Surveyed(accuracy, left_out)
    return results, unit


def _chosen(sample: Sample, survey: Survey) -> NDArray[np.bool_]:
    """Points that --where lets pass."""
    if survey.where is None:
        return np.ones(len(sample.rows), np.bool_)
    column, differs, value = survey.where.partition("!=")
    if not differs:
        column, equals, value = survey.where.partition("=")
        if not equals:
            raise InputError(f"{survey.where!r} is no condition: write COLUMN=VALUE or COLUMN!=VALUE")
    same = np.array(
        [str(cell) == value.strip() for cell in sample.column(column.strip(), survey.path)], np.bool_
    )
    return ~same if differs else same


def _observed(sample: Sample, survey: Survey) -> NDArray[np.uint8]:
    """1, 0, or 255 where nobody has looked."""
    codes = []
    for number, cell in enumerate(sample.column(survey.observed, survey.path), start=1):
        text = "" if cell is None else str(cell).strip()
        if text in ("", "nan", "None"):
            codes.append(NODATA)
        elif text in ("0", "0.0", "1", "1.0"):
            codes.append(int(float(text)))
        else:
            raise InputError(f"{survey.path}, point {number}: {survey.observed} is {text!r}, not 0 or 1")
    return np.array(codes, np.uint8)


def _strata(sample: Sample, survey: Survey, product: Product) -> tuple[list[Stratum], NDArray[np.int64], str]:
    """The strata, the stratum of each point, and the unit of their sizes."""
    if survey.stratum is None:
        log.warning("no --stratum: the points are taken for a simple random sample of the whole map")
        return [Stratum("all", _area_km2(product))], np.zeros(len(sample.rows), np.int64), "km2"
    if survey.strata is None:
        raise InputError(
            "strata need their sizes: give --strata-sizes FILE.csv with the columns stratum and size"
        )
    table = read_table(survey.strata)
    column = next((name for name in ("area_km2", "size", "n_pixels") if table and name in table[0]), None)
    if column is None or "stratum" not in table[0]:
        raise InputError(f"{survey.strata} needs the columns stratum and size (or area_km2, n_pixels)")
    try:
        strata = [Stratum(str(row["stratum"]), float(row[column])) for row in table]
    except ValueError as error:
        raise InputError(f"{survey.strata}: a size is no number ({error})") from error
    place = {stratum.name: index for index, stratum in enumerate(strata)}
    names = [str(name) for name in sample.column(survey.stratum, survey.path)]
    if unknown := sorted(set(names) - set(place)):
        raise InputError(f"{survey.strata} gives no size for the stratum {unknown[0]!r}")
    units = {"area_km2": "km2", "n_pixels": "pixels"}
    return (
        strata,
        np.array([place[name] for name in names], np.int64),
        units.get(column, "units of the strata"),
    )


def _area_km2(product: Product) -> float:
    """Area of all rasters of a product, nodata included."""
    grids = [grid_of(path) for path in product.files]
    return (
        float(sum(abs(g.resolution.x * g.resolution.y) * g.shape[0] * g.shape[1] for g in grids)) / SQUARE_KM
    )


def classes_at(product: Product, sample: Sample, support_m: float) -> NDArray[np.uint8]:
    """Class of a product at each point, 255 where it maps nothing; the majority of a square with `support_m`."""
    mapped = np.full(len(sample.rows), NODATA, np.uint8)
    places = footprints(product)
    for number, path in enumerate(product.files):
        lon, lat = Transformer.from_crs(sample.crs, "EPSG:4326", always_xy=True).transform(sample.x, sample.y)
        inside = _within(places.boxes[number], lon, lat) & (mapped == NODATA)
        if not inside.any():
            continue
        mapped[inside] = _read_at(product.near([path]), sample, inside, support_m)
    return mapped


def _within(box: Any, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
    import shapely

    found: NDArray[np.bool_] = shapely.intersects_xy(box, lon, lat)
    return found


def _read_at(
    product: Product, sample: Sample, inside: NDArray[np.bool_], support_m: float
) -> NDArray[np.uint8]:
    """Classes of one raster at the points `inside`."""
    with product.shares() if product.fractional else product.classes() as layer:
        sheet = layer.sheets[0]
        to_map = Transformer.from_crs(sample.crs, str(sheet.geobox.crs), always_xy=True)
        x, y = to_map.transform(sample.x[inside], sample.y[inside])
        found = [
            _class(layer.on(_square(sheet.geobox, float(px), float(py), support_m)))
            for px, py in zip(np.atleast_1d(x), np.atleast_1d(y), strict=True)
        ]
    return np.array(found, np.uint8)


def _square(grid: GeoBox, x: float, y: float, support_m: float) -> GeoBox:
    """Whole pixels of a grid around a point: the one it lies in, or the square nearest to being centred on it."""
    step = abs(grid.resolution.x)
    side = max(1, round(support_m / step)) if grid.crs is not None and grid.crs.projected else 1
    col, row = ~grid.transform * (x, y)
    shift = (side - 1) / 2
    left, top = int(np.floor(col - shift + 1e-6)), int(np.floor(row - shift + 1e-6))
    return GeoBox((side, side), grid.transform * Affine.translation(left, top), grid.crs)


def _class(values: NDArray[Any]) -> int:
    """Majority of the known pixels of a square."""
    share = values if values.dtype.kind == "f" else np.where(values == NODATA, np.nan, values)
    mean, valid = mean_shares(share.astype(np.float32), max(share.shape))
    return int(mean[0, 0] > HALF) if valid[0, 0] > HALF else NODATA
