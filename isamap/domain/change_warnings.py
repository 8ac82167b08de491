"""What a report of change must say of its evidence: of the years and classes that it has, and of its sample."""

from collections.abc import Sequence

from isamap.domain.change_sample import Sampled


def of_evidence(years: Sequence[int], *, probability: bool) -> list[str]:
    """What years and classes can tell."""
    if len(years) == 2:
        return [
            "Two years only: no map confirms a change of the second year. Give more years."
            if probability
            else "Two years only: no map confirms a change of the second year, and classes alone are weak evidence for it. "
            "Give --probability, or more years."
        ]
    classes = (
        "Classes alone do not tell maps that see more, or less, ISA from year to year from building and demolition. "
        "Give --probability."
    )
    return [] if probability else [classes]


def of_sample(sampled: Sampled) -> list[str]:
    """What estimates rest on."""
    found = [
        f"Fewer than two points lie in a class of {one}: these classes are one stratum of the estimates. That is right if "
        "the points were drawn at random over the whole; if within the classes, label more of them."
        for one in sampled.joined
    ]
    if sampled.other_ground:
        strata, maps = sampled.other_ground
        found.append(
            f"The strata of the sample have {strata:.4g} km², the ground with enough looks {maps:.4g}: they are not the "
            "same ground. Estimates are of the part of the strata that lies on it, whose size is estimated from the points, "
            "too; the counts beside them are not."
        )
    for what, points in sampled.points.items():
        if what.startswith("left out: no label") and points:
            found.append(f"{points} points are {what}: those left stand for them.")
        elif what.startswith("used and labelled"):
            found.append(f"Only {points} points are {what}: its ISA rests on them.")
    if sampled.rare:
        met: dict[str, list[str]] = {}
        for rare in sampled.rare:
            among = f"among the {rare.units} points of {rare.stratum}"
            met.setdefault(among, []).append(f"{rare.met} {rare.kind}")
        few = "; ".join(f"{', '.join(kinds)} {among}" for among, kinds in met.items())
        found.append(
            f"{few}: these strata are much of the ground, and 95 % intervals that hang on so few are score intervals "
            "(Wilson 1927), and wide."
        )
    return found
