"""`isamap verify --chips`: are chip stores undamaged, and does their index say what their pixels hold?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isamap.domain.audit import Finding
from isamap.errors import CheckError
from isamap.io.audit_chips import audit_chips
from isamap.io.names import check_utf8

SCHEMA = 1
"""Of `--json`."""


@dataclass
class Report:
    """What has been looked at so far."""

    stores: int = 0
    """Chip stores."""
    shards: int = 0
    """Of all of them."""
    chips: int = 0
    """In their indexes."""
    findings: list[Finding] = field(default_factory=list)
    """What is off."""

    def document(self) -> dict[str, Any]:
        """The outcome as a JSON document."""
        return {
            "schema": SCHEMA,
            "command": "verify",
            "stores": self.stores,
            "shards": self.shards,
            "chips": self.chips,
            "problems": len(self.findings),
            "findings": [finding.document() for finding in sorted(self.findings)],
        }

    def check(self) -> None:
        """Raise if anything is off.

        Raises:
            CheckError: there are problems.
        """
        if self.findings:
            raise CheckError(
                f"chip stores {self.stores}, shards {self.shards}, chips {self.chips}: problems {len(self.findings)}"
            )


def run(folders: Sequence[Path], report: Report, *, quick: bool = False) -> Iterator[Finding]:
    """Everything that is off in some stores, store by store.

    Args:
        folders: of the stores.
        report: counts what was looked at, and keeps what was found.
        quick: no checksum, no pixel.

    Raises:
        MissingInputError, InputError: a folder holds no store, or has a name that nothing in it can be read by.
    """
    for folder in folders:
        check_utf8(folder)
        audited = audit_chips(folder, quick=quick)
        report.stores += 1
        report.shards += audited.shards
        report.chips += audited.chips
        report.findings += audited.findings
        yield from audited.findings
