"""A tile's work without its pixels: everything of `isamap infer` but the forward pass and the COG.

Importing this module puts `publish_nothing` in the place of what writes a map, in whatever process it is imported:
a worker imports it because `map_job` lives here.
"""

from isamap.core import mapping
from isamap.core.map_job import Mapped
from isamap.core.mapping import Mapper, published
from isamap.domain import product
from isamap.domain.grid import Tile
from isamap.io import store

CONTENT = b"no pixels\n"


def publish_nothing(self, job, scene, provenance, origin):
    """A map of ten bytes, published with its item as a real one is."""
    with store.publish(job.target, [f"{job.target.stem}.tif"]) as publication:
        publication.path(f"{job.target.stem}.tif").write_bytes(CONTENT)
        properties = {**origin, "isamap:provenance": provenance, "isamap:isa_share": 0.5}
        geobox = Tile.parse(job.name).geobox(1)
        item = product.map_item(job.name, geobox, job.span, self.options.layers, properties)
        del item["assets"]["preview"]
        publication.commit(item)
    return Mapped("mapped", published(job, self.options), 0.5)


Mapper._publish = publish_nothing


def map_job(options, job):
    """One tile: input opened and digested, old map compared, new one published."""
    return mapping.map_job(options, job)
