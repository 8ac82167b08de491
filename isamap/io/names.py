"""Names that a product, or a file that it is made of, may have."""

import os
import re
from pathlib import Path

from isamap.errors import InputError

MAX_NAME_BYTES = 120


def safe_name(text: str) -> str:
    """`text` itself if it may be (part of) a file name: letters and digits of any script, `._-`, no leading dot.

    Raises:
        InputError: anything else, or more than 120 bytes of UTF-8.
    """
    if re.fullmatch(r"[\w-][\w.-]*", text) is None or len(os.fsencode(text)) > MAX_NAME_BYTES:
        raise InputError(
            f"{text[:130]!r} cannot be a file name: use letters, digits, . _ -, no dot first, "
            f"at most {MAX_NAME_BYTES} bytes"
        )
    return text


def check_utf8(path: Path) -> None:
    """Refuse a path that is not UTF-8: GDAL, Parquet and XML know no other.

    Raises:
        InputError: it is not.
    """
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError as fault:
        raise InputError(f"{path.absolute()}: its name is not UTF-8, which GDAL needs: rename it") from fault
