"""What every stage of training shares: its processes, one step of the optimizer, state that is kept.

Equal processes, one per core and one thread each, average their gradients: on a few busy cores
that beats one process of many threads, which wait for each other in each convolution.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from multiprocessing import get_context
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn


class Log:
    """Prints a line and adds it to DIR/train.log, with the minutes since the start."""

    def __init__(self, out: Path) -> None:
        self.path, self.began = out / "train.log", time.monotonic()

    def __call__(self, line: str) -> None:
        line = f"{(time.monotonic() - self.began) / 60:6.1f} min  {line}"
        print(line, flush=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


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


def descend(loss: Tensor, optimizer: torch.optim.Optimizer, rate: float) -> None:
    """One step down from `loss` with learning rate `rate`; gradients are clipped to a norm of 1."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if dist.is_initialized():
        average_gradients(parameters)
    nn.utils.clip_grad_norm_(parameters, 1.0)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, step: int, most: float) -> None:
    """Moves the moving average after step `step` (from 0); it keeps at most `most` of itself."""
    keep = min(most, (step + 1) / (step + 10))
    for mean, new in zip(average.parameters(), model.parameters()):
        mean.lerp_(new, 1.0 - keep)


def keep(path: Path, **state: object) -> None:
    """Writes the state; whoever stops it in the middle leaves the old one as it was."""
    torch.save(state, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def average_gradients(parameters: list[nn.Parameter]) -> None:
    """Replaces each gradient by its mean over all processes (one message)."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    at = 0
    for gradient in gradients:
        gradient.copy_(flat[at : at + gradient.numel()].view_as(gradient))
        at += gradient.numel()


def together(job: Callable[..., None], arguments: Iterable[tuple[object, ...]]) -> None:
    """Runs `job` side by side, once with each of `arguments`; RuntimeError when one fails."""
    context = get_context("spawn")
    running = [context.Process(target=job, args=each) for each in arguments]
    for process in running:
        process.start()
    for process in running:
        process.join()
    if any(process.exitcode for process in running):
        raise RuntimeError("a stage failed; see the messages above")
