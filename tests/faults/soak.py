"""`isamap infer` under kill -9, SIGTERM, rival runs and full disks: `python tests/faults/soak.py` prints the figures.

Every run is a fork of this process, in which torch is imported and has one thread and has computed nothing: so a
run costs a third of a second, and no thread is lost in the fork. `--every 9` tries each ninth case, as the tests do.
"""

import argparse
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from crashpoints import REPOSITORY, arm, broken_products, files_in, fork, visible

ALSO = (
    "rasterio.io:DatasetWriter.close",
    "rasterio.io:DatasetWriter.write",
    "rasterio.io:DatasetWriter.build_overviews",
    "rasterio.shutil:copy",
)
"""GDAL's system calls are not Python's: die before and after its calls too."""
STEM = "town-20180402-isa"
REPORT = "runs/report.json"
GRACE_S = 10
"""Within which a signalled run must have ended."""


def prepare_process() -> None:
    """Import what a run imports, so that a fork has it at once, and keep torch to one thread."""
    sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]
    import PIL.PngImagePlugin
    import pystac
    import torch

    torch.set_num_threads(1)
    import isamap.cli
    import isamap.core.infer

    assert all((PIL.PngImagePlugin, pystac, isamap.cli, isamap.core.infer))


@dataclass
class Figures:
    """One line of the report."""

    name: str
    """Campaign."""
    tried: int = 0
    """Cases."""
    faults: list[str] = field(default_factory=list)
    """What went wrong, one line for each case."""
    note: str = ""
    """What else was measured."""

    def count(self, case: object, faults: list[str]) -> None:
        """Add one case and what was wrong with it."""
        self.tried += 1
        if faults:
            self.faults.append(f"{self.name} {case}: {'; '.join(faults)}")

    def __str__(self) -> str:
        return f"{self.name:<28}{self.tried - len(self.faults):>5} of {self.tried:<5}{self.note}"


class Ground:
    """Folders for runs over one scene: every case starts from a copy of `before`."""

    def __init__(self, root: Path) -> None:
        import tiny

        self.root = root
        self.scene, self.model = root / "in" / "town-20180402-10m.tif", root / "model" / "tiny.safetensors"
        self.log = root / "log"
        self._numbers = iter(range(1, 1_000_000))
        run_in_fork(
            lambda: (tiny.write_scene(self.scene, nodata_corner_px=10), tiny.write_model(root / "model"))
        )
        self.empty = self._finished("empty", ())
        self.old = self._finished("old", ("--threshold", "0.7"), ("--threshold", "0.4", "--probability"))
        want = self._finished("want", ())
        self.want = files_in(want)
        assert self.run(want) == 0
        self.skipped = files_in(want)
        start = time.monotonic()
        self._finished("timed", ())
        self.run_s = time.monotonic() - start

    def arguments(self, *more: str) -> list[str]:
        """Command line of a run in the current folder."""
        return [
            *("infer", "--input", str(self.scene), "--model", str(self.model), "-o", "out"),
            *("--device", "cpu", "--report", REPORT, *more),
        ]

    def start(self, folder: Path, *more: str, before: Callable[[], object] = lambda: None) -> int:
        """Process id of a run in a fork."""
        return fork(lambda: self._leave(folder, self.arguments(*more), before))

    def run(self, folder: Path, *more: str, before: Callable[[], object] = lambda: None) -> int:
        """Exit code of a run; minus the number of the signal that killed it."""
        return ended(self.start(folder, *more, before=before))

    def case(self, before: Path) -> Path:
        """A fresh copy of a folder."""
        return Path(shutil.copytree(before, self.root / f"case-{next(self._numbers)}"))

    def healed(self, folder: Path) -> list[str]:
        """What a rerun, as it would come from cron, leaves unlike an undisturbed run."""
        code = self.run(folder)
        if code:
            return [f"the rerun ended with {code}: {self.log.read_text()[-300:]}"]
        found = files_in(folder)
        faults = [f"{name} is left over" for name in found.keys() - self.want.keys()]
        faults += [f"{name} is missing" for name in self.want.keys() - found.keys()]
        for name in found.keys() & self.want.keys():
            if found[name] not in (self.want[name], self.skipped[name]):  # the report says which it was
                faults.append(f"{name} differs")
        return faults

    def partial(self, folder: Path) -> list[str]:
        """What is at a final name and is neither the old nor the new file."""
        old, faults = files_in(self.old), broken_products(folder / "out")
        for name, content in visible(files_in(folder)).items():
            if content not in (old.get(name), self.want.get(name)):
                faults.append(f"{name} is neither old nor new")
        return faults

    def _finished(self, name: str, *runs: tuple[str, ...]) -> Path:
        folder = self.root / name
        (folder / "out").mkdir(parents=True)
        if name != "empty":
            for more in runs:
                assert self.run(folder, *more) == 0, self.log.read_text()
        return folder

    def _leave(self, folder: Path, arguments: list[str], before: Callable[[], object]) -> None:
        from isamap.cli import main

        os.chdir(folder)
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(log, stream)
        before()
        try:
            main(arguments)
        except SystemExit as end:
            os._exit(int(end.code or 0))


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def run_in_fork(action: Callable[[], object]) -> None:
    assert ended(fork(action)) == 0


def crash_points(ground: Ground, every: int, rng: random.Random) -> Iterator[Figures]:
    """Killed at every call that touches files, over an empty folder and over an older map."""
    for title, start in (("empty folder", ground.empty), ("older map", ground.old)):
        figures = Figures(f"crash points, {title}")
        point = rng.randint(1, every)
        while True:
            folder = ground.case(start)
            code = ground.run(folder, before=lambda point=point: arm(point, ALSO))
            if code != -signal.SIGKILL:
                break
            figures.count(point, ground.partial(folder) + ground.healed(folder))
            shutil.rmtree(folder)
            point += every
        figures.note = f"points 1 to {point - every} at most" if every > 1 else f"all {point - 1} points"
        if code:
            figures.count(point, [f"ended with {code} by itself: {ground.log.read_text()[-300:]}"])
        yield figures


def random_kills(ground: Ground, every: int, rng: random.Random) -> Iterator[Figures]:
    """Killed at a random moment."""
    figures = Figures("random SIGKILL")
    killed = 0
    for case in range(0, 50, every):
        folder = ground.case(rng.choice((ground.empty, ground.old)))
        pid = ground.start(folder)
        time.sleep(rng.uniform(0, ground.run_s))
        os.kill(pid, signal.SIGKILL)
        killed += ended(pid) != 0
        figures.count(case, ground.partial(folder) + ground.healed(folder))
        shutil.rmtree(folder)
    figures.note = f"{killed} before their end"
    yield figures


def double_starts(ground: Ground, every: int, rng: random.Random) -> Iterator[Figures]:
    """Two runs on one folder at once: one works, one exits 75."""
    figures = Figures("double starts")
    slowest = 0.0
    for case in range(0, 20, every):
        folder = ground.case(rng.choice((ground.empty, ground.old)))
        start = time.monotonic()
        pids = {ground.start(folder), ground.start(folder)}
        pid, status = os.wait()
        codes = [os.waitstatus_to_exitcode(status)]
        slowest = max(slowest, time.monotonic() - start)
        codes.append(ended((pids - {pid}).pop()))
        faults = [] if codes == [75, 0] else [f"exit codes {codes}"]
        figures.count(case, faults + ground.partial(folder) + ground.healed(folder))
        shutil.rmtree(folder)
    figures.note = f"slowest loser {slowest:.1f} s"
    yield figures


def sigterms(ground: Ground, every: int, rng: random.Random) -> Iterator[Figures]:
    """SIGTERM or SIGINT at a random moment: 143 or 130 within 10 s, resumable."""
    figures = Figures("SIGTERM, SIGINT")
    slowest, late = 0.0, 0
    for case in range(0, 20, every):
        number = (signal.SIGTERM, signal.SIGTERM, signal.SIGINT)[case % 3]
        folder = ground.case(rng.choice((ground.empty, ground.old)))
        pid = ground.start(folder)
        time.sleep(rng.uniform(0.1, ground.run_s))
        start = time.monotonic()
        os.kill(pid, number)
        code = ended(pid)
        wait_s = time.monotonic() - start
        slowest = max(slowest, wait_s)
        late += code == 0
        faults = [] if code in (0, 128 + number) else [f"exit code {code}: {ground.log.read_text()[-300:]}"]
        faults += [f"took {wait_s:.1f} s"] if wait_s > GRACE_S else []
        hidden = [name for name in files_in(folder) if ".part-" in name]
        faults += [f"{name} is left" for name in hidden]
        figures.count(case, faults + ground.partial(folder) + ground.healed(folder))
        shutil.rmtree(folder)
    figures.note = f"slowest end {slowest:.1f} s, {late} came too late to stop anything"
    yield figures


def disk_full(ground: Ground, every: int, rng: random.Random) -> Iterator[Figures]:
    """A file size limit, then a small file system, at tenths of what a run needs: 74, the older map as it was."""
    largest = max(map(len, ground.want.values()))
    figures = Figures("file size limit")
    for tenth in range(rng.randrange(every), 10, every):
        limit = largest * tenth // 10
        folder = ground.case(ground.old)
        code = ground.run(
            folder, before=lambda limit=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, -1))
        )
        figures.count(
            f"{limit} bytes", _refused(ground, folder, code, heard=limit > 0) + ground.healed(folder)
        )
        shutil.rmtree(folder)
    yield figures
    figures = Figures("small file system")
    size = sum(map(len, ground.want.values()))
    disk = ground.root / "disk"
    disk.mkdir()
    for tenth in range(rng.randrange(every), 10, every):
        kib = max(4, size * tenth // 10240)
        old = sum(map(len, files_in(ground.old).values())) // 1024 + 64
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={old + kib}k", "tmpfs", disk], check=False
        ).returncode:
            figures.note = "not allowed to mount one"
            break
        try:
            folder = Path(shutil.copytree(ground.old, disk / "case"))
            code = ground.run(folder)
            faults = _refused(ground, folder, code)
            subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
            figures.count(f"{kib} KiB", faults + ground.healed(folder))
        finally:
            subprocess.run(["umount", disk], check=True)
    yield figures


def _refused(ground: Ground, folder: Path, code: int, *, heard: bool = True) -> list[str]:
    """What is wrong with a run that the disk should have stopped; no log can be written under a limit of 0."""
    message = ground.log.read_text().splitlines()[-1:]
    faults = [] if code == 74 else [f"exit code {code}"]
    if heard and not (message and re.match(r"isamap: cannot \w+ \S*/\S+:", message[0])):
        faults.append(f"said {message}")
    old, found = files_in(ground.old), files_in(folder)
    if found.get(REPORT) != old.get(REPORT) and json.loads(found.pop(REPORT))["failed"] != 1:
        faults.append(f"{REPORT} does not tell of the failure")
    return faults + [f"{name} has changed" for name, content in found.items() if content != old.get(name)]


CAMPAIGNS = {
    "crash-points": crash_points,
    "random-kills": random_kills,
    "double-starts": double_starts,
    "signals": sigterms,
    "disk-full": disk_full,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("campaigns", nargs="*", choices=[*CAMPAIGNS, []], help="default: all")
    parser.add_argument("--every", type=int, default=1, help="try each n-th case only")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    prepare_process()
    rng = random.Random(given.seed)
    faults: list[str] = []
    with tempfile.TemporaryDirectory(prefix="isamap-soak-") as root:
        ground = Ground(Path(root))
        print(f"one undisturbed run: {ground.run_s:.2f} s", flush=True)
        for name in given.campaigns or CAMPAIGNS:
            for figures in CAMPAIGNS[name](ground, given.every, rng):
                print(figures, flush=True)
                faults += figures.faults
    print(*faults, sep="\n", end="\n" if faults else "")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
