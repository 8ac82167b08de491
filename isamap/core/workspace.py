"""What lies in a workspace."""

from collections.abc import Sequence
from pathlib import Path

from isamap.domain import product
from isamap.domain.grid import Tile
from isamap.errors import MissingInputError
from isamap.io import store


def finished_maps(workspace: Path, model: str, year: int, tiles: Sequence[Tile]) -> tuple[Path, ...]:
    """Class rasters of the tiles that are mapped, with an item beside each.

    Raises:
        MissingInputError: not one is.
    """
    directory = product.map_directory(workspace, model, year)
    targets = [store.Target(directory, str(tile)) for tile in tiles]
    found = [target.directory / f"{target.stem}.tif" for target in targets if target.item_path.is_file()]
    if not found:
        raise MissingInputError(
            f"{directory} holds no map of these {len(tiles)} tiles: run isamap infer first"
        )
    return tuple(found)
