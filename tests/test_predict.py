import numpy as np
import pytest
import tiny
import torch

from isamap.errors import ModelError
from isamap.model import settling
from isamap.model.checkpoint import pack
from isamap.model.networks import NetworkConfig, build
from isamap.model.predict import Predictor

CONFIG = NetworkConfig(name="fast", channels=8, blocks=1)
CARD = {
    "name": "small",
    "version": "1",
    "description": "for tests",
    "network": CONFIG.model_dump(),
    "threshold": 0.5,
    "licence": "Apache-2.0",
    "attribution": (),
    "training": {},
    "metrics": {},
}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Tiny networks lose more than they win by a second thread, above all on a busy machine."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A network whose map of `scene` shows both classes."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = build(CONFIG)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.15)
        with torch.no_grad():
            network.isa.bias.zero_()
            x = CONFIG.prepare(
                torch.from_numpy(scene(0)[0])[None], torch.ones(1, 4, 1, 1).expand(1, 4, 30, 40)
            )
            network.isa.bias.sub_(network(x).median())
    document, card = pack(network.state_dict(), CARD)
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    path.write_bytes(document)
    path.with_suffix(".json").write_bytes(card)
    return path


def scene(seed, shape=(30, 40)):
    rng = np.random.default_rng(seed)
    return rng.uniform(0.02, 0.35, (4, *shape)).astype(np.float32), np.ones(shape, np.bool_)


@pytest.fixture
def predictor(weights, monkeypatch):
    monkeypatch.setenv("ISAMAP_PRECISION", "float32")
    return Predictor(weights, "cpu")


def equal(one, other):
    return all(
        np.array_equal(a, b)
        for p, q in zip(one, other, strict=True)
        for a, b in zip(p.rasters, q.rasters, strict=True)
    )


def test_a_window_loses_its_halo_and_grows_tenfold(predictor):
    lr, valid = scene(0)
    (made,) = predictor.predict([lr], [valid], percent=True).result()
    height, width = 30 - 2 * predictor.halo_px, 40 - 2 * predictor.halo_px
    assert made.isa.shape == made.percent.shape == (10 * height, 10 * width)
    assert made.isa.dtype == made.percent.dtype == np.uint8
    assert set(np.unique(made.isa)) == {0, 1}
    assert made.percent.max() <= 100


def test_percent_is_asked_for(predictor):
    (made,) = predictor.predict(*([part] for part in scene(0))).result()
    assert made.percent is None
    assert len(made.rasters) == 1


def test_classes_and_percent_are_the_rounded_probability(predictor):
    lr, valid = scene(3)
    probability = tiny.probability(predictor, lr[None], valid[None])[0].numpy()
    (made,) = predictor.predict([lr], [valid], percent=True).result()
    np.testing.assert_array_equal(made.isa, probability >= 0.5)
    np.testing.assert_array_equal(made.percent, np.rint(probability * np.float32(100)))


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_the_threshold_divides_the_classes(weights, threshold):
    predictor = Predictor(weights, "cpu", threshold)
    lr, valid = scene(3)
    (made,) = predictor.predict([lr], [valid], percent=True).result()
    percent = made.percent.astype(int)
    assert made.isa[percent > 100 * threshold].all()
    assert not made.isa[percent < 100 * threshold].any()


def test_nodata_is_exactly_where_the_input_has_nothing(predictor):
    lr, valid = scene(5)
    halo = predictor.halo_px
    valid[halo + 2 : halo + 4, halo + 5] = False
    valid[0, 0] = False  # in the halo: no pixel of the map is lost
    lr[:, ~valid] = 0
    (made,) = predictor.predict([lr], [valid], percent=True).result()
    expected = np.zeros(made.isa.shape, np.bool_)
    expected[20:40, 50:60] = True
    for raster in made.rasters:
        np.testing.assert_array_equal(raster == 255, expected)


def test_what_stands_in_an_invalid_pixel_does_not_matter(predictor):
    lr, valid = scene(5)
    valid[9:14, 9:20] = False
    other = lr.copy()
    other[:, ~valid] = 1.7
    one, two = (predictor.predict([pixels], [valid], percent=True).result() for pixels in (lr, other))
    assert equal(one, two)


@pytest.mark.parametrize("precision", ["float32", ""])
def test_the_batch_size_changes_no_pixel(weights, monkeypatch, precision):
    monkeypatch.setenv("ISAMAP_PRECISION", precision)
    predictor = Predictor(weights, "cpu")
    lr, valid = zip(*(scene(seed) for seed in range(4)), strict=True)
    together = predictor.predict(lr, valid, percent=True).result()
    alone = [predictor.predict([a], [b], percent=True).result()[0] for a, b in zip(lr, valid, strict=True)]
    by_three = (
        predictor.predict(lr[:3], valid[:3], percent=True).result()
        + predictor.predict(lr[3:], valid[3:], percent=True).result()
    )
    assert equal(together, alone)
    assert equal(together, by_three)


@pytest.mark.parametrize("rows", [10, 70, 1000])
def test_the_height_of_the_strips_changes_no_pixel(predictor, monkeypatch, rows):
    lr, valid = zip(scene(5), scene(6), strict=True)
    valid[0][15, 20] = False
    expected = predictor.predict(lr, valid, percent=True).result()
    probability = tiny.probabilities(predictor, np.stack(lr), np.stack(valid))
    monkeypatch.setattr(settling, "SETTLE_ROWS", rows)
    assert equal(predictor.predict(lr, valid, percent=True).result(), expected)
    parts = list(predictor.strips(np.stack(lr), np.stack(valid)))
    height = probability.shape[-2]
    assert [part.start for part, _ in parts] == list(range(0, height, rows))
    assert parts[-1][0].stop == height
    assert torch.equal(torch.cat([each for _, each in parts], dim=-2), probability)


def tight(predictor, monkeypatch, fits):
    """Let the device hold batches of `fits` windows only; returns the sizes that were tried."""
    tried = []
    plenty = predictor.strips

    def strips(lr, valid):
        tried.append(len(lr))
        if len(lr) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory (not really)")
        return plenty(lr, valid)

    monkeypatch.setattr(predictor, "strips", strips)
    return tried


@pytest.mark.parametrize(
    ("size", "fits", "sizes"), [(4, 2, [4, 2, 2]), (5, 1, [5, 2, 1, 1, 3, 1, 2, 1, 1]), (3, 3, [3])]
)
def test_a_full_device_halves_the_batch_and_changes_no_pixel(
    predictor, monkeypatch, caplog, size, fits, sizes
):
    lr, valid = zip(*(scene(seed) for seed in range(size)), strict=True)
    expected = predictor.predict(lr, valid, percent=True).result()
    tried = tight(predictor, monkeypatch, fits)
    made = predictor.predict(lr, valid, percent=True).result()
    assert equal(made, expected)
    assert len(made) == size
    assert tried == sizes
    assert ("halved" in caplog.text) == (fits < size)


def test_memory_that_runs_out_while_pixels_are_fetched_halves_the_batch_too(predictor, monkeypatch):
    lr, valid = zip(*(scene(seed) for seed in range(4)), strict=True)
    expected = predictor.predict(lr, valid, percent=True).result()
    strips, calls = predictor.strips, []

    def full_at_first(*given):
        calls.append(1)
        yield from strips(*given)
        if len(calls) == 1:
            raise torch.OutOfMemoryError

    monkeypatch.setattr(predictor, "strips", full_at_first)
    assert equal(predictor.predict(lr, valid, percent=True).result(), expected)
    assert len(calls) == 3


def test_a_device_too_small_for_one_window_is_a_model_error(predictor, monkeypatch):
    tight(predictor, monkeypatch, 0)
    lr, valid = scene(0)
    with pytest.raises(ModelError, match="smaller --window") as caught:
        predictor.predict([lr] * 4, [valid] * 4).result()
    assert caught.value.exit_code == 70


def test_other_faults_of_the_device_are_no_lack_of_memory(predictor, monkeypatch):
    def broken(lr, valid):
        raise RuntimeError("device-side assert")

    monkeypatch.setattr(predictor, "strips", broken)
    lr, valid = scene(0)
    with pytest.raises(RuntimeError, match="device-side"):
        predictor.predict([lr] * 2, [valid] * 2).result()


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cuda:99", "cudax"])
def test_a_device_that_is_not_there_is_a_model_error(weights, device):
    with pytest.raises(ModelError, match="device"):
        Predictor(weights, device)


def scheme_predictor(folder, monkeypatch, **changes):
    monkeypatch.setenv("ISAMAP_PRECISION", "float32")
    config = NetworkConfig(name="fast", channels=8, blocks=1, **changes)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        network = build(config)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    document, card = pack(network.state_dict(), CARD | {"network": config.model_dump()})
    path = folder / "small.safetensors"
    path.write_bytes(document)
    path.with_suffix(".json").write_bytes(card)
    return Predictor(path, "cpu")


def test_a_class_scheme_gives_the_code_of_the_likeliest_class_and_the_share_of_its_isa(tmp_path, monkeypatch):
    predictor = scheme_predictor(tmp_path, monkeypatch, classes="fbp24")
    lr, valid = scene(3)
    valid[15, 20] = False
    each = tiny.probabilities(predictor, lr[None], valid[None])[0]
    (made,) = predictor.predict([lr], [valid], percent=True).result()
    seen = made.isa != 255
    codes = each.argmax(dim=0).numpy() + 1
    np.testing.assert_array_equal(made.isa[seen], codes[seen])
    assert set(np.unique(made.isa[seen])) <= set(range(1, 25))
    assert (~seen).sum() == 100
    isa = sum(each[code - 1] for code in (1, 12, 18, 19, 20, 21, 22, 23, 24)).numpy()
    np.testing.assert_allclose(made.percent[seen], np.rint(isa * 100)[seen], atol=1)
    counted = np.isin(made.isa, [1, 12, 18, 19, 20, 21, 22, 23, 24]).sum()
    assert predictor.count_isa(made.isa) == counted


def test_the_layers_of_a_scheme_have_its_colours(tmp_path, monkeypatch):
    classes, percent = scheme_predictor(tmp_path, monkeypatch, classes="fbp24").layers(probability=True)
    assert classes.key == "fbp24"
    assert classes.colours[21] == (250, 150, 150, 255)
    assert classes.colours[255] == (0, 0, 0, 0)
    assert percent.key == "probability"


def test_an_optional_band_that_is_0_counts_as_missing(tmp_path, monkeypatch):
    bands = {"bands": ("B02", "B03", "B04", "B11"), "optional": ("B11",)}
    predictor = scheme_predictor(tmp_path, monkeypatch, **bands)
    assert predictor.bands == (bands["bands"], ("B11",))
    lr, valid = scene(4)
    without = lr.copy()
    without[3] = 0
    made = tiny.probability(predictor, without[None], valid[None])
    config = predictor.card.network
    present = torch.ones(1, 4, *valid.shape)
    present[:, 3] = 0
    x = config.prepare(torch.from_numpy(lr)[None], present)  # whatever stands there
    with torch.inference_mode():
        each = settling.probabilities(predictor.network, x, predictor.halo_px)
    torch.testing.assert_close(made, each[:, 0], rtol=0, atol=1e-5)
    assert not torch.allclose(made, tiny.probability(predictor, lr[None], valid[None]))
