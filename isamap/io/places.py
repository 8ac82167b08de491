"""Which administrative unit, and which reach of the Yangtze, a point lies in."""

import shapely

from isamap.domain.lonlat import LONLAT, into_crs
from isamap.domain.reaches import reach_of
from isamap.io.vector import load_gazetteer
from isamap.io.zones import LEVELS, open_units, source_of


class Places:
    """Units by position.

    Args:
        text: prefectures or provinces of the packaged region, a vector file (FILE[:LAYER][:COLUMN]); None: no units.
    """

    def __init__(self, text: str | None) -> None:
        provinces = [region for region in load_gazetteer().regions() if region.kind == "province"]
        self._reaches = shapely.STRtree([region.geometry for region in provinces])
        self._names = [reach_of(region.name) for region in provinces]
        shapes: list[shapely.Geometry] = []
        self._units: list[str] = []
        if text in LEVELS:
            regions = [one for one in load_gazetteer().regions() if one.kind == LEVELS[str(text)]]
            shapes, self._units = [one.geometry for one in regions], [one.name for one in regions]
        elif text is not None:
            shapes, self._units = self._of_file(text)
        self._tree = shapely.STRtree(shapes)

    @staticmethod
    def _of_file(text: str) -> tuple[list[shapely.Geometry], list[str]]:
        """Outlines of a vector file in longitude and latitude, and their names."""
        source = source_of(text)
        units = open_units(str(source.path), source.column, source.layer)
        outlines = units.outlines()
        return into_crs(outlines.values(), units.polygons.crs, LONLAT), list(outlines)

    def find(self, lon: float, lat: float, otherwise: str) -> tuple[str, str]:
        """Unit and reach of a point; `otherwise` where no unit is, '' for no reach."""
        point = shapely.Point(lon, lat)
        units, reaches = (tree.query(point, predicate="within") for tree in (self._tree, self._reaches))
        unit = self._units[int(units[0])] if len(units) else otherwise
        return unit, self._names[int(reaches[0])] if len(reaches) else ""
