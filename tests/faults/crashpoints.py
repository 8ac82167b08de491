"""Kill a run at every system call it makes, one after the other.

Each wrapped call is two crash points: just before it (odd) and just after it (even). A child armed
with point n sends itself SIGKILL there, so nothing is flushed and no `finally` runs. `crash_points`
counts n upwards until a child lives to its end:

    def attempt(n):                      # fresh directory, one child; True if it was killed
        prepare(root := tmp_path / str(n))
        return killed_in_fork(lambda: run(root), n)

    for n in crash_points(attempt):
        assert broken_products(tmp_path / str(n)) == []
        run(tmp_path / str(n))           # the rerun must end as an undisturbed run would

A whole command instead of a function, in a fresh interpreter:

    killed_in_command(["isamap", "infer", "--region", ...], n, also=["rasterio.io:DatasetWriter.close"])

`also` lists more calls to wrap, as `module:name` or `module:Class.name`. Only the process that was
armed counts and dies; processes it forks count for themselves, those it spawns do not count.
"""

import builtins
import functools
import hashlib
import importlib
import itertools
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

CALLS = (
    *(f"os:{name}" for name in ("open", "write", "fsync", "fdatasync", "truncate", "ftruncate")),
    *(
        f"os:{name}"
        for name in ("replace", "rename", "link", "symlink", "unlink", "remove", "mkdir", "rmdir")
    ),
    "io:open",  # pathlib opens through this one
    "builtins:open",
)
AT, ALSO = "ISAMAP_CRASH_AT", "ISAMAP_CRASH_ALSO"
REPOSITORY = Path(__file__).parents[2]


def arm(at: int, also: Iterable[str] = ()) -> None:
    """Wrap the calls of this process so that it dies at point `at` (0: never)."""
    calls = itertools.count(1)
    lock = threading.Lock()

    def die_at(point: int) -> None:
        if point == at:
            os.kill(os.getpid(), signal.SIGKILL)

    def wrapped(call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def counted(*args: Any, **kwargs: Any) -> Any:
            if call is _OPEN and not _writes(*args, **kwargs):
                return call(*args, **kwargs)
            with lock:
                number = next(calls)
            die_at(2 * number - 1)
            try:
                return call(*args, **kwargs)
            finally:
                die_at(2 * number)

        return counted

    for name in (*CALLS, *also):
        holder, attribute = _find(name)
        setattr(holder, attribute, wrapped(getattr(holder, attribute)))


_OPEN = builtins.open


def _writes(file: object, mode: str = "r", *args: Any, **kwargs: Any) -> bool:
    return not set(mode).isdisjoint("wax+")


def _find(name: str) -> tuple[Any, str]:
    module, _, path = name.partition(":")
    *holders, attribute = path.split(".")
    return functools.reduce(getattr, holders, importlib.import_module(module)), attribute


def crash_points(attempt: Callable[[int], bool], *, first: int = 1, step: int = 1) -> Iterator[int]:
    """The points n at which `attempt(n)` was killed, one by one; ends when an attempt was not."""
    for n in itertools.count(first, step):
        if not attempt(n):
            return
        yield n


def killed_in_fork(action: Callable[[], object], n: int, also: Iterable[str] = ()) -> bool:
    """Whether `action`, in a forked child, met crash point `n`; a child that fails by itself is an error."""
    pid = fork(lambda: (arm(n, also), action()))
    return _was_killed(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), n)


def fork(action: Callable[[], object]) -> int:
    """Process id of a child that runs `action` and leaves with 0, or 1 and a traceback."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        action()
        code = 0
    except BaseException:  # noqa: BLE001  # the child must never return into pytest
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def killed_in_command(arguments: Sequence[str], n: int, also: Iterable[str] = (), **options: Any) -> bool:
    """Whether `python -m <arguments>`, in a fresh interpreter, met crash point `n`.

    `options` go to subprocess.run; `env` is added to the environment.
    """
    env = os.environ | {"PYTHONPATH": str(REPOSITORY)} | options.pop("env", {})
    env |= {AT: str(n), ALSO: " ".join(also)}
    done = subprocess.run([sys.executable, __file__, *arguments], env=env, check=False, **options)
    return _was_killed(done.returncode, n)


def _was_killed(code: int, n: int) -> bool:
    if code not in {0, -signal.SIGKILL}:
        raise AssertionError(f"the child for crash point {n} ended with {code} by itself")
    return code != 0


def broken_products(directory: Path) -> list[str]:
    """What is wrong with the items in `directory` and below: they must name complete, matching files only.

    Written apart from isamap.io.store on purpose.
    """
    faults = []
    for path in sorted(directory.rglob("[!.]*.json")):
        if any(part.startswith(".") for part in path.relative_to(directory).parts):
            continue
        for asset in json.loads(path.read_text())["assets"].values():
            file = path.parent / asset["href"]
            if not file.is_file():
                faults.append(f"{path}: {asset['href']} is missing")
            elif "1220" + hashlib.sha256(file.read_bytes()).hexdigest() != asset["file:checksum"]:
                faults.append(f"{path}: {asset['href']} is not the file that was published")
    return faults


def files_in(directory: Path) -> dict[str, bytes]:
    """Every file at and below `directory` with its content, hidden and empty ones and folders included."""
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else b"<directory>"
        for path in sorted(directory.rglob("*"))
    }


def visible(files: dict[str, bytes]) -> dict[str, bytes]:
    """The part of `files_in` at final names."""
    return {
        name: content
        for name, content in files.items()
        if not any(part.startswith(".") for part in Path(name).parts)
    }


if __name__ == "__main__":
    arm(int(os.environ.pop(AT)), os.environ.pop(ALSO).split())
    sys.path[0] = str(REPOSITORY)
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
