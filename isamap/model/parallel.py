"""Training on several processes at once, started by `torchrun`: the same sums as one process would have.

Every loss is a ratio of sums over pixels. Each process adds its own pixels to sums that all share, so that N processes
with a share of the chips each take the step that one process with all of them takes, up to rounding: the loss of
a mean over processes would be another one wherever processes hold different numbers of labelled pixels.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed

from isamap.errors import ConfigError


def rank() -> int:
    """Number of this process, 0 where there is only one."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


@contextmanager
def group(device: str) -> Iterator[str]:
    """The group that `torchrun` asks for, if it did; yields the device of this process.

    Raises:
        ConfigError: `torchrun` is there, its rendezvous is not.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield device
        return
    cuda = torch.cuda.is_available() and device in {"auto", "cuda"}
    own = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if cuda else device
    if cuda:
        torch.cuda.set_device(torch.device(own))
    try:
        distributed.init_process_group("nccl" if cuda else "gloo")
    except (ValueError, RuntimeError) as fault:
        raise ConfigError(f"WORLD_SIZE is set, but no group came together ({fault}): use torchrun") from fault
    try:
        yield "cpu" if own == "auto" else own
    finally:
        distributed.destroy_process_group()


def total(local: Tensor) -> Tensor:
    """The sum over all processes; its gradient is that of this process's part."""
    if not distributed.is_initialized():
        return local
    everywhere = local.detach().clone()
    distributed.all_reduce(everywhere)
    return local + (everywhere - local.detach())


def add_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Every process gets the sum of all gradients: with losses made of `total` sums, that of the whole batch."""
    if not distributed.is_initialized():
        return
    trained = [p for p in parameters if p.requires_grad]
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
    flat = torch.cat([grad.flatten() for grad in grads])
    distributed.all_reduce(flat)
    for parameter, part in zip(trained, torch.split(flat, [g.numel() for g in grads]), strict=True):
        parameter.grad = part.view_as(parameter).clone()


def of_first(values: Tensor) -> Tensor:
    """The values of process 0, for decisions that all must take alike."""
    if distributed.is_initialized():
        distributed.broadcast(values, 0)
    return values


def wait() -> None:
    """Go on when everybody is here."""
    if distributed.is_initialized():
        distributed.barrier()
