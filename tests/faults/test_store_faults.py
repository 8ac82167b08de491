"""Publication under kill -9 at every system call, a full disk, a read-only disk, and rivals."""

import errno
import fcntl
import os
import resource
import signal
import time
from pathlib import Path

import pytest
from crashpoints import (
    broken_products,
    crash_points,
    files_in,
    fork,
    killed_in_command,
    killed_in_fork,
    visible,
)

from isamap.errors import BusyError, StorageError
from isamap.io import claims, locks, store
from isamap.io.store import State, Target, lock, publish, storage_errors
from isamap.io.sweeping import sweep

OLD, NEW, OTHER = b"old", b"new", b"other"


@pytest.fixture(autouse=True)
def free_fsync(monkeypatch):
    """kill -9 does not lose the page cache: fsync is counted and may fail here, but costs no disk time."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


def asset_bytes(name, version):
    return version * (20_000 if "prob" in name else 10_000)


def write_in_pieces(fd, content):
    while content:
        content = content[os.write(fd, content[:20_000]) :]


def run(directory, version, names=("t.tif", "t.prob.tif")):
    """What a step does for one product: sweep, skip if done, write in pieces, commit."""
    target = Target(directory, "t")
    sweep(directory)
    if store.state(target, {"version": version.decode()}) is State.DONE:
        return
    with publish(target, names) as publication, storage_errors(target.item_path):
        for name in names:
            fd = os.open(publication.path(name), os.O_WRONLY | os.O_CREAT, 0o666)
            try:
                write_in_pieces(fd, asset_bytes(name, version))
            finally:
                os.close(fd)
        publication.path("t.prob.tif.ovr.tmp").mkdir()
        publication.commit(
            {
                "properties": {"isamap:provenance": {"version": version.decode()}},
                "assets": {name: {"href": f"./{name}"} for name in names},
            }
        )


def undisturbed(directory, *args):
    run(directory, *args)
    return files_in(directory)


def attempts(tmp_path, before, version, names):
    """An attempt for crash_points: product `before` (or none), then a child that publishes over it."""

    def attempt(n):
        directory = tmp_path / str(n)
        if before:
            run(directory, *before)
        return killed_in_fork(lambda: run(directory, version, names), n)

    return attempt


BOTH, ONE = ("t.tif", "t.prob.tif"), ("t.tif",)


@pytest.mark.parametrize(
    ("before", "names", "after"),
    [
        pytest.param(None, BOTH, (NEW, BOTH), id="first"),
        pytest.param((OLD, BOTH), BOTH, (NEW, BOTH), id="replaced"),
        pytest.param((OLD, BOTH), ONE, (NEW, ONE), id="one-asset-less"),
        pytest.param((OLD, ONE), BOTH, (OTHER, ONE), id="rerun-with-another-option"),
    ],
)
def test_no_crash_point_shows_a_partial_product_and_a_rerun_heals_it(tmp_path, before, names, after):
    want = undisturbed(tmp_path / "want", *after)
    complete = {asset_bytes(name, version) for name in BOTH for version in (OLD, NEW)}
    killed = 0
    for n in crash_points(attempts(tmp_path, before, NEW, names)):
        directory = tmp_path / str(n)
        assert broken_products(directory) == [], n
        shown = visible(files_in(directory))
        assert {content for name, content in shown.items() if name.endswith(".tif")} <= complete, n
        run(directory, *after)
        assert files_in(directory) == want, n
        killed = n
    assert killed >= 50


def test_the_old_product_stays_whole_until_the_new_one_is_completely_written(tmp_path):
    old = undisturbed(tmp_path / "want", OLD)
    states = [
        visible(files_in(tmp_path / str(n))) == old
        for n in crash_points(attempts(tmp_path, (OLD,), NEW, BOTH))
    ]
    assert states == sorted(states, reverse=True)
    assert states.count(True) > len(states) / 2


def test_everything_is_on_disk_before_the_step_that_relies_on_it(tmp_path, monkeypatch):
    run(tmp_path, OLD, BOTH)
    log = []

    def record(name, of):
        real = getattr(os, name)

        def recorded(*args, **kwargs):
            log.append((name, of(*args)))
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, recorded)

    record("fsync", lambda fd: Path(f"/proc/self/fd/{fd}").readlink().name)
    record("replace", lambda src, dst: Path(dst).name)
    record("unlink", lambda path: Path(path).name)
    run(tmp_path, NEW, ONE)
    (part,) = {name for _, name in log if name.startswith(".part-")}
    assert log.pop() == ("unlink", ".claim-t.lock")
    assert log == [
        ("fsync", "t.tif"),
        ("fsync", "t.json"),
        ("fsync", part),
        ("fsync", ".files-t.json"),
        ("replace", ".files-t.json"),
        ("fsync", tmp_path.name),
        ("unlink", "t.json"),
        ("fsync", tmp_path.name),
        ("unlink", "t.prob.tif"),
        ("replace", "t.tif"),
        ("fsync", tmp_path.name),
        ("replace", "t.json"),
        ("fsync", tmp_path.name),
        ("unlink", ".files-t.json"),
        ("unlink", ".lock"),
    ]


def test_a_sweep_killed_anywhere_is_finished_by_the_next(tmp_path):
    want = undisturbed(tmp_path / "want", NEW)

    def attempt(n):
        directory = tmp_path / str(n)
        run(directory, NEW)
        dead = directory / ".part-t-dead"
        (dead / "inner").mkdir(parents=True)
        (dead / "t.tif").write_bytes(b"half")
        (directory / "t.tif.ovr.tmp").touch()
        (directory / ".files-t.json").write_text("{}")
        return killed_in_fork(lambda: sweep(directory), n)

    for n in crash_points(attempt):
        sweep(tmp_path / str(n))
        assert files_in(tmp_path / str(n)) == want, n


def test_the_harness_reaches_into_a_fresh_interpreter(tmp_path):
    (tmp_path / "victim.py").write_text("import os\nfor name in 'abc': os.mkdir(name)\n")

    def attempt(n):
        (tmp_path / str(n)).mkdir()
        env = {"PYTHONPATH": str(tmp_path)}
        return killed_in_command(["victim"], n, also=["shutil:rmtree"], env=env, cwd=tmp_path / str(n))

    made = [len(list((tmp_path / str(n)).iterdir())) for n in crash_points(attempt, first=2, step=2)]
    assert made == [1, 2, 3]


@pytest.mark.parametrize("tenth", range(10))
def test_a_file_size_limit_is_a_storage_error_and_keeps_the_old_product(tmp_path, tenth):
    old = undisturbed(tmp_path, OLD)
    limit = tenth * len(asset_bytes("t.prob.tif", NEW)) // 10

    def hit_the_limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        with pytest.raises(StorageError, match=rf"t\.json.*bytes free.*limit {limit} bytes.*free space"):
            run(tmp_path, NEW)

    assert os.waitpid(fork(hit_the_limit), 0)[1] == 0
    assert files_in(tmp_path) == old


FAULTS = [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO]


@pytest.mark.parametrize("number", FAULTS, ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["open", "fsync", "mkdir"])
def test_a_disk_that_refuses_is_a_storage_error_and_keeps_the_old_product(
    tmp_path, monkeypatch, call, number
):
    old = undisturbed(tmp_path, OLD)
    real = getattr(os, call)
    for allowed in range(2):
        calls = iter(range(allowed))

        def refuse(*args, calls=calls, **kwargs):
            if next(calls, None) is None:
                raise OSError(number, os.strerror(number))
            return real(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(os, call, refuse)
            with pytest.raises(StorageError, match=os.strerror(number)):
                run(tmp_path, NEW)
        sweep(tmp_path)
        assert files_in(tmp_path) == old


def test_a_parent_that_is_a_file_is_a_storage_error(tmp_path):
    (tmp_path / "maps").touch()
    with pytest.raises(StorageError, match="maps"):
        run(tmp_path / "maps" / "2021", NEW)


def test_a_full_disk_met_by_the_caller_without_a_wrapper_is_a_storage_error_too(tmp_path):
    with pytest.raises(StorageError, match="bytes free"), publish(Target(tmp_path, "t"), []):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert files_in(tmp_path) == {}


def test_a_failed_read_inside_the_block_is_not_blamed_on_the_product(tmp_path):
    with pytest.raises(OSError, match="broken input"), publish(Target(tmp_path, "t"), []):
        raise OSError(errno.EIO, "broken input")
    assert files_in(tmp_path) == {}


def held_by_child(context):
    """Process id of a child that is inside `context()`."""
    ready, tell = os.pipe()

    def hold():
        with context():
            os.write(tell, b"x")
            signal.pause()

    pid = fork(hold)
    os.read(ready, 1)
    os.close(ready)
    os.close(tell)
    return pid


def kill(pid):
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_a_sweep_leaves_the_part_directory_of_a_live_run(tmp_path):
    target = Target(tmp_path, "t")
    pid = held_by_child(lambda: publish(target, []))
    try:
        with publish(Target(tmp_path, "u"), []):
            parts = set(files_in(tmp_path))
            assert len(parts) == 6
            assert sweep(tmp_path) == []
            assert set(files_in(tmp_path)) == parts
    finally:
        kill(pid)
    claim, part = sorted(tmp_path.iterdir())
    assert sweep(tmp_path) == [claim, part]
    assert files_in(tmp_path) == {}


def test_a_product_is_made_by_one_process_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "PATIENCE_S", 0.2)
    target = Target(tmp_path, "t")
    pid = held_by_child(lambda: publish(target, []))
    try:
        with pytest.raises(BusyError, match=r"another run is at work on .*t\.json"), publish(target, []):
            pass
    finally:
        kill(pid)
    run(tmp_path, NEW)
    assert broken_products(tmp_path) == []


def test_a_product_may_be_claimed_within_its_own_claim(tmp_path):
    target = Target(tmp_path, "t")
    with publish(target, []) as outer, publish(target, []) as inner:
        assert outer.directory != inner.directory
    assert files_in(tmp_path) == {}


def test_a_part_directory_swept_before_it_was_locked_is_made_anew(tmp_path, monkeypatch):
    real, swept = Path.mkdir, []

    def mkdir_then_sweep(path, *args, **kwargs):
        real(path, *args, **kwargs)
        if path.name.startswith(".part-") and not swept:
            swept.append(path)
            assert sweep(tmp_path) == [path]

    monkeypatch.setattr(Path, "mkdir", mkdir_then_sweep)
    run(tmp_path, NEW)
    assert len(swept) == 1
    assert broken_products(tmp_path) == []


def test_a_part_directory_swept_while_it_is_being_locked_is_made_anew(tmp_path, monkeypatch):
    real, swept = fcntl.flock, []

    def sweep_then_flock(fd, operation):
        name = Path(f"/proc/self/fd/{fd}").readlink()
        if not swept and name.parent.name.startswith(".part-"):
            swept.append(name.parent)
            assert sweep(tmp_path) == swept
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", sweep_then_flock)
    with publish(Target(tmp_path, "t"), []) as publication:
        assert publication.directory.is_dir()
        assert publication.directory not in swept
    assert len(swept) == 1


def test_products_are_published_while_other_runs_sweep_all_the_time(tmp_path):
    end = time.monotonic() + 1

    def sweep_on():
        while time.monotonic() < end:
            sweep(tmp_path)

    def publish_on(stem):
        while time.monotonic() < end:
            with publish(Target(tmp_path, stem), [f"{stem}.tif"]) as publication:
                publication.path(f"{stem}.tif").write_bytes(os.urandom(100))
                publication.commit(
                    {"properties": {"isamap:provenance": {}}, "assets": {"map": {"href": f"./{stem}.tif"}}}
                )

    rivals = [fork(sweep_on) for _ in range(2)] + [fork(lambda stem=stem: publish_on(stem)) for stem in "ab"]
    assert [os.waitpid(pid, 0)[1] for pid in rivals] == [0, 0, 0, 0]
    assert broken_products(tmp_path) == []
    assert set(files_in(tmp_path)) == {"a.json", "a.tif", "b.json", "b.tif"}


def test_a_lock_is_free_as_soon_as_its_holder_is_killed(tmp_path):
    path = tmp_path / "locks" / "map-2021.lock"
    pid = held_by_child(lambda: lock(path, what="map 2021"))
    with pytest.raises(BusyError, match="another run holds map 2021"), lock(path, what="map 2021"):
        pass
    kill(pid)
    with lock(path, what="map 2021"):
        pass


def test_a_run_told_to_wait_gets_the_lock_when_the_holder_ends(tmp_path):
    path = tmp_path / "map.lock"
    pid = held_by_child(lambda: lock(path, what="map"))

    def wait():
        with lock(path, wait=True, what="map"):
            pass

    waiting = fork(wait)
    time.sleep(0.2)
    assert os.waitpid(waiting, os.WNOHANG) == (0, 0)
    kill(pid)
    assert os.waitpid(waiting, 0)[1] == 0


def race(path, gate, hold):
    """In a child: at the gate, then the lock; 0 for the winner, 75 for a quick loser."""
    os.read(gate, 1)
    begin = time.monotonic()
    try:
        with lock(path, what="map"):
            os.read(hold, 1)
        os._exit(0)
    except BusyError as err:
        os._exit(err.exit_code if time.monotonic() - begin < 1 else 1)


def test_of_eight_runs_started_at_once_one_works_and_seven_are_told_busy(tmp_path):
    for round_ in range(10):
        path = tmp_path / str(round_)
        gate, open_gate = os.pipe()
        hold, let_go = os.pipe()

        def rival(path=path, gate=gate, hold=hold, ends=(open_gate, let_go)):
            for fd in ends:
                os.close(fd)
            race(path, gate, hold)

        for _ in range(8):
            fork(rival)
        os.close(open_gate)
        losers = [os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(7)]
        os.close(let_go)
        winner = os.waitstatus_to_exitcode(os.wait()[1])
        os.close(gate)
        os.close(hold)
        assert (losers, winner) == ([BusyError.exit_code] * 7, 0)


def test_the_lock_names_the_disk_when_the_lock_file_cannot_be_made(tmp_path):
    (tmp_path / "locks").touch()
    with pytest.raises(StorageError, match="locks"), lock(tmp_path / "locks" / "x", what="x"):
        pass


def test_errors_of_another_library_become_storage_errors_when_asked(tmp_path):
    with (
        pytest.raises(
            StorageError, match=r"t\.tif.*TIFFAppendToStrip: write error.*\d+ bytes free, 7 bytes needed"
        ),
        storage_errors(tmp_path / "no" / "t.tif", (RuntimeError,), needed_bytes=7),
    ):
        raise RuntimeError("TIFFAppendToStrip:\n write error")
    with pytest.raises(RuntimeError), storage_errors(tmp_path):
        raise RuntimeError
    with pytest.raises(FileNotFoundError), storage_errors(tmp_path):
        (tmp_path / "missing").read_bytes()
    assert locks.NO_SPACE <= locks.STORAGE_FAULTS
