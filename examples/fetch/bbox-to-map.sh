#!/bin/sh
# From a box on the ground to a map of impervious surface and its accuracy: four commands.
#
#     sh examples/fetch/bbox-to-map.sh [XMIN,YMIN,XMAX,YMAX [YEAR]]
#
# The box (longitude and latitude) that stands here is a town west of Chongqing, one tile of 10.24 km. Scenes come from
# Earth Search (no account), the product to compare with is ESA WorldCover. The first run reads some 1 GB over the
# network; what is finished is skipped the next time.
#
# Other sources and places go into the environment, as for every option of isamap:
#
#     ISAMAP_SOURCE=planetary-computer     another known catalogue, the address of a STAC API, or a folder of scenes
#     ISAMAP_WORKSPACE=/data/isamap        where all files go (./isamap-data)
#     ISAMAP_MONTHS=4-10                   months whose scenes count
#     WORLDCOVER=/data/{ll}.tif            another place of WorldCover; {ll} is the name of a sheet
set -eu

bbox=${1:-106.32,29.36,106.36,29.40}
year=${2:-2021}
workspace=${ISAMAP_WORKSPACE:-isamap-data}

# 1. What it will cost: tiles, scenes, GB, hours. Nothing is read yet.
isamap fetch --bbox "$bbox" --year "$year" --dry-run

# 2. One cloud-free composite per tile, with its STAC item: scenes used and dropped, offset, clear looks.
isamap fetch --bbox "$bbox" --year "$year"

# 3. The map at 1 m. (Without step 2, infer makes the composites itself, in memory.)
isamap infer --bbox "$bbox" --year "$year"

# 4. How far it agrees with a product of 10 m: the same tiles of WorldCover, then the tables.
isamap fetch --bbox "$bbox" --product worldcover-v200 ${WORLDCOVER:+--product-url "$WORLDCOVER"}
isamap evaluate --bbox "$bbox" --year "$year" \
    --reference "worldcover-v200=$workspace/references/worldcover-v200" -o "$workspace/reports/worldcover-$year"

echo "Composites: $workspace/composites/$year"
echo "Maps:       $workspace/maps/fast/$year"
echo "Report:     $workspace/reports/worldcover-$year"
