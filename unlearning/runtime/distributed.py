"""Coordination between the processes of one distributed run, which torchrun starts."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, distributed

from ..errors import UserError
from .processes import processes, started

T = TypeVar("T")
P = ParamSpec("P")


def join(trainer: Mapping[str, Any]) -> None:
    """Join the other processes that torchrun started, before anything is looked up or written; alone, do nothing.

    Raises ``UserError`` where several processes are wanted and torchrun has not started them: Lightning would start
    them only in the middle of the run. So it does where torchrun started another number than the trainer asks for.
    """
    if (wanted := processes(trainer)) > 1 and started() is None:
        raise UserError(
            f"trainer.devices={trainer['devices']} is {wanted} processes: start them by "
            f"torchrun --nproc-per-node={wanted} run.py trainer=ddp ..., or set trainer.devices=1",
            key="trainer.devices",
        )
    if wanted > 1 and not distributed.is_initialized():
        distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")


def leave() -> None:
    """Synchronise and shut down the process group, once everything has been written."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


def number_of_processes() -> int:
    """The number of processes in this run, 1 without torch.distributed."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def several() -> bool:
    """Whether this run has more than one process."""
    return number_of_processes() > 1


def leads() -> bool:
    """Whether this process is the one that writes."""
    return not several() or distributed.get_rank() == 0


def lead(act: Callable[[], T]) -> T:
    """``act()`` on rank 0; every rank gets its result, or the error that it raised."""
    outcome: list[Any] = [None, None]
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


def led(act: Callable[P, T]) -> Callable[P, T]:
    """The same function, called on rank 0 alone: every rank gets its result, or the error that it raised."""

    @functools.wraps(act)
    def on_first(*args: P.args, **kwargs: P.kwargs) -> T:
        return lead(lambda: act(*args, **kwargs))

    return on_first


def gathered(rows: Tensor) -> Tensor:
    """The rows of all processes, of which each has as many; alone, those of this one."""
    if not several():
        return rows
    parts = [torch.empty_like(rows) for _ in range(number_of_processes())]
    distributed.all_gather(parts, rows)
    return torch.cat(parts)
