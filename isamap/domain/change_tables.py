"""The tables of a change report, from counts that add up over tiles."""

from collections.abc import Mapping, Sequence

from isamap.domain.change_sample import Sampled
from isamap.domain.change_tally import (
    ALL,
    Figures,
    Tally,
    annual_rate,
    expansion_intensity,
    growth,
)
from isamap.domain.changes import ENDPOINT, FEW, FLICKER, GAIN, LOSS, NAMES, REVERSAL, UNSEEN
from isamap.domain.estimation import Estimate
from isamap.domain.registration import MIN_PEAK
from isamap.domain.report import Cell, Table
from isamap.domain.transition import METHODS

UNADJUSTED = "reading's count, unadjusted"
"""What areas of a reading are called that no sample has corrected."""
RAW_COUNT = "raw count, unadjusted"
"""What those of plain differencing are called beside them."""
BALANCED, ONE_SIDED, MUCH = 0.5, 0.75, 0.05
"""Net over gross change up to which neither side is all, and from which one is; share of it that matters."""
WHOLE = "all"
MOVED, NOT_MEASURED, LOW_PEAK = "moved", "not measured", f"peak below {MIN_PEAK:g}"
"""Remarks on shifts: only the first kind of map was brought onto the first year."""


def named(zone: str) -> str:
    """Zone as tables call it."""
    return zone or WHOLE


def _zones(tally: Tally) -> list[str]:
    return sorted(tally.area_m2)


def areas(tally: Tally, method: str) -> Table:
    """ISA area of each year and unit, and what the maps of the year show of it."""
    rows: list[tuple[Cell, ...]] = []
    for zone in _zones(tally):
        figures = tally.figures(zone, method)
        seen = zip(tally.years, figures.isa_km2, tally.mapped_km2(zone), tally.shown_km2(zone), strict=True)
        for year, isa, mapped, shown in seen:
            share = isa / figures.mapped_km2 if figures.mapped_km2 else None
            rows.append((named(zone), year, isa, share, figures.mapped_km2, UNADJUSTED, mapped, shown))
    columns = (
        *("unit", "year", "ISA (km²)", "share", "ground with enough looks (km²)", "basis"),
        *("mapped that year (km²)", "ISA in the map of that year (km²)"),
    )
    note = (
        f"Method {method}: what it says of all ground with enough looks, in years without a map, too. The last two columns "
        "are of that ground, as the map of the year has it. Ground area of pixels on the ellipsoid; tiles count whole, also "
        "beyond an area that was asked for, but not in another UTM zone. Counts are biased: see estimates."
    )
    return Table("areas", "Impervious area", columns, tuple(rows), note)


def rates(tally: Tally, method: str) -> Table:
    """Growth between consecutive years, and from the first to the last."""
    rows: list[tuple[Cell, ...]] = []
    for zone in _zones(tally):
        figures = tally.figures(zone, method)
        for first, last in figures.steps():
            before, after = figures.isa_km2[first], figures.isa_km2[last]
            span = tally.years[last] - tally.years[first]
            rows.append(
                (
                    *(named(zone), tally.years[first], tally.years[last], before, after),
                    growth(before, after) * 100,
                    annual_rate(before, after, span) * 100,
                    expansion_intensity(before, after, figures.mapped_km2, span),
                    UNADJUSTED,
                )
            )
    columns = (
        *("unit", "from", "to", "before (km²)", "after (km²)", "growth (%)", "annual rate (%)"),
        *("expansion intensity (% of the ground a year)", "basis"),
    )
    note = "Growth (A2 - A1) / A1; annual rate (A2 / A1)^(1 / years) - 1; expansion intensity (A2 - A1) / (A years)."
    return Table("rates", "Growth", columns, tuple(rows), note)


def transitions(tally: Tally, method: str) -> Table:
    """Transition matrices, a row each."""
    rows: list[tuple[Cell, ...]] = []
    for zone in _zones(tally):
        figures = tally.figures(zone, method)
        for first, last in figures.steps():
            matrix = figures.matrix_km2(first, last).reshape(-1).tolist()
            filled = tally.filled_km2(zone, first, last)
            rows.append((named(zone), tally.years[first], tally.years[last], *matrix, UNADJUSTED, filled))
    columns = (
        *("unit", "from", "to", "pervious, stays (km²)", "becomes impervious (km²)"),
        *("becomes pervious (km²)", "impervious, stays (km²)", "basis", "of it filled in (km²)"),
    )
    note = f"Method {method}. Filled in: ground without a map in one of the two years, whose state there other years tell."
    return Table("transitions", "Transition matrices", columns, tuple(rows), note)


def methods(tally: Tally, chosen: str, min_area_m2: float) -> Table:
    """The three readings side by side: what plain differencing would have said, and what lasts.

    Args:
        tally: counts.
        chosen: reading that the rasters show.
        min_area_m2: smallest patch of change in it.
    """
    rows: list[tuple[Cell, ...]] = []
    for zone in _zones(tally):
        for method in METHODS:
            figures = tally.figures(zone, method)
            matrix = figures.matrix_km2(0, len(tally.years) - 1)
            kinds = (GAIN, LOSS, REVERSAL, ENDPOINT, FLICKER)
            shares = [figures.class_km2(code) for code in kinds]
            written = method == chosen
            name, patch = (f"{method} (written)", min_area_m2) if written else (method, 0)
            ends = figures.isa_km2[0], figures.isa_km2[-1]
            rows.append((named(zone), name, patch, *ends, float(matrix[0, 1]), float(matrix[1, 0]), *shares))
    first, last = tally.years[0], tally.years[-1]
    columns = (
        *("unit", "method", "smallest patch (m²)", f"ISA {first} (km²)", f"ISA {last} (km²)"),
        *(f"{first}-{last} gain (km²)", "loss (km²)", "sustained gain (km²)", "sustained loss (km²)"),
        *("reversal (km²)", "endpoint-only (km²)", "flicker (km²)"),
    )
    note = (
        "Gain and loss compare the first and the last year of each reading. Those of raw are plain differencing; "
        "its sustained change is one turn seen twice. Changes in smaller patches than said are undone, in the written reading "
        "alone; their ground is endpoint-only or flicker, for that is what its maps show."
    )
    return Table("methods", "Raw, monotone, Viterbi", columns, tuple(rows), note)


def classes(tally: Tally, method: str) -> Table:
    """Area of each change class."""
    codes = {**NAMES, UNSEEN: "never seen"}
    rows = tuple(
        (
            named(zone),
            *(tally.figures(zone, method).class_km2(code) for code in codes),
            flicker_share(tally.figures(zone, method)),
        )
        for zone in _zones(tally)
    )
    columns = ("unit", *(f"{name} (km²)" for name in codes.values()), "flicker share")
    note = "Flicker share: ground whose maps change without lasting (endpoint-only and flicker), of that with enough looks."
    return Table("classes", "Change classes", columns, rows, note)


def flicker_share(figures: Figures) -> float | None:
    """Ground whose maps change but whose path does not, over ground with enough looks."""
    whole = figures.mapped_km2
    return (figures.class_km2(ENDPOINT) + figures.class_km2(FLICKER)) / whole if whole else None


def looks(tally: Tally, method: str) -> float:
    """Share of ground ever seen that has too few looks."""
    figures = tally.figures(ALL, method)
    few = figures.class_km2(FEW)
    seen = figures.mapped_km2 + few
    return few / seen if seen else 0.0


def shifts(
    years: Sequence[int],
    by_tile: Mapping[str, Sequence[tuple[float, float, float] | None]],
    gaps: Mapping[str, Sequence[int]],
    *,
    aligned: bool,
) -> Table:
    """Where the maps of each tile lie against the first one there.

    Args:
        years: of the maps.
        by_tile: metres east and north and the peak, by year; None for the first map, where there is none, and where
            nothing shows the shift.
        gaps: years without a map, of tiles that have some.
        aligned: whether the years were brought onto the first.
    """
    rows: list[tuple[Cell, ...]] = []
    for name, measured in sorted(by_tile.items()):
        there = [pair for pair in zip(years, measured, strict=True) if pair[0] not in gaps.get(name, ())]
        for year, shift in there[1:]:
            if shift is None:
                rows.append((name, year, None, None, None, None, NOT_MEASURED))
                continue
            east, north, peak = shift
            remark = LOW_PEAK if peak < MIN_PEAK else MOVED if aligned else ""
            rows.append((name, year, east, north, (east**2 + north**2) ** 0.5, peak, remark))
    columns = ("tile", "year", "east (m)", "north (m)", "distance (m)", "peak", "remark")
    note = "Phase correlation of the maps against the first year. With a peak below "
    note += f"{MIN_PEAK:g} they resemble each other too little: the shift may be any, and says nothing. "
    note += "Not measured: no ground looked at has structure in both maps (water, cloud), or they lie too far apart. "
    note += (
        f"Maps with the remark {MOVED!r} were brought onto the first, no others."
        if aligned
        else "Nothing was moved: --align does."
    )
    return Table("shifts", "Shifts between years", columns, tuple(rows), note)


def one_sided(tally: Tally, method: str) -> str | None:
    """What to say where plain differencing sees gain and loss, and the reading keeps one of them alone."""
    last = len(tally.years) - 1
    (_, gain), (loss, _) = tally.figures(ALL, "raw").matrix_km2(0, last).tolist()
    (_, kept), (fallen, _) = tally.figures(ALL, method).matrix_km2(0, last).tolist()
    balanced = abs(gain - loss) <= BALANCED * (gain + loss)
    one = abs(kept - fallen) >= ONE_SIDED * (kept + fallen) and kept + fallen >= MUCH * (gain + loss) > 0
    if not (balanced and one):
        return None
    return (
        f"Plain differencing sees {gain:.3g} km² of gain and {loss:.3g} km² of loss (net {gain - loss:+.3g}), the {method} "
        f"reading {kept:.3g} and {fallen:.3g} (net {kept - fallen:+.3g}). Maps that lie a few metres apart, or flicker, "
        "do that, for a reading does not believe gain and loss alike: look at the shifts, and take its net change for no "
        "more than what a sample confirms."
    )


def sample(found: Sampled, tally: Tally, method: str) -> tuple[Table, ...]:
    """Estimates of a reference sample beside the maps' own counts, and what they rest on."""
    counts, raw = counted(tally, method), counted(tally, "raw")
    rows: list[tuple[Cell, ...]] = []
    for zone, quantities in sorted(found.zones.items()):
        for name, one in quantities.items():
            both = (table.get(zone, {}).get(name) for table in (counts, raw))
            rows.append((named(zone), name, *both, one.value, one.se, one.low, one.high))
    columns = (
        *("unit", "quantity", UNADJUSTED, RAW_COUNT, "estimate", "standard error"),
        *("95 % low", "95 % high"),
    )
    drawn = f"those of the column {found.column}" if found.column else "the classes of the change map"
    note = (
        f"Of the ground with enough looks. Stratified estimator, strata are {drawn}. The area of a unit is its counted "
        "ground times its estimated share, unless a warning says otherwise; rates are fractions, not percent."
    )
    strata = tuple(
        (name, size / 1e6, int(seen.sum()), *seen.tolist()) for name, (size, seen) in found.strata.items()
    )
    observed = ("seen pervious", "seen impervious", "seen as gain", "seen as loss")
    return (
        Table("estimates", "Estimates from the sample", columns, tuple(rows), note),
        Table(
            "points", "Points of the sample", ("what became of them", "points"), tuple(found.points.items())
        ),
        Table("strata", "Strata of the sample", ("stratum", "area (km²)", "points", *observed), strata),
    )


def counted(tally: Tally, method: str) -> dict[str, dict[str, float]]:
    """The figures of a reading under the names of the sample's."""
    table = {}
    span = tally.years[-1] - tally.years[0]
    for zone in _zones(tally):
        figures = tally.figures(zone, method)
        before, after = figures.isa_km2[0], figures.isa_km2[-1]
        matrix = figures.matrix_km2(0, len(tally.years) - 1)
        table[zone] = {
            **{f"ISA {year} (km²)": isa for year, isa in zip(tally.years, figures.isa_km2, strict=True)},
            "gain (km²)": float(matrix[0, 1]),
            "loss (km²)": float(matrix[1, 0]),
            "growth": growth(before, after),
            "annual rate": annual_rate(before, after, span),
            "expansion intensity (% a year)": expansion_intensity(before, after, figures.mapped_km2, span),
        }
    return table


def unit_columns(tally: Tally, method: str, found: Sampled | None) -> dict[str, list[Cell]]:
    """The figures of every unit by column, in the order of their names: counts, then estimates where there are any.

    Args:
        tally: counts.
        method: reading that the rasters show.
        found: estimates, if there is a sample.
    """
    estimates: Mapping[str, Mapping[str, Estimate]] = found.zones if found else {}
    units = [zone for zone in _zones(tally) if zone != ALL]
    figures = [tally.figures(unit, method) for unit in units]
    counts = counted(tally, method)
    columns: dict[str, list[Cell]] = {
        "unit": list(units),
        "basis": [UNADJUSTED] * len(units),
        "ground with enough looks (km²)": [one.mapped_km2 for one in figures],
    }
    for name in next(iter(counts.values()), {}):
        columns[name] = [counts[unit][name] for unit in units]
    for code in (GAIN, LOSS, REVERSAL, ENDPOINT, FLICKER, FEW):
        columns[f"{NAMES[code]} (km²)"] = [one.class_km2(code) for one in figures]
    for name in next(iter(estimates.values()), {}):
        for part in ("value", "se", "low", "high"):
            columns[f"{name}, estimate: {part}"] = [
                getattr(estimates.get(unit, {}).get(name), part, None) for unit in units
            ]
    return columns
