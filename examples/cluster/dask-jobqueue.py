"""Map an area with Dask workers that a batch system starts: Slurm, PBS, SGE or LSF; `local` tries it without one.

    python examples/cluster/dask-jobqueue.py slurm 16 --region yreb/CN032070 --year 2021 --workspace /data/isamap

16 jobs are queued, each one worker with 8 cores; the run begins with the first and uses every other as it starts. The
run itself is `isamap infer`, here on the machine that starts this: it needs `pip install isamap[dask]`, the workspace
on a file system that all nodes share, and a login session that lives long enough (tmux). A worker that ends with its
job loses the tile it had, nothing else. SIGTERM ends the run cleanly, then the workers.
"""

import signal
import subprocess
import sys

import dask_jobqueue
from dask_jobqueue.local import LocalCluster

CLUSTERS = {
    "slurm": dask_jobqueue.SLURMCluster,
    "pbs": dask_jobqueue.PBSCluster,
    "sge": dask_jobqueue.SGECluster,
    "lsf": dask_jobqueue.LSFCluster,
    "local": LocalCluster,
}
JOB = {"cores": 8, "processes": 1, "memory": "16GB", "death_timeout": 300}
WALLTIME = {"walltime": "12:00:00"}


def main() -> int:
    """Queue the workers, run isamap, end the workers; the exit code is isamap's."""
    kind, count, *arguments = sys.argv[1:]
    where = {} if kind == "local" else WALLTIME
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    with CLUSTERS[kind](**JOB, **where) as cluster:
        cluster.scale(jobs=int(count))
        engine = ["--engine", "dask", "--scheduler-address", cluster.scheduler_address]
        command = [sys.executable, "-m", "isamap", "infer", *arguments, *engine]
        with subprocess.Popen(command) as run:
            signal.signal(signal.SIGTERM, lambda *_: run.terminate())
            return run.wait()


if __name__ == "__main__":
    sys.exit(main())
