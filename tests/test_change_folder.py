"""What is taken away of earlier change products: their own files, and nothing else."""

import json

import pytest

from isamap.io.change_folder import withdraw
from isamap.io.store import Target, publish

NAMES = ["t.change.tif", "t.first-year.tif"]


def write(folder):
    with publish(Target(folder, "t"), NAMES) as publication:
        for name in NAMES:
            publication.path(name).write_bytes(b"x")
        assets = {name[2:-4]: {"href": f"./{name}"} for name in NAMES}
        publication.commit({"properties": {"isamap:tally": {}}, "assets": assets})
    return Target(folder, "t")


def test_a_product_is_withdrawn_with_its_rasters(tmp_path):
    assert withdraw(write(tmp_path))
    assert list(tmp_path.iterdir()) == []
    assert not withdraw(Target(tmp_path, "t"))


def test_what_somebody_has_put_beside_stays(tmp_path):
    target = write(tmp_path)
    (tmp_path / "t.labels.tif").write_bytes(b"mine")
    item = json.loads(target.item_path.read_text())
    for asset in ({"href": "./t.labels.tif"}, "./t.labels.tif", None):
        item["assets"]["labels"] = asset
        target.item_path.write_text(json.dumps(item))
        assert withdraw(target)
        assert [path.name for path in tmp_path.iterdir()] == ["t.labels.tif"]
        write(tmp_path)


@pytest.mark.parametrize("properties", [{}, {"isamap:tiles": 1}, None])
def test_the_item_of_somebody_else_stays(tmp_path, properties):
    target = write(tmp_path)
    item = json.loads(target.item_path.read_text())
    target.item_path.write_text(json.dumps({**item, "properties": properties}))
    assert not withdraw(target)
    assert len(list(tmp_path.iterdir())) == 3
