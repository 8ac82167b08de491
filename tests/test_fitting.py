"""What a model is told about the place it maps: near its training ground, far from it, or nothing known."""

import logging

import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from test_predict import CARD

from isamap.model import fitting
from isamap.model.checkpoint import Card
from isamap.model.fitting import far_from_training, warn_if_far

PLACE = GeoBox((100, 100), Affine(10, 0, 500_000, 0, -10, 3_320_000), "EPSG:32648")
"""Near 105.0 E, 30.0 N."""


def card(*boxes):
    return Card.model_validate(CARD | {"weights_sha256": "0" * 64, "training": {"footprint": boxes}})


@pytest.mark.parametrize(
    ("boxes", "far"),
    [
        ((), None),
        (((104.9, 29.9, 105.1, 30.1),), None),
        (((104.0, 29.0, 104.6, 29.7),), None),
        (((55.0, 25.0, 55.3, 25.2),), 49.7),
        (((55.0, 25.0, 55.3, 25.2), (105.2, 30.1, 105.3, 30.2)), None),
        (((104.9, 40.0, 105.1, 41.0),), 10.0),
    ],
)
def test_the_distance_to_training_ground_is_told_where_it_is_far(boxes, far):
    found = far_from_training(card(*boxes), PLACE)
    assert found == (None if far is None else pytest.approx(111 * far, abs=11))


DATE_LINE = GeoBox((11_000, 11_000), Affine(10, 0, 560_000, 0, -10, 7_900_000), "EPSG:32660")
"""178.6 E to 178.5 W, 70.2 to 71.2 N."""


@pytest.mark.parametrize(
    ("box", "far"),
    [
        ((-179.9, 70.2, -179.5, 71.0), None),
        ((179.0, 70.2, 179.5, 71.0), None),
        ((-170.0, 70.2, -169.0, 71.0), 8.5),
        ((160.0, 70.2, 161.0, 71.0), 17.6),
        ((0.0, 70.2, 1.0, 71.0), 177.6),
    ],
)
def test_the_distance_is_the_shorter_way_round_at_180_degrees(box, far):
    found = far_from_training(card(box), DATE_LINE)
    assert found == (None if far is None else pytest.approx(111 * far, abs=30))


def test_far_ground_is_warned_of_once_for_each_model_and_near_ground_is_not(caplog, monkeypatch):
    monkeypatch.setattr(fitting, "_SAID", set())
    caplog.set_level(logging.WARNING)
    warn_if_far(card((104.9, 29.9, 105.1, 30.1)), PLACE, "here")
    assert not caplog.records
    far = card((55.0, 25.0, 55.3, 25.2))
    warn_if_far(far, PLACE, "scene")
    assert "scene lies 5517 km from the nearest ground small was trained on" in caplog.text
    warn_if_far(far, PLACE, "the next tile")
    assert len(caplog.records) == 1
    warn_if_far(far.model_copy(update={"weights_sha256": "1" * 64}), PLACE, "again")
    assert len(caplog.records) == 2
