"""What isamap knows of regions, grids, bands and products: pure functions, no files, no clock."""
