"""The STAC item of a model (STAC 1.1, Machine Learning Model extension 1.5), made from its card.

Where a model was trained is the item's footprint; a model that does not know has none.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import shapely

from isamap import digests
from isamap.domain.bands import BANDS
from isamap.domain.classes import SCHEMES
from isamap.domain.lonlat import bbox_of
from isamap.domain.product import FIRST_ACQUISITION

MLM = "https://stac-extensions.github.io/mlm/v1.5.0/schema.json"
FILE = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
CLASSIFICATION = "https://stac-extensions.github.io/classification/v2.0.0/schema.json"

Box = Sequence[float]
"""West, south, east, north in degrees."""


def model_item(card: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """STAC item of a model.

    Args:
        card: of the model, as JSON.
        facts: what the card does not say: `href` and `size` in bytes of the weights, `parameters`, `halo_px`,
            `made` (time of the weights, RFC 3339).
    """
    boxes = [list(map(float, box)) for box in card["training"].get("footprint") or []]
    bbox = bbox_of(shapely.box(*box) for box in boxes) if boxes else []
    item: dict[str, Any] = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [MLM, FILE, CLASSIFICATION],
        "id": f"{card['name']}-{card['version']}",
        "geometry": {"type": "MultiPolygon", "coordinates": [_ring(box) for box in boxes]} if boxes else None,
        "properties": _properties(card, facts),
        "links": [],
        "assets": {"weights": _weights(card, facts)},
    }
    return item | ({"bbox": bbox} if bbox else {})


def _ring(box: Box) -> list[list[list[float]]]:
    """A box as the coordinates of a polygon, anticlockwise."""
    west, south, east, north = box
    return [[[west, south], [east, south], [east, north], [west, north], [west, south]]]


def _properties(card: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    network, training = card["network"], card["training"]
    made = str(facts["made"])
    return {
        "title": f"isamap {card['name']} {card['version']}",
        "description": card["description"],
        "license": card["licence"],
        "attribution": list(card["attribution"]),
        "datetime": made,
        "start_datetime": FIRST_ACQUISITION,
        "end_datetime": made,
        "bands": [_band(name) for name in network["bands"]],
        "mlm:name": f"isamap {card['name']}",
        "mlm:architecture": network["name"],
        "mlm:tasks": ["semantic-segmentation"],
        "mlm:framework": "PyTorch",
        **({"mlm:framework_version": training["torch"]} if "torch" in training else {}),
        "mlm:total_parameters": int(facts["parameters"]),
        "mlm:memory_size": 4 * int(facts["parameters"]),
        "mlm:pretrained": True,
        "mlm:accelerator": None,
        "mlm:input": [_input(network, int(facts["halo_px"]))],
        "mlm:output": [_output(network)],
        "mlm:hyperparameters": {"threshold": card["threshold"], **_plain(network)},
        **({"isamap:levels": list(card["levels"])} if card.get("levels") else {}),
        **({"isamap:calibration": dict(card["calibration"])} if card.get("calibration") else {}),
        "isamap:training": dict(training),
        "isamap:metrics": dict(card["metrics"]),
    }


def _plain(network: Mapping[str, Any]) -> dict[str, Any]:
    """Shape of the network, without what stands elsewhere in the item."""
    return {key: value for key, value in network.items() if key not in {"name", "bands", "mean", "std"}}


def _band(name: str) -> dict[str, Any]:
    known = BANDS.get(name)
    if known is None:
        return {"name": name}
    return {"name": name, "eo:common_name": known.common_name, "eo:center_wavelength": known.wavelength_um}


def _input(network: Mapping[str, Any], halo_px: int) -> dict[str, Any]:
    scaling = [
        {"type": "z-score", "mean": mean, "stddev": std}
        for mean, std in zip(network["mean"], network["std"], strict=True)
    ]
    gsd_m, optional = network.get("gsd_m", 10.0), network.get("optional") or []
    words = f"Surface or top-of-atmosphere reflectance 0-1 on a grid of {gsd_m:g} m; a halo of {halo_px} pixels is lost."
    words += f" {', '.join(optional)} may be missing." if optional else ""
    return {
        "name": "reflectance",
        "description": words,
        "bands": list(network["bands"]),
        "input": {
            "shape": [-1, len(network["bands"]), -1, -1],
            "dim_order": ["batch", "bands", "height", "width"],
            "data_type": "float32",
        },
        "value_scaling": scaling,
        "resize_type": None,
        "pre_processing_function": {"format": "python", "expression": "numpy.arcsinh"},
    }


def _output(network: Mapping[str, Any]) -> dict[str, Any]:
    scheme = SCHEMES[network.get("classes", "isa")]
    return {
        "name": "classes",
        "tasks": ["semantic-segmentation"],
        "result": {"shape": [-1, -1, -1], "dim_order": ["batch", "height", "width"], "data_type": "uint8"},
        "classification:classes": [
            {
                "value": one.code,
                "name": one.name.replace(" ", "-"),
                "description": one.name,
                "color_hint": "{:02X}{:02X}{:02X}".format(*one.colour),
            }
            for one in scheme.classes
        ],
    }


def _weights(card: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "href": facts["href"],
        "title": "Weights, bfloat16",
        "type": "application/octet-stream; application=safetensors",
        "roles": ["mlm:model", "mlm:weights"],
        "mlm:artifact_type": "safetensors.torch.save_file",
        "file:size": int(facts["size"]),
        "file:checksum": digests.SHA256 + str(card["weights_sha256"]),
    }


def stamp(seconds: float) -> str:
    """A time of the file system as RFC 3339."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
