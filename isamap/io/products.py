"""Products that are compared: maps of this program, published products, label rasters. Names, files and codes."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isamap.domain import references
from isamap.domain.product import NODATA
from isamap.domain.reference import Reference, from_classes
from isamap.errors import InputError, MissingInputError
from isamap.io.classmap import ClassMap, map_files

logger = logging.getLogger(__name__)

NAME_IT = "name the product (worldcover-v200=FILE), or say which codes are ISA with --classes"
"""What helps where products are given by name."""
REMOTE = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
"""Beginning of an address; a path library may have made one slash of two."""
ISA = "isa"
"""Kind of a map coded as ours are: 0, 1, 255."""


@dataclass(frozen=True)
class Product:
    """A classified product; small enough to be sent to a worker."""

    name: str
    """In tables; unique in a comparison."""
    files: tuple[Path, ...]
    """Its rasters."""
    kind: str = ISA
    """`isa`, a row of `references.REFERENCES`, or the codes given with --classes."""

    def reference(self) -> Reference | None:
        """Its row in the table of references."""
        if self.kind == ISA:
            return None
        known = references.REFERENCES.get(self.kind)
        return known or from_classes(self.kind)

    @property
    def fractional(self) -> bool:
        """Whether its values are impervious shares."""
        row = self.reference()
        return row is not None and row.fractional

    def classes(self) -> ClassMap:
        """Its classes: uint8 0, 1, 255. Enter it before reading."""
        row = self.reference()
        if row is None:
            return ClassMap(self.files, partial(isa_codes, self.name), coded=True)
        return ClassMap(self.files, partial(table_codes, row), unknown=row.nodata)

    def shares(self) -> ClassMap:
        """Its shares: float32, NaN where unknown."""
        row = self.reference()
        assert row is not None
        return ClassMap(self.files, row.share, unknown=row.nodata)

    def near(self, files: Sequence[Path]) -> "Product":
        """The product with some of its files only."""
        return Product(self.name, tuple(files), self.kind)


def table_codes(row: Reference, values: NDArray[Any]) -> NDArray[np.uint8]:
    """Values of a product of the table; codes that it does not define are unknown, and said to be."""
    classes = row.isa(values)
    if np.isnan(row.others):
        there = _codes_in(values[classes == NODATA])
        odd = [code for code in there if code not in (*row.share_of, *row.nodata, NODATA)]
        if odd:
            _warn_of_codes(row.name, tuple(odd[:5]))
    return classes


def _codes_in(values: NDArray[Any]) -> list[Any]:
    """Every value that occurs, ascending, NaN left out."""
    if values.dtype == np.uint8:
        return list(np.flatnonzero(np.bincount(values, minlength=256)).tolist())
    return list(np.unique(values[~np.isnan(values)]).tolist())


@cache
def _warn_of_codes(name: str, codes: tuple[float, ...]) -> None:
    logger.warning(
        "%s does not define the codes %s: taken as unknown", name, ", ".join(f"{c:g}" for c in codes)
    )


def isa_codes(name: str, values: NDArray[Any], advice: str = NAME_IT) -> NDArray[np.uint8]:
    """Values of a map coded as ours.

    Args:
        name: for messages.
        values: of any type.
        advice: what the user can do about other codes.

    Raises:
        InputError: it has other values than 0, 1 and 255.
    """
    if values.dtype == np.uint8:
        if values.max(initial=0) < 2 or (values + np.uint8(1)).max() <= 2:  # 255 wraps round to 0
            return values
        odd = values + np.uint8(1) > 2
    else:
        odd = (values != 0) & (values != 1) & (values != NODATA)
    if odd.any():
        found = ", ".join(str(value) for value in np.unique(values[odd])[:5])
        raise InputError(f"{name} has the values {found}, but ISA maps have 0, 1 and 255: {advice}")
    return values.astype(np.uint8, copy=False)


def check_local(text: str) -> None:
    """Refuse addresses.

    Raises:
        MissingInputError: it is one, and no file here is called so.
    """
    if REMOTE.match(text) and not Path(text).exists():
        raise MissingInputError(f"{text} is an address: remote files are not read, download it first")


def parse_product(text: str, classes: Mapping[str, str] | None = None, default: str | None = None) -> Product:
    """`NAME=PATH` or `PATH`. A name from the table of references says how the values are coded.

    Args:
        text: what the user wrote.
        classes: codes that are ISA, by name, for products that are not in the table.
        default: such codes for this one.

    Raises:
        MissingInputError: there is nothing at the path, or it is an address.
        ConfigError: the classes cannot be read.
    """
    name, equals, path = text.partition("=")
    if not equals or Path(text).exists():
        name, path = "", text
    check_local(path)
    folder = Path(path)
    files = map_files(folder)
    kind = (classes or {}).get(name or folder.stem, default)
    if kind is not None:
        from_classes(kind)  # refuses what it cannot read
        return Product(name or folder.stem, files, kind)
    if name in references.REFERENCES:
        if not references.REFERENCES[name].verified:
            logger.warning("%s: %s", name, references.REFERENCES[name].note)
        return Product(name, files, name)
    return Product(name or folder.stem, files)
