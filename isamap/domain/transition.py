"""Per-pixel sequences of years: from what was mapped to what probably happened.

A pixel mapped impervious, pervious or not at all in n years is one of 3^n sequences. Three readings of it:

- `raw`: the maps as they are; a year without a look repeats the look before, or the first one after. Plain
  differencing, where all years are mapped.
- `monotone`: the most likely history in which ground is sealed once and for all (GAIA, GISA).
- `viterbi`: the most likely path of a two-state Markov chain that may also fall back, for demolition is real.

All evidence of a year is one number, the log-likelihood ratio e = ln P(look | impervious) / P(look | pervious); a year
without a look has e = 0. With states 0 and 1, Viterbi's recursion (Viterbi 1967, IEEE Trans. Inf. Theory 13,
260-269) then needs only the difference d of their scores: with transition probabilities gain g and loss l,

    d_t = clip(d_(t-1), low, high) + ln((1 - l) / (1 - g)) + e_t,   low = ln(g / (1 - l)),  high = ln((1 - g) / l),

and backwards the state before a 0 is 1 where d > high, that before a 1 is 0 where d < low.

Sequences and paths travel as numbers. A sequence has a digit to base 3 per year, the first year leading: 0 no look,
1 pervious, 2 impervious. A path has a bit per year, the first year the lowest: 1 impervious.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from isamap.domain.product import NODATA
from isamap.domain.words import Codes
from isamap.errors import InputError

METHODS = ("raw", "monotone", "viterbi")
LOOKS, SHOWN = "looks", "shown"
"""Years with a look as a path, and years whose map shows ISA: what is counted besides the readings."""
COUNTED = (*METHODS, LOOKS, SHOWN)
MAX_YEARS = 10
"""3^10 sequences, once undone and once not, are numbers of 17 bits at most: tables stay in the cache."""
FIRST_YEAR, LAST_YEAR = 1900, 2100
"""Maps are of years between these: others are slips, `17` for 2017."""
SURE_PERCENT = 0.5
"""A probability raster is rounded to whole percent: 0 means less than this, 100 more than 100 minus it."""


@dataclass(frozen=True)
class Chances:
    """What is believed before the maps are looked at."""

    false_alarm: float = 0.05
    """Probability that pervious ground is mapped impervious in one year and not because of what it is."""
    miss: float = 0.10
    """Probability that impervious ground is mapped pervious, likewise."""
    gain: float = 0.02
    """Probability that a pervious pixel is sealed within a year."""
    loss: float = 0.01
    """Probability that an impervious pixel is unsealed within a year."""
    start: float = 0.2
    """Share of impervious ground in the first year."""

    def __post_init__(self) -> None:
        for name in ("false_alarm", "miss", "gain", "loss"):
            if not 0 < getattr(self, name) < 0.5:
                raise InputError(f"{name.replace('_', ' ')} {getattr(self, name):g} is not between 0 and 0.5")
        if not 0 < self.start < 1:
            raise InputError(f"start {self.start:g} is not between 0 and 1")

    def of_classes(self) -> NDArray[np.float32]:
        """Evidence of the digits 0, 1, 2 of a sequence."""
        pervious = math.log(self.miss / (1 - self.false_alarm))
        impervious = math.log((1 - self.miss) / self.false_alarm)
        return np.array([0, pervious, impervious], np.float32)

    def within(self, years: float) -> tuple[float, float]:
        """Probabilities of gain and loss over some years, there and back included."""
        both = self.gain + self.loss
        part = (1 - (1 - both) ** years) / both
        return self.gain * part, self.loss * part


def of_percent(threshold: float) -> NDArray[np.float32]:
    """Evidence of each stored percentage 0-100, 0 above: 255 is nodata.

    Args:
        threshold: probability at which the map says neither, 0-1: there the evidence is 0.
    """
    percent = np.clip(np.arange(101.0), SURE_PERCENT, 100 - SURE_PERCENT)
    evidence = np.zeros(256, np.float32)
    evidence[:101] = np.log(percent / (100 - percent)) - math.log(threshold / (1 - threshold))
    return evidence


def check_years(years: Sequence[int]) -> tuple[int, ...]:
    """The years, if they make a series.

    Raises:
        InputError: fewer than 2 or more than 10, one that no map is of, one twice, or not in order.
    """
    given = ", ".join(map(str, years))
    if len(years) < 2:
        raise InputError(f"change needs at least two years, not {given or 'none'}: one map shows no change")
    if len(years) > MAX_YEARS:
        raise InputError(f"{len(years)} years are given, at most {MAX_YEARS} fit: take every other one")
    if not FIRST_YEAR <= min(years) <= max(years) <= LAST_YEAR:
        raise InputError(
            f"years {given} are not all between {FIRST_YEAR} and {LAST_YEAR}: give them in full, 2017"
        )
    for before, after in pairwise(years):
        if after == before:
            raise InputError(f"year {after} is given twice: one map per year")
        if after < before:
            raise InputError(f"years {given} are not in order: give them, and their maps, from old to new")
    return tuple(years)


def digits_of(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Digits of map values, in their place: 255 becomes 0, 0 becomes 1, 1 becomes 2; anything above 2 was no map value."""
    values += np.uint8(1)  # wraps round
    return values


def sequences(stack: Iterable[NDArray[np.uint8]], years: int) -> Codes:
    """Sequence number of each pixel, of `code_type`.

    Args:
        stack: digits per year, each of one shape.
        years: how many.
    """
    digits = iter(stack)
    code: Codes = next(digits).astype(code_type(years))
    for year in digits:
        code *= 3
        code += year
    return code


def code_type(years: int) -> np.dtype[np.unsignedinteger]:
    """Smallest type of sequence numbers that also holds that of an undone sequence, `3^n + sequence`."""
    return np.dtype(np.min_scalar_type(2 * 3**years - 1))


def all_digits(years: int) -> NDArray[np.uint8]:
    """Digits of every sequence, shape (year, 3^years)."""
    code = np.arange(3**years)
    return np.array([code // 3 ** (years - 1 - t) % 3 for t in range(years)], np.uint8)


def raw(digits: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Paths as mapped; a year without a look takes the year before, else the first look after.

    Args:
        digits: shape (year, ...).
    """
    state = np.zeros(digits.shape[1:], np.uint8)
    for year in digits[::-1]:
        state = np.where(year, year, state)  # now the first look
    path = np.zeros(digits.shape[1:], np.uint16)
    for t, year in enumerate(digits):
        state = np.where(year, year, state)
        path |= (state == 2).astype(np.uint16) << np.uint16(t)
    return path


def monotone(evidence: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Most likely paths without a way back; of equals one without change, else that with the latest year.

    Args:
        evidence: shape (year, ...).
    """
    years = len(evidence)
    total = np.zeros(evidence.shape[1:], np.float32)
    best, path = total.copy(), np.zeros(total.shape, np.uint16)
    for t in reversed(range(years)):
        total += evidence[t]
        better = total > best
        if t == 0:
            better |= (total == best) & (path > 0)  # impervious throughout is no change
        np.maximum(best, total, out=best)
        path[better] = (1 << years) - (1 << t)  # impervious from year t on
    return path


def viterbi(
    evidence: NDArray[np.float32], years: Sequence[int], chances: Chances | None = None
) -> NDArray[np.uint16]:
    """Most likely paths, reversals allowed; of equals that with fewer changes.

    Args:
        evidence: shape (year, ...).
        years: when, ascending.
        chances: what is believed before.
    """
    chances = chances or Chances()
    steps = [_step(chances, after - before) for before, after in pairwise(years)]
    lead = np.empty_like(evidence)
    lead[0] = evidence[0] + np.float32(math.log(chances.start / (1 - chances.start)))
    for t, (low, high, drift) in enumerate(steps, start=1):
        np.clip(lead[t - 1], low, high, out=lead[t])
        lead[t] += drift
        lead[t] += evidence[t]
    state = lead[-1] > 0
    path: NDArray[np.uint16] = state.astype(np.uint16) << np.uint16(len(steps))
    for t in reversed(range(len(steps))):
        low, high, _ = steps[t]
        state = (lead[t] > high) | (state & (lead[t] >= low))
        path |= state.astype(np.uint16) << np.uint16(t)
    return path


def _step(chances: Chances, years: float) -> tuple[np.float32, np.float32, np.float32]:
    """low, high and ln((1 - l) / (1 - g)) of the module's docstring."""
    gain, loss = chances.within(years)
    logs = math.log(gain / (1 - loss)), math.log((1 - gain) / loss), math.log((1 - loss) / (1 - gain))
    return np.float32(logs[0]), np.float32(logs[1]), np.float32(logs[2])


def first_year(paths: NDArray[np.uint16], years: int) -> NDArray[np.uint8]:
    """Number of the first impervious year, from 1; 0 where there is none."""
    first = np.zeros(paths.shape, np.uint8)
    for t in reversed(range(years)):
        first[(paths >> np.uint16(t)) & 1 == 1] = t + 1
    return first


def path_of(states: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Paths of states, shape (year, ...)."""
    path = np.zeros(states.shape[1:], np.uint16)
    for t, year in enumerate(states):
        path |= year.astype(np.uint16) << np.uint16(t)
    return path


def states(paths: NDArray[np.uint16], years: int) -> NDArray[np.bool_]:
    """Whether each path is impervious in each year, shape (year, ...)."""
    return np.array([(paths >> np.uint16(t)) & 1 == 1 for t in range(years)])


def is_map(digits: NDArray[np.uint8]) -> bool:
    """Whether all digits are those of 0, 1 and nodata 255."""
    return not digits.size or int(digits.max()) <= 2


assert NODATA == 255  # `digits_of` counts on it
