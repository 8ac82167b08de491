"""What files and settings are known by: hexadecimal sha256."""

import hashlib
import json
from pathlib import Path

SHA256 = "1220"
"""How a hexadecimal multihash of that kind begins: sha2-256, 32 bytes."""


def of_file(path: Path) -> str:
    """Digest of a file's bytes.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_json(document: object) -> str:
    """Digest of what JSON can hold, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
