#!/usr/bin/env bash
#SBATCH --job-name=isamap
#SBATCH --array=1-8
#SBATCH --nodes=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@60
#SBATCH --output=isamap-%A-%a.log
#SBATCH --open-mode=append
#
# Map an area with the tasks of a Slurm array: each does every eighth tile.
#
#   sbatch examples/cluster/slurm-array.sh --region yreb/CN032070 --year 2021 --workspace /data/isamap
#
# The workspace lies on a file system that all nodes share and whose flock they all see (NFS 4; Lustre mounted with
# -o flock). Tasks may start, end and be requeued in any order; finished maps are skipped. Slurm sends SIGTERM a minute
# before the time is over: the run cleans up, and the same sbatch goes on where it ended. To submit some tasks again,
# say how many shards there are in all: sbatch --array=3,5 --export=ALL,SHARDS=8 ...
set -eu

: "${SLURM_ARRAY_TASK_ID:?submit this with sbatch}"
memory=()
if [ -n "${SLURM_MEM_PER_NODE:-}" ]; then
    memory=(--memory "${SLURM_MEM_PER_NODE}M") # Slurm counts in MB
fi

exec isamap infer "$@" \
    --shard "${SLURM_ARRAY_TASK_ID}/${SHARDS:-${SLURM_ARRAY_TASK_COUNT}}" \
    --workers auto "${memory[@]}" \
    --quiet --log-format json
