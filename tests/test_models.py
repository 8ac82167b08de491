"""The registry of models, their STAC items, and models as programs of their own."""

import io
import json

import numpy as np
import pytest
import torch
from click import UsageError
from click.testing import CliRunner
from tiny import write_model

from isamap.cli import cli
from isamap.core import models as recipe
from isamap.core.map_job import Options
from isamap.domain.bands import MAX_REFLECTANCE
from isamap.domain.calibration import Calibration
from isamap.errors import ConfigError, InputError, MissingInputError, ModelError
from isamap.model import settling
from isamap.model.checkpoint import PACKAGED, find, load, pack
from isamap.model.export import Deployed, example, export
from isamap.model.networks import MODELS, NetworkConfig, build
from isamap.model.predict import Predictor
from isamap.model.trial import try_out

SMALL = {"channels": 8, "blocks": 1, "growth": 2, "mid": 8, "mid_blocks": 1, "fine": 4, "attention_px": 1}


@pytest.fixture(autouse=True)
def registry(tmp_path, monkeypatch):
    monkeypatch.setenv("ISAMAP_MODELS", str(tmp_path / "registry"))
    return tmp_path / "registry"


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Tiny networks lose more than they win by a second thread, above all on a busy machine."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


@pytest.fixture
def weights(tmp_path):
    return write_model(tmp_path / "made", "mine")


def said(*arguments):
    done = CliRunner().invoke(cli, ["models", *map(str, arguments)], standalone_mode=False, obj={})
    if done.exception is not None:
        raise done.exception
    return done.stdout


def test_alone_it_lists_and_a_name_shows_the_card(registry):
    assert said() == said("list")
    assert [line.split()[0] for line in said().splitlines()] == ["bilinear", "fast"]
    assert json.loads(said("fast")) == json.loads(said("show", "fast"))
    assert [card["name"] for card in json.loads(said("--json"))["models"]] == ["bilinear", "fast"]
    assert json.loads(said("show", "fast", "--json"))["models"][0]["name"] == "fast"


def test_a_model_that_was_added_is_known_by_its_name(weights, registry):
    path = said("add", weights).strip()
    assert path == str(registry / "mine.safetensors")
    assert find("mine") == registry / "mine.safetensors"
    assert "(registered)" in said().splitlines()[-1]
    assert load(find("mine"))[0].name == "mine"


def test_without_a_home_packaged_models_work_and_none_can_be_added(weights, monkeypatch):
    for name in ("ISAMAP_MODELS", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert [line.split()[0] for line in said().splitlines()] == ["bilinear", "fast"]
    assert find("fast").parent == PACKAGED
    with pytest.raises(ConfigError, match="no home directory to keep models in: set ISAMAP_MODELS"):
        said("add", weights)


def test_a_model_may_be_given_another_name(weights, registry):
    recipe.add(weights, "harbour-1")
    assert json.loads(said("harbour-1"))["name"] == "harbour-1"
    with pytest.raises(ConfigError, match="registered already"):
        recipe.add(weights, "harbour-1")
    recipe.add(weights, "harbour-1", overwrite=True)


@pytest.mark.parametrize("name", ["../evil", "a b", "", ".hidden", "Fast", "x" * 65, "a/b"])
def test_a_name_that_would_leave_the_registry_is_refused(weights, name):
    with pytest.raises(ConfigError, match="cannot be a name"):
        recipe.add(weights, name or " ")


def test_a_packaged_name_cannot_be_taken_nor_shadowed(weights, registry):
    with pytest.raises(ConfigError, match="packaged"):
        recipe.add(weights, "fast")
    registry.mkdir()
    (registry / "fast.safetensors").write_bytes(weights.read_bytes())
    assert find("fast") == PACKAGED / "fast.safetensors"


def test_damaged_weights_are_not_kept(weights, registry):
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ModelError, match="not the file its card describes"):
        recipe.add(weights)
    assert not list(registry.glob("*.safetensors"))


def write_blown_up(folder):
    """A model of finite weights whose outputs are not: sums of its products overflow."""
    path = write_model(folder, "blown")
    card, made = load(path)
    for parameter in made.parameters():
        parameter.data = torch.where(parameter > 0, 3e38, -3e38)
    written, text = pack(made.state_dict(), card.model_dump(mode="json"))
    path.write_bytes(written)
    path.with_suffix(".json").write_bytes(text)
    return path


def test_weights_that_give_no_number_are_neither_kept_nor_mapped_with(tmp_path, registry):
    path = write_blown_up(tmp_path / "made")
    load(path)
    with pytest.raises(ModelError, match=r"blown\.safetensors gives no finite number"):
        recipe.add(path)
    assert not list(registry.glob("*.safetensors"))
    with pytest.raises(ModelError, match="gives no finite number"):
        Predictor(path, "cpu")


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_network_passes_its_trial(name, dtype):
    try_out(network(name).to(dtype, memory_format=torch.channels_last), PACKAGED)


def test_a_broken_card_hides_no_other_model(weights, registry, caplog):
    recipe.add(weights, "mine")
    recipe.add(weights, "other")
    (registry / "mine.json").write_text("{}")
    (registry / "lost.safetensors").touch()
    assert [entry.name for entry in recipe.entries()] == ["bilinear", "fast", "other"]
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "lost is left out",
        "mine is left out",
    ]
    with pytest.raises(ModelError, match="is not a model card"):
        said("mine")


def test_json_may_be_said_before_the_command(weights):
    assert said("--json", "list") == said("list", "--json")
    assert said("--json", "show", "fast") == said("show", "fast", "--json") == said("--json", "fast")
    with pytest.raises(UsageError, match="--json goes with list and show"):
        said("--json", "add", weights)


def test_a_pickle_is_not_kept(tmp_path):
    path = tmp_path / "evil.pt"
    path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(ModelError, match="pickles can run code"):
        said("add", path)


def test_an_unknown_model_lists_packaged_and_registered_ones(weights):
    recipe.add(weights)
    with pytest.raises(MissingInputError, match="one of bilinear, fast, mine"):
        said("none")


def test_a_registered_model_maps(weights):
    recipe.add(weights, "mine")
    assert Options(model="mine").model == "mine"
    assert find("mine").is_file()


def test_the_stac_item_says_what_the_model_eats_gives_and_where_it_was_trained(weights):
    card = json.loads(weights.with_suffix(".json").read_text())
    card["training"] = {"footprint": [[106.1, 29.5, 106.2, 29.6], [55.0, 25.0, 55.2, 25.1]], "torch": "2.6.0"}
    weights.with_suffix(".json").write_text(json.dumps(card))
    item = json.loads(said("show", weights, "--stac"))
    assert item["stac_version"] == "1.1.0"
    assert item["bbox"] == [55.0, 25.0, 106.2, 29.6]
    assert [polygon[0][0] for polygon in item["geometry"]["coordinates"]] == [[106.1, 29.5], [55.0, 25.0]]
    properties = item["properties"]
    assert properties["mlm:architecture"] == "fast"
    assert properties["mlm:input"][0]["bands"] == ["B02", "B03", "B04", "B08"]
    assert len(properties["mlm:input"][0]["value_scaling"]) == 4
    assert [c["value"] for c in properties["mlm:output"][0]["classification:classes"]] == [0, 1]
    assert properties["bands"][0]["eo:common_name"] == "blue"
    asset = item["assets"]["weights"]
    assert asset["mlm:artifact_type"] == "safetensors.torch.save_file"
    assert asset["file:checksum"] == "1220" + card["weights_sha256"]
    assert asset["file:size"] == weights.stat().st_size


def test_a_model_that_does_not_know_where_it_was_trained_has_no_footprint(weights):
    item = recipe.item(str(weights))
    assert item["geometry"] is None
    assert "bbox" not in item
    assert item["properties"]["mlm:total_parameters"] == sum(p.numel() for p in load(weights)[1].parameters())


def network(name, **changes):
    with torch.random.fork_rng():
        torch.manual_seed(4)
        made = build(NetworkConfig(name=name, **(SMALL | changes))).eval()
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    return made


def scene(made, window_px, count=3):
    reflectance, present = (part[:1].repeat(count, 1, 1, 1) for part in example(made, window_px))
    torch.manual_seed(6)
    reflectance = torch.rand_like(reflectance) * 0.4
    present[0, :, :5] = 0
    present[-1, 3] = 0
    return reflectance, present


@pytest.mark.parametrize("name", MODELS)
def test_the_program_computes_what_predictions_are_made_of(name):
    made = network(name)
    reflectance, present = scene(made, 8)
    halo = settling.halo_of(made)
    present[1, 1, halo, halo] = 0
    reflectance[1, :, halo + 2, halo] = 7.0
    shown = reflectance.clone()
    shown[present == 0] = torch.nan
    seen = present.amin(dim=1, keepdim=True).expand_as(present)
    with torch.inference_mode():
        deployed = Deployed(made)(shown, present)
        x = made.config.prepare(reflectance.clamp(max=MAX_REFLECTANCE), seen)
        expected = settling.probabilities(made, x, halo)
    expected = expected.clone()
    expected[1, :, :10, :10] = torch.nan
    expected[-1] = torch.nan
    torch.testing.assert_close(deployed, expected, rtol=0, atol=1e-5, equal_nan=True)
    assert deployed.shape == (3, 1, 80, 80)


def test_a_program_can_do_without_optional_bands():
    made = network("fast", optional=("B08",))
    reflectance, present = scene(made, 8)
    with torch.inference_mode():
        deployed = Deployed(made)(reflectance, present)
        expected = settling.probabilities(
            made, made.config.prepare(reflectance, present), settling.halo_of(made)
        )
    assert bool((present[-1, 3] == 0).all())
    torch.testing.assert_close(deployed, expected, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["torch", "onnx"])
def test_a_program_of_a_calibrated_model_gives_calibrated_probability(kind, recwarn):
    numbers, made = Calibration(0.7, -0.4), network("fast")
    reflectance, present = scene(made, 8, count=1)
    document = export(made, kind, 8, numbers)
    if kind == "torch":
        program = torch.export.load(io.BytesIO(document)).module()
        found = program(reflectance, present).detach().numpy()
    else:
        reference = pytest.importorskip("onnx.reference")
        run = reference.ReferenceEvaluator(pytest.importorskip("onnx").load_model_from_string(document))
        found = run.run(None, {"reflectance": reflectance.numpy(), "present": present.numpy()})[0]
    with torch.inference_mode():
        raw = Deployed(made)(reflectance, present).numpy().astype(np.float64)
    expected = 1 / (1 + np.exp(-(0.7 * np.log(raw / (1 - raw)) - 0.4)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "classes"), [("fast", "isa"), ("bilinear", "isa"), ("staged", "isa"), ("joint", "fbp24")]
)
def test_a_torch_program_gives_the_same_numbers_for_any_batch(name, classes):
    made = network(name, classes=classes)
    reflectance, present = scene(made, 8)
    with torch.inference_mode():
        expected = Deployed(made)(reflectance, present)
    program = torch.export.load(io.BytesIO(export(made, "torch", 8))).module()
    torch.testing.assert_close(program(reflectance, present), expected, rtol=0, atol=1e-6, equal_nan=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fast", "joint"])
def test_an_onnx_program_gives_the_same_numbers(name, recwarn):
    onnx = pytest.importorskip("onnx")
    reference = pytest.importorskip("onnx.reference")
    made = network(name)
    reflectance, present = scene(made, 8, count=1)
    document = export(made, "onnx", 8, facts={"halo_px": 4})
    model = onnx.load_model_from_string(document)
    assert {one.key: one.value for one in model.metadata_props} == {"isamap": '{"halo_px": 4}'}
    onnx.checker.check_model(model)
    run = reference.ReferenceEvaluator(model)
    found = run.run(None, {"reflectance": reflectance.numpy(), "present": present.numpy()})[0]
    with torch.inference_mode():
        expected = Deployed(made)(reflectance, present).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_an_export_says_what_its_user_must_know(weights, tmp_path):
    out = tmp_path / "mine.pt2"
    made = json.loads(said("export", weights, "--format", "torch", "-o", out, "--export-window", 16))
    assert out.stat().st_size > 1000
    halo = made["halo_px"]
    assert made["inputs"]["reflectance"] == [-1, 4, 16 + 2 * halo, 16 + 2 * halo]
    assert made["output"] == [-1, 1, 160, 160]
    extra = {"isamap": ""}
    torch.export.load(out, extra_files=extra)
    assert json.loads(extra["isamap"]) == {k: v for k, v in made.items() if k not in ("path", "format")}
    with pytest.raises(InputError, match="--export-window 12: must be a multiple of 8"):
        recipe.export(str(weights), "torch", out, 12)


def test_onnx_without_its_libraries_names_the_extra(monkeypatch):
    import builtins

    real = builtins.__import__

    def without(name, *rest, **more):
        if name == "onnxscript":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"isamap\[export\]"):
        export(network("fast"), "onnx", 8)
