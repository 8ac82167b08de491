"""Image and labels of a shard, each judged and moved by its own shift, and what is said where nobody could measure it."""

import numpy as np
import pytest
import rasterio
import towns

from isamap.core import tile
from isamap.domain.splits import Rules
from isamap.domain.tiling import Source, TileRecipe
from isamap.errors import InputError

BOTH = Source(name="town", imagery=("imagery.tif",), image=("image.tif",), labels=("isa.tif",), only="train")
LABELS = BOTH.model_copy(update={"image": ()})


@pytest.fixture(scope="module")
def town():
    return towns.make_town(128, 128)


def lay(folder, town, *, image_m=0, labels_m=0):
    """The town with image and labels moved east on their own."""
    towns.write_town(folder, town)
    towns.write(folder / "image.tif", town.image, 1, east_m=image_m)
    towns.write(folder / "isa.tif", town.isa, 1, nodata=255, east_m=labels_m)
    return folder


def scatter(folder):
    """Labels that show nothing of the town."""
    noise = np.kron(np.random.default_rng(3).random((128, 128)) < 0.3, np.ones((10, 10)))
    towns.write(folder / "isa.tif", noise.astype(np.uint8), 1, nodata=255)


def run(data, *sources, **more):
    recipe = TileRecipe(sources=sources or (BOTH,), chip_px=32, split=Rules(buffer_m=0), **more).checked()
    return tile.run(tile.Request(recipe, data, data / "out"))


def off(folder, layer, truth):
    """Columns by which a layer that was written lies right of the truth."""
    with rasterio.open(folder / "out" / f"town.{layer}.tif") as src:
        values = src.read()[:, 50:-50, 50:-50]
    truth = np.atleast_3d(truth.T).T
    wrong = {by: np.mean(values != np.roll(truth, by, 2)[:, 50:-50, 50:-50]) for by in range(-35, 36)}
    return min(wrong, key=wrong.get)


def test_labels_that_lie_off_are_refused_beside_an_image_that_lies_right(tmp_path, town):
    data = lay(tmp_path, town, labels_m=30)
    with pytest.raises(
        InputError, match=r"lies \+(29|30|31)\.\d m east.* \(by labels, .* more than 10 m: use"
    ):
        run(data)
    run(data, max_shift_m=40.0)
    with pytest.raises(InputError, match="by labels"):
        run(data)


def test_image_and_labels_have_each_their_own_limit(tmp_path, town):
    run(lay(tmp_path / "a", town, labels_m=7))
    with pytest.raises(InputError, match=r"\(by image, [^)]+\), more than 5 m: use"):
        run(lay(tmp_path / "b", town, image_m=7))
    with pytest.raises(InputError, match=r"\(by image, .* more than 5 m; .*\(by labels, .* more than 10 m"):
        run(lay(tmp_path / "c", town, image_m=7, labels_m=-15))


@pytest.mark.parametrize(("image_m", "labels_m"), [(7, 0), (0, 30), (7, -15)])
def test_aligning_moves_each_layer_by_its_own_shift(tmp_path, town, image_m, labels_m):
    shard = run(lay(tmp_path, town, image_m=image_m, labels_m=labels_m), align=True).shards[0].shard
    assert off(tmp_path, "hr", town.image) == 0
    assert abs(off(tmp_path, "labels", town.isa)) <= 2
    moved = {one["by"]: one["moved_px"] for one in shard.shifts}
    assert moved == {"image": [0, image_m], "labels": list(shard.shift_px)}
    assert shard.shift_px == pytest.approx((0, labels_m), abs=2)


def test_labels_go_with_the_image_they_lie_on(tmp_path, town):
    assert run(lay(tmp_path, town, image_m=12, labels_m=12), align=True).shards[0].shard.shift_px == (0, 12)
    assert off(tmp_path, "labels", town.isa) == 0


def test_labels_that_cannot_be_measured_go_with_the_image(tmp_path, town):
    scatter(lay(tmp_path, town, image_m=12))
    assert run(tmp_path, align=True).shards[0].shard.shift_px == (0, 12)


@pytest.mark.parametrize("align", [False, True])
def test_a_position_that_was_not_checked_is_warned_of_once_a_source(tmp_path, town, caplog, align):
    scatter(lay(tmp_path, town))
    for _ in ("made", "found"):
        caplog.clear()
        run(tmp_path, LABELS, LABELS.model_copy(update={"name": "twin"}), align=align)
        said = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
        assert [text.split(":")[0] for text in said if "lie was not checked" in text] == ["town", "twin"]
        assert all("too faint (peak 0." in text for text in said if "not checked" in text)


def test_labels_on_flat_ground_are_warned_of_too(tmp_path, town, caplog):
    towns.write(lay(tmp_path, town) / "isa.tif", np.zeros_like(town.isa), 1, nodata=255)
    run(tmp_path)
    assert "town: where its labels lie was not checked against its imagery: too little shows" in caplog.text
    assert "where its image lies" not in caplog.text


def test_nothing_is_said_of_labels_that_were_measured(tmp_path, town, caplog):
    run(lay(tmp_path, town))
    assert "not checked" not in caplog.text
