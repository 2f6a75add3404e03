"""What several processes of one run (torchrun) must agree on."""

import os
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import distributed

T = TypeVar("T")


def join() -> None:
    """Join the other processes that torchrun started, before anything is looked up or written; alone, do nothing."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not distributed.is_initialized():
        distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")


def leave() -> None:
    """Part from the other processes in good order, after all is written."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


def several() -> bool:
    """Whether this run has more than one process."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def leads() -> bool:
    """Whether this process is the one that writes."""
    return not several() or distributed.get_rank() == 0


def lead(act: Callable[[], T]) -> T:
    """``act()`` on rank 0; every rank gets its result, or the error that it raised."""
    outcome: list = [None, None]
    if leads():
        try:
            outcome[0] = act()
        except Exception as error:  # the others wait for the outcome: raising here alone would leave them waiting
            outcome[1] = error
    if several():
        distributed.broadcast_object_list(outcome, src=0)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]
