"""The command line as the shell sees it: exit codes, what goes to which stream, files, pixels."""

import hashlib
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
import tiny
from rasterio.windows import Window
from rio_cogeo.cogeo import cog_validate

from isamap.io import store
from isamap.model.checkpoint import PACKAGED

COMMANDS = (
    "fetch",
    "infer",
    "mosaic",
    "evaluate",
    "change",
    "status",
    "verify",
    "doctor",
    "train",
    "models",
    "regions",
)
TILE, NEXT_TILE = tiny.TILES
STEM = "town-20180402-isa"
PRODUCT = {f"{STEM}.tif", f"{STEM}.png", f"{STEM}.json"}
LOCK = ".isamap.lock"


def command(*arguments, **options):
    """`python -m isamap ARGUMENTS` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "isamap", *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        cwd=tiny.REPOSITORY,
        **options,
    )


def names(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")} if folder.exists() else set()


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != LOCK}


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.name != LOCK}


@pytest.fixture
def infer(isamap, scene, model):
    """`isamap infer --input SCENE --model TINY -o out ...` and its out folder."""

    def run(*arguments):
        return isamap("infer", "--input", scene, "--model", model, "-o", "out", *arguments)

    return run


# Help


@pytest.mark.parametrize("arguments", [(), *((name,) for name in COMMANDS)], ids=" ".join)
def test_help_loads_no_heavy_library(arguments):
    code = "import sys, isamap.cli\ntry: isamap.cli.main()\nfinally: print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments, "--help"],
        check=True,
        capture_output=True,
        text=True,
        cwd=tiny.REPOSITORY,
    )
    *_, modules = done.stdout.splitlines()
    loaded = {name.partition(".")[0] for name in modules.split()}
    assert done.stdout.startswith("Usage: isamap")
    assert "click" in loaded
    assert loaded.isdisjoint(
        {"torch", "rasterio", "numpy", "shapely", "pyproj", "odc", "pydantic", "pystac", "tqdm"}
    )


def test_every_command_is_in_the_help_of_the_group(isamap):
    text = isamap("--help").out
    assert all(f"\n  {name} " in text for name in COMMANDS)
    assert "75 busy" in text


# Exit codes

AREA = ("--region", "yreb/CN032070")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(("infer",), "exactly one of", id="no-area"),
        pytest.param(("infer", *AREA, "--bbox", "1,2,3,4"), "one area at a time", id="two-areas"),
        pytest.param(("infer", *AREA, "--input", "a.tif"), "exactly one of", id="area-and-input"),
        pytest.param(("infer", *AREA), "--year", id="no-year"),
        pytest.param(("infer", *AREA, "--year", "1999"), "1999", id="year-before-sentinel"),
        pytest.param(("infer", *AREA, "--year", "abc"), "abc", id="year-is-no-number"),
        pytest.param(
            ("infer", *AREA, "--year", "2021", "--bands", "B02"), "--bands goes with", id="bands-of-an-area"
        ),
        pytest.param(
            ("infer", *AREA, "--year", "2021", "--reproject"), "--reproject goes", id="reproject-an-area"
        ),
        pytest.param(("infer", "--bbox", "1,2,3", "--year", "2021"), "--bbox", id="three-sided-box"),
        pytest.param(("infer", "--input", "a.tif", "--threshold", "1"), "--threshold", id="threshold-of-1"),
        pytest.param(("infer", "--input", "a.tif", "--window", "300"), "--window", id="odd-window"),
        pytest.param(
            ("infer", "--input", "a.tif", "--year", "2021"), "--year goes with an area", id="year-of-an-input"
        ),
        pytest.param(("models", "--json", "add", "x.safetensors"), "--json goes with list", id="json-to-add"),
        pytest.param(("infer", "--input", "a.tif", "-j", "0"), "--workers", id="no-workers"),
        pytest.param(("infer", "--imput", "a.tif"), "--input", id="misspelt-option"),
        pytest.param(("infr",), "infr", id="misspelt-command"),
        pytest.param(("train", "recipe.toml", "-o", "x"), "--data", id="train-without-data"),
    ],
)
def test_a_wrong_usage_is_exit_2_and_the_message_names_the_option(isamap, arguments, words):
    ended = isamap(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("fetch", *AREA, "--year", "2021", "--source", "scenes", "--report", ""),
        ("fetch", *AREA, "--year", "2021", "--workspace="),
        ("fetch", *AREA, "--year", "2021", "--source", ""),
        ("infer", "--input", "", "-o", "out"),
        ("infer", "--input", "a.tif", "-o", ""),
        ("mosaic", "", "-o", "out"),
        ("evaluate", "maps", "--reference", "", "-o", "out"),
        ("evaluate", "maps", "--reference", "a", "-o", ""),
        ("change", "", "a.tif", "--years", "2020,2021"),
        ("verify", ""),
        ("tile", "recipe.toml", "-o", "x", "--data="),
        ("train", "", "--data", ".", "-o", "x"),
        ("models", "add", ""),
        ("models", "export", "fast", "--format", "onnx", "--out="),
    ],
    ids=" ".join,
)
def test_an_empty_word_is_a_wrong_usage_before_any_work(isamap, arguments):
    ended = isamap(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert "variable that is not set" in ended.err
    assert names(Path()) == set()


def test_an_isamap_toml_that_is_a_link_to_nothing_is_exit_66(infer):
    Path("isamap.toml").symlink_to("/not/mounted/isamap.toml")
    ended = infer()
    assert ended.code == 66
    assert ended.err == (
        "isamap: isamap.toml (a link to /not/mounted/isamap.toml) cannot be read: No such file or directory\n"
    )


@pytest.mark.parametrize("text", ['workspace = ""', 'model = ""', 'source = [""]'])
def test_an_empty_path_in_isamap_toml_is_exit_78(infer, text):
    Path("isamap.toml").write_text(text)
    ended = infer()
    key = text.partition(" ")[0]
    assert (ended.code, ended.err.startswith(f"isamap: isamap.toml: {key}")) == (78, True)


def test_a_year_in_the_environment_is_no_fault_of_an_input(infer, monkeypatch):
    monkeypatch.setenv("ISAMAP_YEAR", "2021")
    assert infer("--dry-run").code == 0


def test_a_batch_size_that_is_no_number_is_exit_2(infer):
    ended = infer("--batch-size", "many")
    assert (ended.code, ended.out) == (2, "")
    assert "--batch-size" in ended.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        pytest.param(("infer", "--region", "atlantis", "--year", "2021"), 66, "atlantis", id="region"),
        pytest.param(("regions", "atlantis"), 66, "atlantis", id="region-to-list"),
        pytest.param(("infer", "--region", "x; rm -rf /", "--year", "2021"), 66, "rm -rf", id="shell-words"),
        pytest.param(("infer", "--input", "no.tif", "--model", "MODEL"), 66, "no.tif", id="input"),
        pytest.param(("infer", "--tiles", TILE, "--year", "2021", "--model", "none"), 66, "none", id="model"),
        pytest.param(("models", "none"), 66, "none", id="model-to-show"),
        pytest.param(("infer", "--tiles", "@no.txt", "--year", "2021"), 66, "no.txt", id="list-of-tiles"),
        pytest.param(("infer", "--aoi", "no.geojson", "--year", "2021"), 66, "no.geojson", id="aoi"),
        pytest.param(("--debug", "regions", "--json", "nowhere"), 1, "Traceback", id="debug"),
        pytest.param(("infer", "-c", "no.toml", "--input", "a.tif"), 66, "no.toml", id="config"),
        pytest.param(("infer", "--region", "Suzhou", "--year", "2021"), 65, "Suzhou", id="ambiguous"),
        pytest.param(("infer", "--tiles", "51N-1", "--year", "2021"), 65, "51N-1", id="tile-id"),
        pytest.param(("infer", "--tiles", ",", "--year", "2021"), 65, "tile", id="no-tile-ids"),
        pytest.param(("infer", "--bbox", "5,5,5,5", "--year", "2021"), 65, "box", id="empty-box"),
        pytest.param(("infer", "--input", "SCENE", "--bands", "B2,B99"), 65, "B99", id="band-name"),
    ],
)
def test_what_is_missing_or_bad_is_named_on_one_line(isamap, scene, model, arguments, code, words):
    given = [{"MODEL": model, "SCENE": scene}.get(argument, argument) for argument in arguments]
    if "--debug" in arguments:
        done = command(*given)
        assert (done.returncode, done.stdout) == (code, "")
        assert words in done.stderr
        return
    ended = isamap(*given)
    assert (ended.code, ended.out) == (code, "")
    assert re.fullmatch(r"isamap: [^\n]+\n", ended.err)
    assert words in ended.err
    assert names(Path()) == set()


def test_a_year_without_composites_says_where_they_belong(isamap, model):
    area = ("--tiles", TILE, "--year", 2021, "--workspace", "ws")
    ended = isamap("infer", *area, "--model", model, "--no-fetch")
    assert ended.code == 66
    assert "ws/composites/2021" in ended.err
    assert names(Path()) == {"ws", "ws/runs", "ws/runs/infer-tiny-2021.json"}


def damage(path, change):
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(lambda w: (pickle.dumps(w), ".pt"), "pickles can run code", id="pickle"),
        pytest.param(lambda w: (pickle.dumps(w), ".safetensors"), "sha256", id="pickle-in-disguise"),
        pytest.param(lambda w: (w[: len(w) // 2], ".safetensors"), "sha256", id="cut-off"),
        pytest.param(lambda w: (w[:-1] + bytes([w[-1] ^ 1]), ".safetensors"), "sha256", id="one-byte"),
        pytest.param(lambda w: (b"\xff" * 8 + w, ".safetensors"), "sha256", id="giant-header"),
    ],
)
def test_weights_that_are_not_those_of_the_card_are_exit_70(isamap, scene, model, tmp_path, change, words):
    content, suffix = change(model.read_bytes())
    bad = tmp_path / f"bad{suffix}"
    bad.write_bytes(content)
    shutil.copy(model.with_suffix(".json"), tmp_path / "bad.json")
    ended = isamap("infer", "--input", scene, "--model", bad, "-o", "out")
    assert (ended.code, ended.out) == (70, "")
    assert re.fullmatch(r"isamap: [^\n]+\n", ended.err)
    assert str(bad) in ended.err
    assert words in ended.err
    assert names(Path("out")) <= {LOCK}


def repacked(model, folder, **changes):
    """The tiny model with another card that still matches its weights."""
    card = json.loads(model.with_suffix(".json").read_text())
    weights = changes.pop("weights", model.read_bytes())
    card |= {"weights_sha256": hashlib.sha256(weights).hexdigest()} | changes
    folder.mkdir(exist_ok=True)
    (folder / model.name).write_bytes(weights)
    (folder / model.with_suffix(".json").name).write_text(json.dumps(card))
    return folder / model.name


@pytest.mark.parametrize("kind", ["other-shapes", "unknown-network", "pickle-with-its-own-digest"])
def test_weights_that_do_not_fit_their_own_card_are_exit_70(isamap, scene, model, tmp_path, kind):
    network = json.loads(model.with_suffix(".json").read_text())["network"]
    changes = {
        "other-shapes": {"network": network | {"channels": 16}},
        "unknown-network": {"network": network | {"name": "slow"}},
        "pickle-with-its-own-digest": {"weights": pickle.dumps([1])},
    }
    bad = repacked(model, tmp_path / "bad", **changes[kind])
    ended = isamap("infer", "--input", scene, "--model", bad, "-o", "out")
    assert (ended.code, ended.out) == (70, "")
    assert re.fullmatch(r"isamap: [^\n]+\n", ended.err)
    assert "tiny" in ended.err
    assert names(Path("out")) <= {LOCK}


def test_cuda_on_a_machine_without_it_is_exit_70(infer, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    ended = infer("--device", "cuda")
    assert (ended.code, ended.out) == (70, "")
    assert "--device cpu" in ended.err


def test_a_device_nobody_knows_is_a_usage_error(infer):
    assert infer("--device", "tpu").code == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("treshold = 0.5", "did you mean threshold?", id="unknown-key"),
        pytest.param("threshold = 'high'", "threshold", id="wrong-type"),
        pytest.param("threshold 0.5", "TOML", id="not-toml"),
        pytest.param("threshold = 3.0", "isamap.toml: threshold: 3.0 is not in the range", id="out-of-range"),
        pytest.param("batch_size = 'some'", "isamap.toml: batch_size: ", id="refused-by-its-option"),
    ],
)
def test_a_bad_isamap_toml_is_exit_78(infer, text, words):
    Path("isamap.toml").write_text(text)
    ended = infer()
    assert (ended.code, ended.out) == (78, "")
    assert re.fullmatch(r"isamap: isamap\.toml[^\n]+\n", ended.err)
    assert words in ended.err


def test_a_bad_value_in_the_environment_is_exit_78_and_names_its_variable(infer, monkeypatch):
    monkeypatch.setenv("ISAMAP_THRESHOLD", "3")
    ended = infer()
    assert (ended.code, ended.out) == (78, "")
    assert ended.err.startswith("isamap: ISAMAP_THRESHOLD in the environment: 3.0 is not in the range")


def test_a_folder_that_another_run_holds_is_exit_75_and_left_alone(infer):
    Path("out").mkdir()
    with store.lock(Path("out") / LOCK, what="out"):
        ended = infer()
    assert (ended.code, ended.out) == (75, "")
    assert "another run holds out" in ended.err
    assert names(Path("out")) == {LOCK}


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_an_out_folder_that_is_a_file_is_exit_74(isamap, scene, model, out):
    Path("file").touch()
    ended = isamap("infer", "--input", scene, "--model", model, "-o", out)
    assert (ended.code, ended.out) == (74, "")
    assert "file" in ended.err
    assert names(Path()) == {"file"}


def test_a_reader_that_goes_away_is_no_fault(tmp_path):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "isamap", "regions"],
        check=False,
        stdout=write,
        stderr=subprocess.PIPE,
        cwd=tiny.REPOSITORY,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(("stream", "code"), [("stdout", 74), ("stderr", 66)])
def test_a_full_disk_under_the_log_or_the_results_keeps_the_exit_code_right(stream, code):
    arguments = ["regions"] if stream == "stdout" else ["regions", "atlantis"]
    with Path("/dev/full").open("w") as full:
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | {stream: full}
        done = subprocess.run(
            [sys.executable, "-m", "isamap", *arguments], check=False, cwd=tiny.REPOSITORY, **streams
        )
    assert done.returncode == code


# Where a setting comes from


def threshold_of(path):
    with rasterio.open(path) as src:
        return float(src.tags()["isamap_threshold"])


def test_the_command_line_beats_the_environment_beats_config_beats_isamap_toml(infer, monkeypatch):
    seen = [infer() and threshold_of(f"out/{STEM}.tif")]
    Path("isamap.toml").write_text("threshold = 0.1")
    seen.append(infer() and threshold_of(f"out/{STEM}.tif"))
    Path("other.toml").write_text("threshold = 0.2")
    seen.append(infer("--config", "other.toml") and threshold_of(f"out/{STEM}.tif"))
    monkeypatch.setenv("ISAMAP_THRESHOLD", "0.3")
    seen.append(infer("--config", "other.toml") and threshold_of(f"out/{STEM}.tif"))
    seen.append(infer("-c", "other.toml", "--threshold", "0.4") and threshold_of(f"out/{STEM}.tif"))
    assert seen == [0.5, 0.1, 0.2, 0.3, 0.4]


def test_flags_and_paths_may_come_from_the_environment(isamap, scene, model, monkeypatch):
    for name, value in {
        "INPUT": scene,
        "MODEL": model,
        "OUT": "there",
        "PROBABILITY": "1",
        "JSON": "1",
    }.items():
        monkeypatch.setenv(f"ISAMAP_{name}", str(value))
    (row,) = isamap("infer").document["maps"]
    assert f"there/{STEM}.prob.tif" in row["paths"]


# Streams


def test_stdout_has_the_paths_and_nothing_else(infer):
    ended = infer("-v")
    assert ended.code == 0
    assert ended.out.splitlines() == [f"out/{STEM}{suffix}" for suffix in (".tif", ".png", ".json")]
    assert all(Path(line).is_file() for line in ended.out.splitlines())
    assert "mapped town" in ended.err
    assert ended.err.splitlines()[-1] == "requested 1: 1 mapped, 0 skipped, 0 failed, 0 missing"
    assert re.search("[\r\x1b]", ended.out + ended.err) is None


def test_json_is_one_document_and_quiet_is_silent(infer):
    ended = infer("--json", "-q")
    assert ended.err == ""
    assert ended.out.count("\n") == 1
    document = ended.document
    assert (document["schema"], document["command"], document["requested"]) == (1, "infer", 1)
    assert (document["mapped"], document["skipped"], document["failed"], document["missing"]) == (1, 0, 0, 0)
    values = tiny.read(Path(f"out/{STEM}.tif"))
    (row,) = document["maps"]
    assert row["isa_share"] == pytest.approx((values == 1).sum() / (values != 255).sum())


def test_json_log_lines_parse(infer):
    ended = infer("--log-format", "json", "--json")
    *log, _ = [*ended.err.splitlines(), None]
    entries = [json.loads(line) for line in log]
    assert {"ts", "level", "logger", "event"} <= entries[0].keys()
    assert "mapped town-20180402-isa" in [entry["event"] for entry in entries]


def test_the_report_says_what_became_of_every_map(infer):
    infer("--report", "reports/today.json", "-q")
    report = json.loads(Path("reports/today.json").read_text())
    assert [(row["name"], row["state"]) for row in report["maps"]] == [(STEM, "mapped")]


def test_a_failed_map_is_in_the_report_too(isamap, model):
    Path("bad.tif").write_bytes(b"no raster")
    ended = isamap("infer", "--input", "bad.tif", "--model", model, "-o", "out", "--report", "r.json")
    report = json.loads(Path("r.json").read_text())
    assert (ended.code, report["failed"]) == (65, 1)
    assert "bad.tif" in report["maps"][0]["error"]


def test_cron_needs_no_home_no_terminal_and_no_stdin(scene, model, tmp_path):
    """`env -i PATH=... isamap ...` with all but stdout and stderr closed."""
    words = [
        sys.executable,
        "-m",
        "isamap",
        "infer",
        "--input",
        scene,
        "--model",
        model,
        "-o",
        tmp_path / "out",
    ]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *map(str, words)],
        check=False,
        capture_output=True,
        env={"PATH": os.environ["PATH"]},
        cwd=tiny.REPOSITORY,
    )
    assert done.returncode == 0, done.stderr
    assert names(tmp_path / "out") == PRODUCT | {LOCK}
    assert b"\r" not in done.stderr
    assert b"\x1b" not in done.stderr
    assert done.stderr.decode().isascii()


def test_a_dry_run_writes_nothing_and_says_what_would_be_done(infer, isamap, model):
    ended = infer("--dry-run")
    assert (ended.code, names(Path())) == (0, set())
    assert re.search(r"new +1\n", ended.out)
    document = infer("-n", "--json").document
    assert (document["requested"], document["new"], document["missing"]) == (1, 1, 0)
    infer()
    assert infer("-n", "--json").document["mapped_before"] == 1


# The map


@pytest.fixture
def mapped(infer):
    """Class map and probability of the tiny scene."""
    ended = infer("--probability")
    assert ended.code == 0, ended.err
    return Path(f"out/{STEM}.tif"), Path(f"out/{STEM}.prob.tif")


def test_the_map_has_the_bounds_and_crs_of_the_input_and_ten_times_its_pixels(mapped, scene):
    for path in mapped:
        with rasterio.open(scene) as lr, rasterio.open(path) as hr:
            assert hr.bounds == lr.bounds
            assert hr.crs == lr.crs
            assert hr.shape == tuple(10 * side for side in lr.shape)
            assert (hr.dtypes, hr.nodata, hr.count) == (("uint8",), 255, 1)


def test_nodata_is_exactly_where_the_input_has_none(mapped, scene):
    with rasterio.open(scene) as src:
        missing = (src.read() == 0).any(axis=0).repeat(10, axis=0).repeat(10, axis=1)
    assert missing.sum() == 100 * 100
    for path in mapped:
        assert np.array_equal(tiny.read(path) == 255, missing)


def test_the_map_is_the_probability_at_the_threshold(mapped):
    classes, percent = (tiny.read(path) for path in mapped)
    assert set(np.unique(classes)) == {0, 1, 255}
    known = classes != 255
    assert percent[known].max() <= 100
    assert percent[classes == 1].min() >= 50
    assert percent[classes == 0].max() <= 50


def test_both_rasters_are_valid_cogs(mapped):
    for path in mapped:
        assert cog_validate(path, strict=True, quiet=True) == (True, [], [])


def test_overviews_of_classes_are_classes(mapped):
    classes, percent = (tiny.overviews(path) for path in mapped)
    assert [level.shape for level in classes] == [level.shape for level in percent] == [(320, 480)]
    for level in classes:
        assert set(np.unique(level)) == {0, 1, 255}
    assert len(np.unique(percent[0])) > 20


def test_the_item_is_stac_and_gives_the_checksum_of_every_file(mapped, scene):
    item = pystac.Item.from_file(f"out/{STEM}.json")
    assert set(item.assets) == {"isa", "probability", "preview"}
    assert f"{item.common_metadata.start_datetime:%Y%m%d}" == "20180402"
    with rasterio.open(scene) as src:
        assert item.properties["proj:code"] == f"EPSG:{src.crs.to_epsg()}"
    assert item.properties["proj:shape"] == [640, 960]
    for asset in item.assets.values():
        file = Path("out", asset.href)
        assert asset.extra_fields["file:size"] == file.stat().st_size
        assert asset.extra_fields["file:checksum"] == "1220" + hashlib.sha256(file.read_bytes()).hexdigest()


def test_windows_of_256_and_512_give_the_same_map(isamap, model, tmp_path):
    big = tiny.write_scene(tmp_path / "in" / "big.tif", Window(100, 100, 300, 400))
    for window in (256, 512):
        isamap("infer", "--input", big, "--model", model, "-o", f"w{window}", "--window", window)
    small, large = (tiny.read(Path(f"w{window}/big-isa.tif")) for window in (256, 512))
    assert small.shape == (4000, 3000)
    assert np.count_nonzero(small != large) <= 1e-6 * small.size


def test_two_files_of_one_scene_make_one_map(isamap, scene, model, tmp_path):
    with rasterio.open(scene) as src:
        for part, bands in (("a-10m", (1, 2)), ("b-10m", (3, 4))):
            profile = src.profile | {"count": 2}
            with rasterio.open(scene.with_name(f"{part}.tif"), "w", **profile) as dst:
                dst.write(src.read(bands))
                dst.descriptions = [src.descriptions[index - 1] for index in bands]
    for inputs, out in (
        ((scene,), "one"),
        ((scene.with_name("a-10m.tif"), scene.with_name("b-10m.tif")), "two"),
    ):
        arguments = [word for path in inputs for word in ("--input", path)]
        assert isamap("infer", *arguments, "--model", model, "-o", out).code == 0
    assert np.array_equal(tiny.read(Path(f"one/{STEM}.tif")), tiny.read(Path("two/a-isa.tif")))


# Done work and changed work


def test_a_second_run_skips_and_overwrite_redoes_to_the_byte(infer):
    infer()
    before, written = contents(Path("out")), times(Path("out"))
    again = infer("--json").document
    assert (again["skipped"], again["mapped"]) == (1, 0)
    assert times(Path("out")) == written
    redone = infer("--overwrite", "--json").document
    assert (redone["skipped"], redone["mapped"]) == (0, 1)
    assert times(Path("out"))[f"{STEM}.tif"] > written[f"{STEM}.tif"]
    assert contents(Path("out")) == before


def test_a_map_that_takes_the_place_of_another_is_said_to(isamap, model, tmp_path):
    for folder, left in (("a", 220), ("b", 120)):
        tiny.write_scene(tmp_path / folder / "same-10m.tif", Window(left, 330, 96, 64))
    first, other = (isamap("infer", "--input", tmp_path / f / "same-10m.tif", "--model", model) for f in "ab")
    assert "in place of" not in first.err
    assert "mapping same-isa (96 x 64 px) in place of the map that is there" in other.err


def _cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _drop_provenance(path):
    item = json.loads(path.read_text())
    del item["properties"]["isamap:provenance"]
    path.write_text(json.dumps(item))


def _mean_of_the_card(model):
    card = json.loads(model.with_suffix(".json").read_text())
    card["network"]["mean"][0] += 0.01
    model.with_suffix(".json").write_text(json.dumps(card))


def _threshold_of_the_card(model):
    card = json.loads(model.with_suffix(".json").read_text())
    model.with_suffix(".json").write_text(json.dumps(card | {"threshold": 0.6}))


class Mutation:
    """One thing that changes between two runs: arguments, or a file."""

    def __init__(self, *arguments, scene=None, model=None, product=None, suffix=".tif", env=None):
        self.arguments = arguments
        self.change = {"scene": scene, "model": model}
        self.product = product
        self.suffix = suffix
        self.env = env or {}


REDONE = {
    "threshold": Mutation("--threshold", "0.6"),
    "probability": Mutation("--probability"),
    "offset": Mutation("--offset", "-50"),
    "bands": Mutation("--bands", "B03,B02,B04,B08"),
    "window": Mutation("--window", "256"),
    "precision": Mutation(env={"ISAMAP_PRECISION": "float32"}),
    "one pixel of the input": Mutation(scene=tiny.change_pixel),
    "other weights": Mutation(model=lambda path: tiny.write_model(path.parent, seed=1)),
    "scaling in the card": Mutation(model=_mean_of_the_card),
    "threshold in the card": Mutation(model=_threshold_of_the_card),
    "map cut by a byte": Mutation(product=_cut),
    "map with a flipped bit": Mutation(product=_flip),
    "map deleted": Mutation(product=Path.unlink),
    "picture deleted": Mutation(product=Path.unlink, suffix=".png"),
    "item deleted": Mutation(product=Path.unlink, suffix=".json"),
    "item without provenance": Mutation(product=_drop_provenance, suffix=".json"),
}
KEPT = {
    "workers": Mutation("-j", "2"),
    "batch size": Mutation("--batch-size", "3"),
    "log format": Mutation("-v", "--log-format", "json"),
    "report": Mutation("--report", "report.json"),
    "time of the input": Mutation(scene=lambda path: os.utime(path, (0, 0))),
    "a copy of the model": Mutation(model=lambda path: path.write_bytes(path.read_bytes())),
}


@pytest.mark.parametrize("name", [*REDONE, *KEPT])
def test_what_changes_the_map_redoes_it_and_nothing_else_does(
    isamap, scene, model, tmp_path, monkeypatch, name
):
    mutation = (REDONE | KEPT)[name]
    if name == "precision" and not _is_bfloat16():
        pytest.skip("this CPU computes in float32 anyway")
    (tmp_path / "model").mkdir()
    own = Path(shutil.copy(model, tmp_path / "model"))
    shutil.copy(model.with_suffix(".json"), tmp_path / "model")
    other = tiny.write_scene(tmp_path / "in" / "other.tif")
    shutil.copy(scene, tmp_path / "in" / "copy.tif")
    run = ("infer", "--model", own, "-o", "out", "--json", "--input")
    for path in (scene, other):
        assert isamap(*run, path).document["mapped"] == 1
    for path, change in zip((scene, own), mutation.change.values(), strict=True):
        if change:
            change(path)
    if mutation.product:
        mutation.product(Path("out", f"{STEM}{mutation.suffix}"))
    for variable, value in mutation.env.items():
        monkeypatch.setenv(variable, value)
    before = {path: stamp for path, stamp in times(Path("out")).items() if path.startswith("other")}
    ended = isamap(*run, scene, *mutation.arguments)
    assert ended.code == 0, ended.err
    assert ended.document["mapped" if name in REDONE else "skipped"] == 1
    wanted = PRODUCT | ({f"{STEM}.prob.tif"} if name == "probability" else set())
    assert {path.name for path in Path("out").iterdir() if path.name.startswith("town")} == wanted
    assert {path: stamp for path, stamp in times(Path("out")).items() if path.startswith("other")} == before
    assert isamap(*run, scene, *mutation.arguments).document["skipped"] == 1


def _is_bfloat16():
    import torch

    from isamap.model.device import dtype_of

    return dtype_of(torch.device("cpu")) == torch.bfloat16


def test_a_new_version_of_isamap_redoes_every_map(infer, monkeypatch):
    infer()
    monkeypatch.setattr("isamap.core.mapping.__version__", "99")
    assert infer("--json").document["mapped"] == 1


def test_a_probability_no_longer_asked_for_does_not_stay_behind(infer):
    infer("--probability")
    assert f"{STEM}.prob.tif" in names(Path("out"))
    ended = infer()
    assert names(Path("out")) == PRODUCT | {LOCK}
    (line,) = [line for line in ended.err.splitlines() if "WARNING" in line]
    assert line.endswith("lose the probability raster of the map before, which is of another run")
    assert "lose the probability" not in infer("--overwrite").err


# What is not ours


@pytest.mark.parametrize("suffix", [".tif", ".png", ".json"])
def test_a_file_with_the_name_of_the_map_that_isamap_did_not_make_stays(infer, suffix):
    own = Path("out", f"{STEM}{suffix}")
    own.parent.mkdir()
    if suffix == ".tif":
        tiny.write_scene(own)
    else:
        own.write_text('{"type": "FeatureCollection"}')
    before = contents(Path("out"))
    ended = infer()
    said = f"isamap: {own} was not made by isamap: choose another folder, or move it away"
    assert (ended.code, ended.err.splitlines()[-1]) == (65, said)
    assert contents(Path("out")) == before


@pytest.mark.parametrize("gone", [".json", ".json .tif", ".json .png"])
def test_maps_of_isamap_without_their_item_are_made_again(infer, gone):
    infer()
    before = contents(Path("out"))
    for suffix in gone.split():
        Path("out", f"{STEM}{suffix}").unlink()
    assert infer("--json").document["mapped"] == 1
    assert contents(Path("out")) == before


def test_a_probability_raster_of_somebody_else_is_not_replaced(infer):
    infer()
    own = tiny.write_scene(Path("out", f"{STEM}.prob.tif"))
    before = contents(Path("out"))
    assert infer("--probability").code == 65
    assert own.is_file()
    assert contents(Path("out")) == before


# Inputs that change meanwhile


@pytest.mark.parametrize("how", ["in place", "replaced", "removed", "damaged"])
def test_an_input_that_changes_while_it_is_mapped_publishes_nothing(infer, scene, monkeypatch, how):
    from isamap.io import raster

    infer()
    before = contents(Path("out"))
    real = raster.open_scene

    def opened(*arguments):
        found = real(*arguments)
        if how == "in place":
            tiny.change_pixel(scene)
        elif how == "replaced":
            copy = Path(shutil.copy(scene, scene.with_suffix(".new")))
            tiny.change_pixel(copy)
            copy.replace(scene)
        elif how == "removed":
            scene.unlink()
        else:
            scene.write_bytes(scene.read_bytes()[:3000])
        return found

    monkeypatch.setattr(raster, "open_scene", opened)
    ended = infer("--overwrite")
    assert ended.code == 65
    assert ended.err.splitlines()[-1].endswith(f"{scene}: changed while it was read: run again")
    assert contents(Path("out")) == before


def test_an_input_replaced_by_its_own_copy_is_no_other(infer, scene, monkeypatch):
    from isamap.io import raster

    real = raster.open_scene

    def opened(*arguments):
        found = real(*arguments)
        Path(shutil.copy(scene, scene.with_suffix(".new"))).replace(scene)
        return found

    monkeypatch.setattr(raster, "open_scene", opened)
    assert infer().code == 0


# Tiles


@pytest.fixture
def damaged(tmp_path):
    """A workspace whose two composites are no rasters: they fail at once."""
    folder = tmp_path / "ws" / "composites" / "2021"
    folder.mkdir(parents=True)
    for tile in tiny.TILES:
        (folder / f"{tile}.tif").write_bytes(b"no raster")
    return tmp_path / "ws"


def over_tiles(isamap, workspace, model, *arguments, tiles=tiny.TILES):
    return isamap(
        *("infer", "--tiles", ",".join(tiles), "--year", 2021, "--workspace", workspace, "--model", model),
        *arguments,
    )


def test_several_failed_tiles_are_exit_3_and_each_is_named_with_its_fault(isamap, damaged, model):
    ended = over_tiles(isamap, damaged, model, "--report", "r.json", "--json")
    assert ended.code == 3
    rows = ended.document["maps"]
    assert json.loads(Path("r.json").read_text()) == ended.document
    assert [(row["name"], row["state"]) for row in rows] == [(tile, "failed") for tile in tiny.TILES]
    assert all(f"{row['name']}.tif" in row["error"] for row in rows)
    assert ended.err.splitlines()[-1].startswith("isamap: 2 of 2 maps are not made")


def test_on_error_stop_ends_at_the_first_failed_tile_with_its_own_code(isamap, damaged, model):
    ended = over_tiles(isamap, damaged, model, "--on-error", "stop")
    assert ended.code == 65
    assert TILE in ended.err
    assert NEXT_TILE not in ended.err


def test_a_run_that_is_stopped_leaves_document_and_reports(isamap, damaged, model):
    ended = over_tiles(isamap, damaged, model, "--on-error", "stop", "--json", "--report", "r.json")
    assert (ended.code, ended.document["requested"], ended.document["failed"]) == (65, 2, 1)
    assert [row["name"] for row in ended.document["maps"]] == [TILE]
    for path in (Path("r.json"), damaged / "runs" / "infer-tiny-2021.json"):
        assert json.loads(path.read_text()) == ended.document


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("--tiles", TILE, "--year", 2021, "--workspace", "ws"), id="tile"),
        pytest.param(
            ("--tiles", f"{TILE},{NEXT_TILE}", "--year", 2021, "--workspace", "ws", "--shard", "2/2"),
            id="shard",
        ),
        pytest.param(("--input", "nothere.tif"), id="raster"),
    ],
)
def test_a_lone_map_without_input_leaves_document_and_reports(isamap, model, arguments):
    more = () if "--input" in arguments else ("--no-fetch",)
    ended = isamap("infer", *arguments, *more, "--model", model, "--json", "--report", "r.json")
    assert (ended.code, ended.document["requested"], ended.document["missing"]) == (66, 1, 1)
    assert re.fullmatch(r"isamap: [^\n]+\n", ended.err)
    reports = [Path("r.json"), *Path("ws/runs").glob("*.json")]
    assert len(reports) == (1 if "--input" in arguments else 2)
    assert [json.loads(path.read_text()) for path in reports] == [ended.document] * len(reports)


@pytest.mark.parametrize("window", [Window(0, 0, 100, 100), Window(0, 0, 64, 60)])
def test_a_composite_that_is_not_its_tile_s_fails_alone(isamap, model, tmp_path, window):
    for tile in tiny.TILES:
        tiny.write_scene(tmp_path / "ws" / "composites" / "2021" / f"{tile}.tif", window)
    area = ("--year", 2021, "--workspace", tmp_path / "ws", "--no-fetch", "--model", model)
    ended = isamap("infer", "--tiles", tiny.TILES[0], *area)
    assert ended.code == 65
    size = f"has {window.width} x {window.height} pixels of 10 m, its tile 1088 x 1088 of 10"
    assert f"{tiny.TILES[0]}.tif {size} (with its margin): remove it and run isamap fetch" in ended.err
    both = isamap("infer", "--tiles", ",".join(tiny.TILES), *area, "--json")
    assert (both.code, both.document["failed"]) == (3, 2)
    assert not list((tmp_path / "ws" / "maps").rglob("*.tif"))


def test_weights_called_like_another_model_do_not_take_the_place_of_its_maps(isamap, model, tmp_path):
    for suffix in (".safetensors", ".json"):
        shutil.copy(model.with_suffix(suffix), tmp_path / f"fast{suffix}")
    tiny.write_composite(tmp_path / "ws", 2021, tiny.TILES[0])
    area = ("--tiles", tiny.TILES[0], "--year", 2021, "--workspace", tmp_path / "ws", "--no-fetch", "-n")
    ended = isamap("infer", *area, "--model", tmp_path / "fast.safetensors")
    assert ended.code == 78
    assert "is called like the model fast, whose maps it would replace: rename the file" in ended.err
    assert isamap("infer", *area, "--model", tmp_path / "fast.safetensors", "-o", "elsewhere").code == 0
    assert isamap("infer", *area, "--model", PACKAGED / "fast.safetensors").code == 0
    (tmp_path / "copy").mkdir()
    for suffix in (".safetensors", ".json"):
        shutil.copy(PACKAGED / f"fast{suffix}", tmp_path / "copy")
    assert isamap("infer", *area, "--model", tmp_path / "copy" / "fast.safetensors").code == 0
    assert isamap("infer", *area, "--model", model).code == 0


def test_max_tiles_ends_after_that_many(isamap, damaged, model):
    ended = over_tiles(isamap, damaged, model, "--max-tiles", 1, "--json")
    assert ended.code == 65  # one map, its own fault
    assert [row["name"] for row in ended.document["maps"]] == [TILE]


def test_a_list_of_tiles_may_come_from_a_file(isamap, damaged, model):
    Path("tiles.txt").write_text("\n".join(reversed(tiny.TILES)) + "\n\n")
    document = over_tiles(isamap, damaged, model, "-n", "--json", tiles=["@tiles.txt"]).document
    assert (document["requested"], document["new"]) == (2, 2)


def test_a_list_of_tiles_may_have_comments_and_a_byte_order_mark(isamap, damaged, model):
    text = f"# of today\n{tiny.TILES[0]}  # the town\n  # and of tomorrow\n{tiny.TILES[1]}#\n"
    Path("tiles.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    ended = over_tiles(isamap, damaged, model, "-n", "--json", tiles=["@tiles.txt"])
    assert (ended.code, ended.document["requested"]) == (0, 2)


def test_tiles_of_which_none_has_a_composite_are_exit_3_and_each_is_missing(isamap, model):
    ended = over_tiles(isamap, "ws", model, "--no-fetch", "--json")
    assert ended.code == 3
    rows = ended.document["maps"]
    assert [(row["name"], row["state"]) for row in rows] == [(tile, "missing") for tile in tiny.TILES]
    assert all(f"ws/composites/2021/{row['name']}.tif" in row["error"] for row in rows)


def test_a_report_that_cannot_be_written_costs_neither_output_nor_that_of_the_workspace(
    isamap, damaged, model
):
    ended = over_tiles(isamap, damaged, model, "--json", "--report", "/proc/r.json")
    assert ended.code == 74
    assert ended.err.splitlines()[-1].startswith("isamap: cannot use /proc/r.json: ")
    assert "Traceback" not in ended.err
    assert json.loads((damaged / "runs" / "infer-tiny-2021.json").read_text()) == ended.document
    over_tiles(isamap, damaged, model, "--report", "r.json")
    assert json.loads(Path("r.json").read_text()) == ended.document


def test_a_run_over_tiles_always_leaves_a_report_in_the_workspace(isamap, damaged, model):
    document = over_tiles(isamap, damaged, model, "--json").document
    assert json.loads((damaged / "runs" / "infer-tiny-2021.json").read_text()) == document


@pytest.fixture(scope="module")
def two_tiles(tmp_path_factory, model):
    """A workspace with the composites and maps of two neighbours, mapped by one worker."""
    workspace = tmp_path_factory.mktemp("ws")
    for turn, tile in enumerate(tiny.TILES):
        tiny.write_composite(workspace, 2021, tile, turn=100 * turn)
    done = command(
        *("infer", "--tiles", ",".join(tiny.TILES), "--year", 2021, "--workspace", workspace),
        *("--model", model, "--json", "-j", 1),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["mapped"] == 2
    return workspace


def maps_of(workspace):
    return workspace / "maps" / "tiny" / "2021"


@pytest.mark.slow
def test_tiles_meet_at_their_corners_and_lie_on_the_grid(two_tiles):
    with (
        rasterio.open(maps_of(two_tiles) / f"{TILE}.tif") as left,
        rasterio.open(maps_of(two_tiles) / f"{NEXT_TILE}.tif") as right,
    ):
        assert left.shape == right.shape == (10_240, 10_240)
        assert left.bounds.right == right.bounds.left == 61 * 10_240
        assert (left.bounds.bottom, left.bounds.top) == (318 * 10_240, 319 * 10_240)
    for tile in tiny.TILES:
        path = maps_of(two_tiles) / f"{tile}.tif"
        assert cog_validate(path, strict=True, quiet=True) == (True, [], [])
        assert all(set(np.unique(level)) <= {0, 1, 255} for level in tiny.overviews(path))


@pytest.mark.slow
def test_two_workers_and_another_order_give_the_same_bytes(two_tiles, model, tmp_path):
    done = command(
        *("infer", "--tiles", ",".join(reversed(tiny.TILES)), "--year", 2021, "--workspace", two_tiles),
        *("--model", model, "-o", tmp_path / "out", "-j", 2),
    )
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "out") == contents(maps_of(two_tiles))


@pytest.mark.slow
def test_only_the_tile_whose_composite_changed_is_redone(isamap, two_tiles, model, tmp_path):
    workspace = Path(shutil.copytree(two_tiles, tmp_path / "ws"))
    before = times(maps_of(workspace))
    tiny.change_pixel(workspace / "composites" / "2021" / f"{NEXT_TILE}.tif")
    rows = over_tiles(isamap, workspace, model, "--json").document["maps"]
    assert [row["state"] for row in rows] == ["skipped", "mapped"]
    changed = {name for name, stamp in times(maps_of(workspace)).items() if stamp != before[name]}
    assert changed == {f"{NEXT_TILE}{suffix}" for suffix in (".tif", ".png", ".json")}


@pytest.mark.slow
def test_finished_maps_of_one_year_are_none_of_another(isamap, two_tiles, model, tmp_path):
    workspace = Path(shutil.copytree(two_tiles, tmp_path / "ws"))
    shutil.copytree(workspace / "composites" / "2021", workspace / "composites" / "2022")
    area = ("--tiles", ",".join(tiny.TILES), "--workspace", workspace, "--model", model, "--no-fetch")
    plans = [isamap("infer", *area, "--year", year, "-n", "--json").document for year in (2021, 2022)]
    assert [(plan["new"], plan["mapped_before"]) for plan in plans] == [(0, 2), (2, 0)]


@pytest.mark.slow
def test_a_tile_without_composite_is_exit_3_and_the_report_names_it(isamap, two_tiles, model, tmp_path):
    workspace = Path(shutil.copytree(two_tiles, tmp_path / "ws"))
    (workspace / "composites" / "2021" / f"{NEXT_TILE}.tif").unlink()
    for path in maps_of(workspace).glob(f"{NEXT_TILE}*"):
        path.unlink()
    ended = over_tiles(isamap, workspace, model, "--json", "--no-fetch")
    assert ended.code == 3
    rows = ended.document["maps"]
    assert [(row["name"], row["state"]) for row in rows] == [(TILE, "skipped"), (NEXT_TILE, "missing")]
    assert f"{NEXT_TILE}.tif" in rows[1]["error"]
    assert ended.err.splitlines()[-1].startswith("isamap: 1 of 2 maps")


def test_small_maps_are_the_same_bytes_for_any_worker_count_and_order(scene, model, tmp_path):
    from isamap.core import infer as recipe
    from isamap.core.map_job import Options
    from isamap.engine import Engine
    from isamap.io.raster import SceneInput

    inputs = [scene, tiny.write_scene(tmp_path / "in" / "b.tif", Window(0, 0, 70, 90))]
    made = []
    for workers, order in ((1, 1), (2, 1), (2, -1)):
        out = tmp_path / f"{workers}{order}"
        jobs = [recipe.raster_job(SceneInput((path,)), out) for path in inputs[::order]]
        report = recipe.run(jobs, Options(model=str(model), threads=-workers), how=Engine(workers=workers))
        assert report.count("mapped") == 2
        made.append(contents(out))
    assert made[0] == made[1] == made[2]
