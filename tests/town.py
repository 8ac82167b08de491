"""Ground on which bright means impervious, and trainers on it: easy to learn, quick to run."""

import numpy as np
import torch

from isamap.model.chips import PairSource, ShareSource
from isamap.model.networks import NetworkConfig
from isamap.model.schedule import Schedule
from isamap.model.training import Trainer, as_json
from isamap.model.validation import Validation

CPU = torch.device("cpu")
SHORT = Schedule(steps=6, warmup_steps=2, chip_px=8, border_px=2, evaluate_every=2, learning_rate=3e-3)
TINY = {
    "fast": NetworkConfig(name="fast", channels=8, blocks=1),
    "staged": NetworkConfig(name="staged", channels=4, growth=2, blocks=1, mid_blocks=1, fine=4),
    "joint": NetworkConfig(name="joint", channels=8, blocks=1, mid=8, mid_blocks=1, fine=4, attention_px=1),
}


def ground(seed, side=24, shift=0.0):
    """Reflectance `(4, side, side)` and labels at 1 m."""
    rng = np.random.default_rng(seed)
    isa = np.kron(rng.random((side // 4, side // 4)) > 0.5, np.ones((4, 4)))
    lr = (0.08 + shift + 0.12 * isa + rng.normal(0, 0.005, (4, side, side))).astype(np.float32)
    return lr, np.kron(isa, np.ones((10, 10))).astype(np.uint8)


def town(seed=1):
    lr, isa = ground(seed)
    image = np.repeat(60 + 100 * isa[None], 3, axis=0)
    return PairSource("town", lr, np.ones(lr.shape, np.bool_), isa, image)


def unlabelled(seed=5, shift=0.0):
    lr, isa = ground(seed, shift=shift)
    share = isa.reshape(24, 10, 24, 10).mean(axis=(1, 3)).astype(np.float32)
    return ShareSource("field", lr, np.ones(lr.shape, np.bool_), share, np.ones_like(share))


def trainer(schedule=SHORT, config=TINY["fast"], extras=None, sources=None):
    lr, isa = ground(2, side=16)
    validation = Validation("park", lr, np.ones(lr.shape, np.bool_), isa)
    return Trainer(config, schedule, sources or [(town(), 2)], [validation], CPU, extras)


def end_of(training):
    log = [as_json(progress) for progress in training.run()]
    return log, training.weights()


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)
