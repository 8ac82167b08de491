"""Networks, losses, training and prediction. The only user of torch."""

import os

# Read once, when torch loads OpenMP. By default a thread that waits for the others keeps its core busy: with a writer
# beside it, or other work on the machine, forward passes then take up to eight times as long (docs/design/0002).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
