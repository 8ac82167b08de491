import hashlib
import json
import os
import pickle
import struct

import pytest
import safetensors.torch
import torch

from isamap.errors import MissingInputError, ModelError
from isamap.model.checkpoint import PACKAGED, find, load, load_card, pack
from isamap.model.networks import NetworkConfig, build

CARD = {
    "name": "small",
    "version": "1",
    "description": "for tests",
    "network": {"name": "fast", "channels": 8, "blocks": 1},
    "threshold": 0.5,
    "licence": "Apache-2.0",
    "attribution": ("nobody",),
    "training": {},
    "metrics": {},
}


@pytest.fixture(scope="module")
def weights():
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return build(NetworkConfig(**CARD["network"])).state_dict()


@pytest.fixture
def model(tmp_path, weights):
    """A good model on disk."""
    document, card = pack(weights, CARD)
    path = tmp_path / "small.safetensors"
    path.write_bytes(document)
    path.with_suffix(".json").write_bytes(card)
    return path


def rewrite(model, document, **card):
    """Another document, with a card that names its digest."""
    model.write_bytes(document)
    text = json.loads(model.with_suffix(".json").read_text())
    text |= {"weights_sha256": hashlib.sha256(document).hexdigest()} | card
    model.with_suffix(".json").write_text(json.dumps(text))


def safetensors_document(header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def test_a_model_comes_back_as_it_was_packed(model, weights):
    card, network = load(model)
    assert card.name == "small"
    assert card.network.channels == 8
    assert not network.training
    for name, tensor in network.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, weights[name].bfloat16().float())


def test_packing_twice_gives_the_same_bytes(weights):
    assert pack(weights, CARD) == pack(dict(reversed(weights.items())), CARD)


class Evil:
    def __reduce__(self):
        return os.system, (f"touch {Evil.canary}",)


def torch_pickle(path, evil):
    torch.save(evil, path)


def plain_pickle(path, evil):
    path.write_bytes(pickle.dumps(evil))


@pytest.mark.parametrize("write", [torch_pickle, plain_pickle])
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".safetensors", ".SAFETENSORS"])
def test_a_pickle_is_refused_under_any_name_and_never_run(model, monkeypatch, write, suffix):
    canary = model.parent / "canary"
    monkeypatch.setattr(Evil, "canary", canary, raising=False)
    path = model.with_suffix(suffix)
    write(path, Evil())
    if suffix == ".safetensors":
        rewrite(model, path.read_bytes())
    with pytest.raises(ModelError) as caught:
        load(find(str(path)))
    assert caught.value.exit_code == 70
    assert not canary.exists()


def _overlapping(good):
    header = {n: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for n in ("a", "b")}
    return safetensors_document(header, bytes(8))


def _beyond_the_end(good):
    return safetensors_document({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}, bytes(8))


def _negative(good):
    return safetensors_document({"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}, bytes(8))


def _huge_shape(good):
    shape = [2**40, 2**40]
    return safetensors_document({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, 8]}}, bytes(8))


def _duplicate_key(good):
    entry = b'"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
    return safetensors_document(b"{" + entry + b"," + entry + b"}", bytes(8))


EVIL_DOCUMENTS = {
    "empty": lambda good: b"",
    "eight bytes": lambda good: bytes(8),
    "header of 8 GB": lambda good: struct.pack("<Q", 8 << 30) + good[8:],
    "header of 2**64 - 1": lambda good: b"\xff" * 8 + good[8:],
    "no JSON": lambda good: safetensors_document(b"{" * 50),
    "deep JSON": lambda good: safetensors_document(b'{"a":' + b"[" * 100_000),
    "header is a list": lambda good: safetensors_document([1, 2]),
    "unknown dtype": lambda good: good.replace(b"BF16", b"BF61"),
    "overlapping": _overlapping,
    "beyond the end": _beyond_the_end,
    "negative": _negative,
    "huge shape": _huge_shape,
    "duplicate key": _duplicate_key,
    "html": lambda good: b"<!DOCTYPE html><title>Login</title>" * 40,
    "bytes appended": lambda good: good + b"\0" * 16,
} | {f"cut at {share:.0%}": lambda good, s=share: good[: int(len(good) * s)] for share in (0.001, 0.3, 0.99)}


@pytest.mark.parametrize("name", EVIL_DOCUMENTS)
def test_a_damaged_document_is_a_model_error(model, name):
    rewrite(model, EVIL_DOCUMENTS[name](model.read_bytes()))
    with pytest.raises(ModelError, match=r"small\.safetensors does not fit its card") as caught:
        load(model)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


EVIL_TENSORS = {
    "a tensor too many": lambda w: w | {"extra": torch.zeros(3)},
    "a tensor missing": lambda w: {k: v for k, v in w.items() if k != "isa.bias"},
    "no tensor": lambda w: {},
    "wrong shape": lambda w: w | {"isa.bias": torch.zeros(7)},
    "other width": lambda w: build(NetworkConfig(name="fast", channels=16, blocks=1)).state_dict(),
    "other depth": lambda w: build(NetworkConfig(name="fast", channels=8, blocks=2)).state_dict(),
    "other class": lambda w: build(NetworkConfig(name="bilinear", channels=8)).state_dict(),
    "other scale": lambda w: build(NetworkConfig(name="fast", channels=8, blocks=1, scale=8)).state_dict(),
    "NaN": lambda w: w | {"isa.bias": torch.tensor([float("nan")])},
    "infinity": lambda w: w | {"isa.bias": torch.tensor([float("inf")])},
}


@pytest.mark.parametrize("name", EVIL_TENSORS)
def test_weights_that_do_not_fit_their_card_are_a_model_error(model, weights, name):
    made = {k: v.clone() for k, v in EVIL_TENSORS[name](weights).items()}
    rewrite(model, safetensors.torch.save(made))
    with pytest.raises(
        ModelError, match=r"small\.safetensors (does not fit its card|holds weights)"
    ) as caught:
        load(model)
    assert "\n" not in str(caught.value)


def test_the_first_tensor_that_does_not_fit_is_named(model, weights):
    rewrite(model, safetensors.torch.save(weights | {"isa.bias": torch.zeros(7)}))
    with pytest.raises(ModelError) as caught:
        load(model)
    own = weights["isa.bias"].shape[0]
    assert str(caught.value).endswith(f"'isa.bias' is 7, in the card's network {own}")


def test_a_flipped_byte_is_found_by_the_digest(model):
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    with pytest.raises(ModelError, match="not the file its card describes"):
        load(model)


def test_the_card_of_another_file_is_refused(model, weights):
    other = {name: tensor + 1 for name, tensor in weights.items()}
    model.with_suffix(".json").write_bytes(pack(other, CARD)[1])
    with pytest.raises(ModelError, match="not the file its card describes"):
        load(model)


def test_a_model_without_its_card_is_missing_input(model):
    model.with_suffix(".json").unlink()
    with pytest.raises(MissingInputError, match=r"small\.json is missing") as caught:
        load(model)
    assert caught.value.exit_code == 66


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"thresold": 0.4}, "unknown key thresold: did you mean threshold"),
        ({"threshold": "high"}, "threshold: "),
        ({"network": {"name": "fast", "chanels": 8}}, "unknown key network.chanels: did you mean channels"),
        ({"network": {"name": "resnet"}}, "no network 'resnet'"),
        ({"network": {"name": "fast", "channels": 10**9}}, "network.channels"),
        ({"network": {"name": "fast", "blocks": 10**9}}, "network.blocks"),
        ({"network": {"name": "fast", "bands": ["B02"]}}, "bands need as many"),
        ({"weights_sha256": None}, "weights_sha256"),
        ({"threshold": 0}, "threshold: "),
        ({"threshold": 1}, "threshold: "),
        ({"threshold": float("nan")}, "threshold: "),
        ({"network": {"name": "fast", "std": [0.1, 0.1, 0, 0.1]}}, "network.std.2: "),
        ({"network": {"name": "fast", "std": [0.1, -0.1, 0.1, 0.1]}}, "network.std.1: "),
        ({"network": {"name": "fast", "std": [0.1, 0.1, 0.1, float("inf")]}}, "network.std.3: "),
        ({"network": {"name": "fast", "mean": [float("nan"), 0.1, 0.1, 0.1]}}, "network.mean.0: "),
        ({"network": {"name": "fast", "bands": ["B02", "B03", "B02", "B08"]}}, "bands names B02 twice"),
    ],
)
def test_a_wrong_card_names_the_fault(model, changes, message):
    rewrite(model, model.read_bytes(), **changes)
    with pytest.raises(ModelError, match=r"small\.json is not a model card: ") as caught:
        load(model)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe{}", b"[" * 100_000, b"{}"])
def test_what_is_no_card_is_a_model_error(model, content):
    model.with_suffix(".json").write_bytes(content)
    with pytest.raises(ModelError, match=r"small\.json is not a model card"):
        load_card(model)


def test_weights_of_an_absurd_size_are_refused_unread(model, monkeypatch):
    with model.open("r+b") as file:
        file.truncate((2 << 30) + 1)  # sparse
    with pytest.raises(ModelError, match="larger than"):
        load(model)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(MissingInputError, match=r"no model fsat: give the path of a \.safetensors file"):
        find("fsat")


def test_every_packaged_model_loads():
    for path in PACKAGED.glob("*.safetensors"):
        card, network = load(find(path.stem))
        assert card.network.name == path.stem
        assert network.config == card.network
