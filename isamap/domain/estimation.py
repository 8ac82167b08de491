"""Accuracy and area from a stratified random sample of reference labels, with their standard errors.

Pixel counts of a map are biased: its omissions and commissions do not cancel. A sample is not, whatever the
map, if each unit is weighted by what it stands for: N_h / n_h, the size of its stratum h over the units there.
All figures are ratios of two such totals (Stehman 2014, Int. J. Remote Sensing 35, 4923-4939),

    R = Y / X,  Y = sum_h N_h mean_h(y),  X = sum_h N_h mean_h(x),
    V(R) = sum_h N_h^2 s_h^2 / n_h / X^2,  s_h^2 the sample variance of y - R x in stratum h,

with indicators y and x: overall accuracy is y = labels agree over x = 1, user's accuracy of a class y = agree
on it over x = mapped as it, producer's accuracy the same y over x = observed as it. Strata need not be the
map's classes; where they are, this is Olofsson et al. (2013, 2014) to the last digit.

No finite population correction: sizes may be areas, samples are a vanishing part of a map. A standard error of
0 says that the sample saw no variation; a large stratum with rare errors makes intervals too short: decision 8.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from isamap.errors import InputError

Z = 1.96
"""Standard errors on either side of an estimate that make a 95 % interval."""


@dataclass(frozen=True)
class Estimate:
    """A figure estimated from a sample. NaN where the sample cannot say: nothing to divide by."""

    value: float
    """The estimate, a fraction or in the unit of the strata."""
    se: float
    """Its standard error, in the same unit."""
    ends: tuple[float, float] | None = None
    """95 % interval where errors are too few for the normal one (`caution`); None: that is it."""
    limits: tuple[float, float] = (-math.inf, math.inf)
    """Least and greatest value that the figure can have: no interval reaches further."""

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return max(self.value - Z * self.se if self.ends is None else self.ends[0], self.limits[0])

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return min(self.value + Z * self.se if self.ends is None else self.ends[1], self.limits[1])

    @property
    def interval(self) -> str | None:
        """Kind of the interval: `normal`, which is value -+ 1.96 SE within the limits, or `score`; None without one."""
        if not math.isfinite(self.value):
            return None
        return "normal" if self.ends is None else "score"

    def as_share(self) -> "Estimate":
        """The same of a figure that lies within 0 and 1."""
        return replace(self, limits=(0.0, 1.0))

    def times(self, size: float) -> "Estimate":
        """So many times the figure, as a share of some ground is an area of it."""
        ends = None if self.ends is None else (size * self.ends[0], size * self.ends[1])
        limits = size * self.limits[0], size * self.limits[1]
        return Estimate(size * self.value, size * self.se, ends, limits)

    def as_json(self) -> dict[str, float | str | None]:
        """Value, standard error, interval and its kind; null where undefined, for JSON knows no NaN."""
        figures = {"value": self.value, "se": self.se, "low": self.low, "high": self.high}
        shown = {name: figure if math.isfinite(figure) else None for name, figure in figures.items()}
        return {**shown, "interval": self.interval}


@dataclass(frozen=True)
class Stratum:
    """One part of the ground that was sampled by itself."""

    name: str
    """For messages."""
    size: float
    """Area or number of pixels; areas come out in the same unit. A stratum of size 0 is passed over."""


@dataclass(frozen=True)
class SampleAccuracy:
    """What a sample says about a map."""

    classes: tuple[int, ...]
    """Class codes, in the order of rows and columns."""
    matrix: NDArray[np.float64]
    """Estimated share of the ground per mapped (row) and observed (column) class; sums to 1."""
    counts: NDArray[np.int64]
    """Sample units, same layout. They say nothing about shares: strata are sampled at different rates."""
    overall: Estimate
    """Share of the ground that is mapped right."""
    users: dict[int, Estimate]
    """Per class, the share of what is mapped so that is so; NaN for a class never met in the map."""
    producers: dict[int, Estimate]
    """Per class, the share of what is so that is mapped so; NaN for a class that was never observed."""
    area: dict[int, Estimate]
    """Error-adjusted area per observed class, in the unit of the strata; 0 for a class never observed."""
    mapped_area: dict[int, float]
    """Area per class in the map: the census that was passed in, else estimated from the sample."""
    f1: Estimate
    """2 hit / (mapped + observed) of the positive class; NaN if it was neither mapped nor observed."""
    iou: Estimate
    """hit / (mapped or observed) of the positive class; NaN likewise."""


@dataclass(frozen=True)
class Design:
    """Strata that were sampled, and the stratum of each unit; made by `design_of`, which checks."""

    size: NDArray[np.float64]
    """Shape (stratum,), all above 0."""
    count: NDArray[np.int64]
    """Sample units per stratum, all above 1."""
    stratum: NDArray[np.int64]
    """Shape (unit,), indices into the other two."""

    @property
    def weight(self) -> NDArray[np.float64]:
        """What each unit stands for; sums to the size of all strata."""
        each: NDArray[np.float64] = self.size / self.count
        return each[self.stratum]

    def means(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean of the units of each stratum."""
        return np.bincount(self.stratum, values, self.size.size) / self.count

    def total(self, values: NDArray[np.float64]) -> float:
        """Estimated sum over the ground."""
        return float(self.size @ self.means(values))

    def ratio(self, y: NDArray[np.float64], x: NDArray[np.float64]) -> Estimate:
        """Y / X with the variance of the module's docstring; NaN if X is 0."""
        whole = self.total(x)
        if whole == 0:
            return Estimate(math.nan, math.nan)
        value = self.total(y) / whole
        return Estimate(value, math.sqrt(self.variances(y - value * x).sum()) / abs(whole))

    def variances(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """What each stratum adds to the variance of the estimated sum."""
        apart = values - self.means(values)[self.stratum]
        return self.size**2 * self.means(apart**2) / (self.count - 1)  # N^2 s^2 / n


def design_of(strata: Sequence[Stratum], stratum: NDArray[np.int64]) -> Design:
    """Checked strata and units, without the strata of size 0; InputError as `estimate` says."""
    index = np.asarray(stratum)
    if index.ndim != 1 or index.size == 0 or index.dtype.kind not in "iu":
        raise InputError("the sample has no units, or no whole stratum number for each: check its file")
    if (unknown := (index < 0) | (index >= len(strata))).any():
        unit, last = int(unknown.argmax()), len(strata) - 1
        raise InputError(f"sample unit {unit} is of stratum {index[unit]}, not 0 to {last}: correct it")
    count = np.bincount(index.astype(np.int64), minlength=len(strata)).astype(np.int64)
    for one, units in zip(strata, count.tolist(), strict=True):
        if not (math.isfinite(one.size) and one.size >= 0):
            raise InputError(f"stratum {one.name} has size {one.size}: give its area or pixel count")
        if units < 2 if one.size else units:
            fault = "but needs 2: sample more or merge it" if one.size else "but size 0: correct one of them"
            raise InputError(f"stratum {one.name} has {units} sample units, {fault}")
    kept = np.array([one.size > 0 for one in strata])
    size = np.array([one.size for one in strata], np.float64)[kept]
    return Design(size, count[kept], (np.cumsum(kept) - 1)[index])


def _values(values: NDArray[np.generic], units: int, name: str) -> NDArray[np.float64]:
    """Finite values, one per unit."""
    found = np.asarray(values, np.float64)
    if found.shape != (units,):
        raise InputError(f"{name} has shape {found.shape}, the sample {units} units: give one value each")
    if not (finite := np.isfinite(found)).all():
        raise InputError(f"{name} of sample unit {int(finite.argmin())} is not a finite number: correct it")
    return found


def _indicators(codes: NDArray[np.float64], classes: Sequence[int], name: str) -> NDArray[np.float64]:
    """1 where a unit is of a class, else 0; shape (class, unit)."""
    table = np.array([codes == code for code in classes], np.float64)
    if not (known := table.any(0)).all():
        unit = int(known.argmin())
        raise InputError(f"{name} class of sample unit {unit} is {codes[unit]:g}, not in {classes}: mend it")
    return table


def ratio(
    strata: Sequence[Stratum],
    stratum: NDArray[np.int64],
    y: NDArray[np.float64],
    x: NDArray[np.float64] | None = None,
) -> Estimate:
    """Combined ratio estimate Y / X; without x the mean of y over the ground.

    y may be fractions, such as impervious shares of reference blocks: their mean times all sizes is an area.

    Args:
        strata: what was sampled.
        stratum: index into `strata` of each unit, shape (unit,).
        y: shape (unit,).
        x: shape (unit,); 1 if left out.

    Raises:
        InputError: as `estimate`, or a value that is not finite.
    """
    design = design_of(strata, stratum)
    units = design.stratum.size
    return design.ratio(_values(y, units, "y"), np.ones(units) if x is None else _values(x, units, "x"))


def estimate(
    strata: Sequence[Stratum],
    stratum: NDArray[np.int64],
    mapped: NDArray[np.int64],
    observed: NDArray[np.int64],
    classes: Sequence[int] = (0, 1),
    positive: int = 1,
    mapped_area: Mapping[int, float] | None = None,
) -> SampleAccuracy:
    """Accuracy of a map and area of each class, from units drawn at random within strata.

    Args:
        strata: what was sampled, with sizes.
        stratum: index into `strata` of each unit, shape (unit,).
        mapped: class of each unit in the map, shape (unit,).
        observed: its class by the reference, shape (unit,).
        classes: all class codes.
        positive: the class of `f1` and `iou`.
        mapped_area: census of the map per class, if known, in the unit of the strata.

    Raises:
        InputError: no unit at all; fewer than two in a stratum, or any in one of size 0; an unknown stratum
            or class; arrays of different lengths.
    """
    if len(set(classes)) != len(classes) or positive not in classes:
        raise InputError(f"classes {list(classes)} must differ and include the positive class {positive}")
    if mapped_area is not None and set(mapped_area) != set(classes):
        raise InputError(f"mapped areas are of {sorted(mapped_area)}: give those of {sorted(classes)}")
    design = design_of(strata, stratum)
    units = design.stratum.size
    rows = _indicators(_values(mapped, units, "mapped"), classes, "mapped")
    columns = _indicators(_values(observed, units, "observed"), classes, "observed")
    hits, ones, one = rows * columns, np.ones_like(rows), list(classes).index(positive)
    whole = float(design.size.sum())
    census = {code: design.total(rows[k]) for k, code in enumerate(classes)}

    def share(y: NDArray[np.float64], x: NDArray[np.float64]) -> Estimate:
        return design.ratio(y, x).as_share()

    def each(y: NDArray[np.float64], x: NDArray[np.float64]) -> dict[int, Estimate]:
        return {code: share(y[k], x[k]) for k, code in enumerate(classes)}

    return SampleAccuracy(
        classes=tuple(classes),
        matrix=(rows * design.weight) @ columns.T / whole,
        counts=(rows @ columns.T).astype(np.int64),
        overall=share(hits.sum(0), ones[0]),
        users=each(hits, rows),
        producers=each(hits, columns),
        area={code: one.times(whole) for code, one in each(columns, ones).items()},
        mapped_area=dict(mapped_area or census),
        f1=share(2 * hits[one], rows[one] + columns[one]),
        iou=share(hits[one], np.maximum(rows[one], columns[one])),
    )
