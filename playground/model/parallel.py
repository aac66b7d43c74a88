"""Equal processes, one per core and one thread each, that average their gradients.

On a few busy cores that beats one process of many threads, which wait for each other in each
convolution.
"""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn


def join(meeting: Path, rank: int, processes: int) -> None:
    """Meets the other processes over the file `meeting`; one thread each from here on."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    store = dist.FileStore(str(meeting), processes)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=processes)


def leave() -> None:
    """Waits for the others and ends the group."""
    dist.barrier()
    dist.destroy_process_group()


def average_gradients(parameters: list[nn.Parameter]) -> None:
    """Replaces each gradient by its mean over all processes (one message)."""
    with_gradient = [p for p in parameters if p.grad is not None]
    flat = torch.cat([p.grad.flatten() for p in with_gradient])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    at = 0
    for p in with_gradient:
        p.grad.copy_(flat[at : at + p.grad.numel()].view_as(p.grad))
        at += p.grad.numel()


def together(jobs: list[tuple[Callable[..., None], ...]]) -> None:
    """Runs (function, arguments...) side by side; RuntimeError when one fails."""
    context = get_context("spawn")
    running = [context.Process(target=job[0], args=job[1:]) for job in jobs]
    for process in running:
        process.start()
    for process in running:
        process.join()
    if any(process.exitcode for process in running):
        raise RuntimeError("a stage failed; see the messages above")
