"""Files: guarded raster reads, COG writing, atomic publication. The only user of rasterio."""
