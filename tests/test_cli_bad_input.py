"""The 20 bad rasters through the command: one clear line, the right exit code, nothing left behind."""

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
import tiny
from bad_rasters import BAD_RASTERS, BadRaster

from isamap.cli import cli

LOCK = ".isamap.lock"
IN_A_PROCESS_OF_THEIR_OWN = ("html", "flipped-byte", "all-nan")
"""One that is refused when opened, one when read, one after all of it was read."""


def check(bad: BadRaster, paths: tuple[Path, ...], code: int, out: str, err: str) -> None:
    assert code == bad.exit_code
    assert out == ""
    assert re.fullmatch(r"isamap: [^\n]+\n", err), err
    assert re.search(bad.message, err)
    assert str(paths[-1]) in err


def arguments(paths: tuple[Path, ...], model: Path, out: Path) -> list[str]:
    inputs = [word for path in paths for word in ("--input", str(path))]
    return ["infer", *inputs, "--model", str(model), "-o", str(out), "-q"]


def left_in(folder: Path) -> set[str]:
    return (
        {str(path.relative_to(folder)) for path in folder.rglob("*")} - {LOCK} if folder.exists() else set()
    )


@pytest.mark.parametrize("bad", BAD_RASTERS, ids=lambda bad: bad.name)
def test_a_bad_raster_ends_in_one_line_and_leaves_nothing(bad: BadRaster, isamap, model, tmp_path):
    (tmp_path / "in").mkdir()
    paths = bad.write(tmp_path / "in")
    before = {
        path: path.read_bytes() for path in (tmp_path / "in").iterdir() if path.stat().st_size < 1 << 24
    }
    ended = isamap(*arguments(paths, model, tmp_path / "out"))
    check(bad, paths, ended.code, ended.out, ended.err)
    assert left_in(tmp_path / "out") == set()
    assert left_in(tmp_path / "here") == set()
    assert {path: path.read_bytes() for path in before} == before
    assert len(list((tmp_path / "in").iterdir())) == len(before)


@pytest.mark.parametrize("name", IN_A_PROCESS_OF_THEIR_OWN)
def test_the_same_in_a_process_of_its_own(name, model, tmp_path):
    bad = next(bad for bad in BAD_RASTERS if bad.name == name)
    (tmp_path / "in").mkdir()
    paths = bad.write(tmp_path / "in")
    done = subprocess.run(
        [sys.executable, "-m", "isamap", *arguments(paths, model, tmp_path / "out")],
        check=False,
        capture_output=True,
        text=True,
        cwd=tiny.REPOSITORY,
    )
    check(bad, paths, done.returncode, done.stdout, done.stderr)
    assert left_in(tmp_path / "out") == set()


@pytest.mark.parametrize("name", ["html", "flipped-byte", "order-unknown"])
def test_a_bad_raster_leaves_an_older_map_as_it_is(name, isamap, scene, model, tmp_path):
    assert isamap(*arguments((scene,), model, tmp_path / "out")).code == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    bad = next(bad for bad in BAD_RASTERS if bad.name == name)
    bad.write(tmp_path / "in")[0].rename(scene)
    ended = isamap(*arguments((scene,), model, tmp_path / "out"))
    assert ended.code == bad.exit_code
    assert str(scene) in ended.err
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize(
    "text", ['{"assets": []}', '{"assets": [1]}', '{"assets": {"a": 1}}', "[]", "no json", '"text"']
)
def test_a_json_file_beside_the_input_that_is_no_item_is_not_ours_to_judge(
    isamap, scene, model, tmp_path, text
):
    scene.with_suffix(".json").write_text(text)
    ended = isamap(*arguments((scene,), model, tmp_path / "out"))
    assert (ended.code, ended.err) == (0, "")


def test_an_input_that_is_not_the_file_its_item_describes_is_refused(isamap, scene, model, tmp_path):
    item = '{"assets": {"data": {"href": "./NAME", "file:checksum": "1220ab"}}}'.replace("NAME", scene.name)
    scene.with_suffix(".json").write_text(item)
    ended = isamap(*arguments((scene,), model, tmp_path / "out"))
    assert ended.code == 65
    assert re.fullmatch(r"isamap: [^\n]+sha256 differs[^\n]+\n", ended.err)
    assert left_in(tmp_path / "out") == set()


@pytest.mark.parametrize(
    "name", ["..tif", "新 街;rm -rf $HOME.tif", "a\nb.tif", "x" * 240 + ".tif", "-rf.tif"]
)
def test_odd_names_of_inputs_make_plain_names_of_maps(isamap, scene, model, tmp_path, name):
    odd = scene.rename(scene.with_name(name))
    ended = isamap(*arguments((odd,), model, tmp_path / "out"))
    assert ended.code == 0, ended.err
    assert len(ended.out.splitlines()) == 3
    for path in map(Path, ended.out.splitlines()):
        assert re.fullmatch(r"[\w-][\w.-]*", path.name)
        assert path.parent == tmp_path / "out"
        assert path.is_file()


def test_a_folder_is_called_a_folder(isamap, tmp_path, model):
    ended = isamap(*arguments((tmp_path,), model, tmp_path / "out"))
    assert (ended.code, ended.err) == (66, f"isamap: {tmp_path} is a folder, not a raster\n")


def every_command():
    """All commands, those of groups too."""
    for name, one in cli.commands.items():
        yield name, one
        if isinstance(one, click.Group):
            yield from one.commands.items()


def test_no_number_may_be_nan_or_infinite():
    numbers = [
        (name, option)
        for name, one in every_command()
        for option in one.params
        if isinstance(option.type, click.types.FloatParamType)
    ]
    assert len(numbers) > 10
    for name, option in numbers:
        for text in ("nan", "-nan", "inf", "-inf"):
            with pytest.raises(click.BadParameter):
                option.type.convert(text, option, click.Context(cli.commands.get(name, cli)))
