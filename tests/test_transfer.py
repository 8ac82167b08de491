"""Copies to and from a device; the way of an accelerator is walked with a stand-in that keeps a journal of its streams."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch

from isamap.model.transfer import Transfer


class Stream:
    def __init__(self, name, journal):
        self.name, self.journal = name, journal

    def wait_stream(self, other):
        self.journal.append(f"{self.name} waits for {other.name}")


class Accelerator:
    """What torch.cuda offers, as far as it is used: nothing happens but a journal."""

    def __init__(self):
        self.journal, self.names = [], iter(["up", "down"])
        self.current = Stream("kernels", self.journal)

    def Stream(self, device):  # noqa: N802  # torch's name
        return Stream(next(self.names), self.journal)

    def Event(self):  # noqa: N802  # torch's name
        return Event(self.journal)

    def current_stream(self, device):
        return self.current

    @contextmanager
    def stream(self, stream):
        before, self.current = self.current, stream
        yield
        self.current = before


class Event:
    def __init__(self, journal):
        self.journal, self.recorded = journal, None

    def record(self, stream):
        self.recorded = stream.name
        self.journal.append(f"event on {stream.name}")

    def synchronize(self):
        self.journal.append(f"host waits for the event on {self.recorded}")


@pytest.fixture
def accelerator(monkeypatch):
    there = Accelerator()
    empty, copy = torch.empty, torch.Tensor.copy_
    note = there.journal.append

    def to(tensor, device, *, non_blocking):
        note(f"copy on {there.current.name}, the host goes on: {non_blocking}")
        return tensor.clone()

    def copy_(tensor, source, *, non_blocking):
        note(f"copy on {there.current.name}, the host goes on: {non_blocking}")
        return copy(tensor, source)

    def record_stream(tensor, stream):
        note(f"memory kept for {stream.name}")

    def pinned(shape, *, dtype, pin_memory):
        assert pin_memory
        return empty(shape, dtype=dtype)

    monkeypatch.setattr(torch, "get_device_module", lambda device: there)
    monkeypatch.setattr(torch, "empty", pinned)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    monkeypatch.setattr(torch.Tensor, "to", to)
    monkeypatch.setattr(torch.Tensor, "copy_", copy_)
    monkeypatch.setattr(torch.Tensor, "record_stream", record_stream)
    return there


def test_a_cpu_hands_on_what_it_was_given():
    transfer = Transfer(torch.device("cpu"))
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    tensor = transfer.upload(array)
    assert np.shares_memory(tensor.numpy(), array)
    back = transfer.download(tensor).wait()
    assert np.shares_memory(back, array)
    np.testing.assert_array_equal(back, array)


def test_kernels_wait_for_an_upload_and_the_host_does_not(accelerator):
    array = np.arange(4, dtype=np.float32)
    there = Transfer(torch.device("cuda")).upload(array)
    np.testing.assert_array_equal(there.numpy(), array)
    assert accelerator.journal == [
        "copy on up, the host goes on: True",
        "kernels waits for up",
        "memory kept for kernels",
    ]


def test_a_download_waits_for_the_kernels_and_the_host_only_when_it_wants_the_values(accelerator):
    arrival = Transfer(torch.device("cuda")).download(torch.ones(2, 3, dtype=torch.uint8))
    assert accelerator.journal == [
        "down waits for kernels",
        "copy on down, the host goes on: True",
        "event on down",
        "memory kept for down",
    ]
    accelerator.journal.clear()
    np.testing.assert_array_equal(arrival.wait(), np.ones((2, 3), np.uint8))
    assert accelerator.journal == ["host waits for the event on down"]


def test_both_ways_go_by_streams_of_their_own(accelerator):
    transfer = Transfer(torch.device("cuda"))
    transfer.download(torch.ones(1, dtype=torch.uint8))
    transfer.upload(np.zeros(1, np.uint8))
    assert "up waits for kernels" not in accelerator.journal
    assert "up waits for down" not in accelerator.journal
