"""Reports on disk: one HTML page that needs nothing else, and the same figures as CSV, JSON, PNG and GeoParquet."""

import base64
import csv
import io
import json
import math
import shutil
import struct
import tempfile
from collections.abc import Collection, Mapping, Sequence
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import shapely
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from isamap.domain.report import Cell, Figure, Report, Table, is_defined, shown
from isamap.errors import InputError
from isamap.io.atomic import make_directory, sync, write_durably
from isamap.io.sheet import DPI, report_libraries
from isamap.io.store import safe_name, storage_errors, write_atomic

SCHEMA = 1
"""Of `report.json`; a new number when a field changes its meaning."""
PAGE, DOCUMENT, UNITS = "index.html", "report.json", "units.parquet"
GEOPARQUET = "1.1.0"
CSS_PX_PER_INCH = 96


def check_report_libraries() -> None:
    """Fail before the long work, not after it.

    Raises:
        ConfigError: a library that reports need is not installed.
    """
    with report_libraries():
        for name in ("matplotlib", "jinja2", "pyarrow"):
            if find_spec(name) is None:
                raise ImportError(f"No module named {name!r}")


def check_place(folder: Path, command: str) -> None:
    """Likewise, where a command is to write its report.

    Raises:
        InputError: the report of another command lies there.
    """
    _of_earlier(folder, command)


def write_report(
    report: Report, folder: Path, document: Mapping[str, object], more: Mapping[str, bytes] | None = None
) -> tuple[Path, ...]:
    """Write a report: all of its files, or none if the disk refuses one.

    Args:
        report: what people read.
        folder: where to write; made if missing. Files of an earlier report are replaced, or go; others stay.
        document: what programs read, in `report.json`; NaN becomes null, `schema` and `files` are added. A report of another
            `command` is not replaced.
        more: further files of the report by name.

    Returns:
        The files: page, JSON, a CSV per table, a PNG per figure, and the further ones.

    Raises:
        ConfigError: jinja2 is not installed.
        InputError: the name of a table or figure cannot be a file name, or is that of a file that is no report's; or the
            report of another command lies there.
        StorageError: the disk is full, read-only or broken.
    """
    sheets = _sheets(report) | dict(more or {})
    names = [PAGE, DOCUMENT, *sheets]
    known = _of_earlier(folder, document.get("command"))
    for name in names:
        if name not in known and (folder / name).is_file():
            raise InputError(
                f"{folder / name} belongs to no earlier report and would be replaced: move it, or choose another -o"
            )
    facts = _plain({"schema": SCHEMA, **document, "files": names})
    first = {DOCUMENT: _encoded(json.dumps(facts, indent=1, allow_nan=False) + "\n")}
    _publish(folder, first | sheets | {PAGE: _encoded(page(report))}, known - set(names))
    return tuple(folder / name for name in names)


def _of_earlier(folder: Path, command: object) -> set[str]:
    """Names of the files of the report that lies in a folder; none where there is none.

    Raises:
        InputError: it is that of another command.
    """
    try:
        facts = json.loads((folder / DOCUMENT).read_bytes())
        names, other = facts.get("files", []), facts.get("command", command)
    except (OSError, ValueError, AttributeError, RecursionError):
        return set()
    if other != command:
        raise InputError(
            f"{folder} holds the report of isamap {other}, which would be replaced: choose another -o"
        )
    return {name for name in names if isinstance(name, str) and Path(name).name == name}


def _publish(folder: Path, files: Mapping[str, bytes], gone: Collection[str]) -> None:
    """Write files beside their places, and move them there in their order when all are on disk; some others go."""
    with storage_errors(folder, needed_bytes=sum(map(len, files.values()))):
        make_directory(folder)
        drafts = Path(tempfile.mkdtemp(prefix=".report-", dir=folder))
        try:
            for name, content in files.items():
                write_durably(drafts / name, content)
            for name in gone:
                (folder / name).unlink(missing_ok=True)
            for name in files:
                (drafts / name).replace(folder / name)
            sync(folder)
        finally:
            shutil.rmtree(drafts, ignore_errors=True)


def _sheets(report: Report) -> dict[str, bytes]:
    """Name and content of every CSV and PNG."""
    pairs = [(f"{table.name}.csv", table_csv(table)) for table in report.tables]
    pairs += [(f"{figure.name}.png", figure.png) for figure in report.figures]
    files = {safe_name(name): content for name, content in pairs}
    if len(files) < len(pairs):
        raise ValueError("two tables or two figures of a report have the same name")
    return files


def table_csv(table: Table) -> bytes:
    """The table as CSV: UTF-8, numbers with all their digits, empty where not defined."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([cell if is_defined(cell) else "" for cell in row] for row in table.rows)
    return _encoded(text.getvalue())


def page(report: Report) -> str:
    """The report as one HTML page: pictures and style inside, no script.

    Raises:
        ConfigError: jinja2 is not installed.
    """
    with report_libraries():
        import jinja2
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "shown": shown,
        "picture": _data_uri,
        "size": _css_size,
        "paragraphs": _paragraphs,
    }
    environment.tests |= {"defined_cell": is_defined, "number": _is_number}
    template = resources.files("isamap") / "data" / "report.html.j2"
    return environment.from_string(template.read_text(encoding="utf-8")).render(report=report)


def _is_number(cell: Cell) -> bool:
    return cell is not None and not isinstance(cell, str)


def _paragraphs(text: str) -> list[str]:
    return [part for part in (part.strip() for part in text.split("\n\n")) if part]


def _data_uri(figure: Figure) -> str:
    return "data:image/png;base64," + base64.b64encode(figure.png).decode()


def _css_size(figure: Figure) -> tuple[int, int]:
    """Width and height of a picture on the page, from the PNG's header (PNG specification, 11.2.1)."""
    width_px, height_px = struct.unpack(">II", figure.png[16:24])
    return round(width_px * CSS_PX_PER_INCH / DPI), round(height_px * CSS_PX_PER_INCH / DPI)


def _encoded(text: str) -> bytes:
    """UTF-8; bytes of a file name that are none are written as escapes."""
    return text.encode("utf-8", "backslashreplace")


def _plain(value: Any) -> Any:
    """`value` in what JSON has: numpy scalars and arrays as numbers and lists, null for NaN and infinity."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def write_geoparquet(
    path: Path,
    geometries: Sequence[BaseGeometry | None],
    columns: Mapping[str, Sequence[object]],
    crs: CRS | str,
) -> Path:
    """Write a table of geometries as GeoParquet 1.1.

    Args:
        path: of the file.
        geometries: one per row, x before y; None where there is none.
        columns: further columns by name, as long as `geometries`.
        crs: of the geometries.

    Raises:
        ConfigError: pyarrow is not installed.
        StorageError: the disk is full, read-only or broken.
    """
    write_atomic(path, geoparquet(geometries, columns, crs))
    return path


def geoparquet(
    geometries: Sequence[BaseGeometry | None], columns: Mapping[str, Sequence[object]], crs: CRS | str
) -> bytes:
    """The content of such a file."""
    with report_libraries():
        import pyarrow as pa
        import pyarrow.parquet as pq
    if "geometry" in columns:
        raise ValueError("the column `geometry` is made from the geometries")
    wkb = [None if one is None else shapely.to_wkb(one, flavor="iso") for one in geometries]
    arrays = {name: pa.array(list(values)) for name, values in columns.items()}
    table = pa.table(arrays | {"geometry": pa.array(wkb, pa.binary())})
    metadata = {"geo": json.dumps(_geo_metadata(geometries, CRS.from_user_input(crs)))}
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), buffer, compression="zstd")
    return buffer.getvalue()


def _geo_metadata(geometries: Sequence[BaseGeometry | None], crs: CRS) -> dict[str, Any]:
    """What GeoParquet 1.1 keeps under the key `geo`."""
    present = [one for one in geometries if one is not None and not one.is_empty]
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": sorted({one.geom_type + " Z" * one.has_z for one in present}),
        "crs": crs.to_json_dict(),
    }
    if present:
        column["bbox"] = [float(side) for side in shapely.total_bounds(present)]
    return {"version": GEOPARQUET, "primary_column": "geometry", "columns": {"geometry": column}}
