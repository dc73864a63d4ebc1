"""Real processes, started once and asked again and again, for tests of what many do together."""

import sys
import traceback
from multiprocessing import get_context

import torch.distributed as dist

from invlearn.runtime.distributed import Group

PATIENCE = 120
"""Seconds that an answer may take."""


class Crew:
    """Several processes that are joined by gloo."""

    def __init__(self, size, folder):
        context = get_context("spawn")
        self.pipes, self.processes = [], []
        for rank in range(size):
            here, there = context.Pipe()
            given = (rank, size, f"file://{folder}/meeting", there, sys.path)
            self.processes.append(context.Process(target=_serve, args=given, daemon=True))
            self.processes[-1].start()
            self.pipes.append(here)

    def __call__(self, work, *given):
        """What `work(group, *given)` returns on each process, by rank; it must be importable."""
        for pipe in self.pipes:
            pipe.send((work, given))
        answers = []
        for pipe in self.pipes:
            assert pipe.poll(PATIENCE), "a process does not answer"
            answers.append(pipe.recv())
        for _, error in answers:
            assert error is None, error
        return [answer for answer, _ in answers]

    def close(self):
        """End the processes."""
        for process in self.processes:
            process.kill()
            process.join()


def _serve(rank, size, meeting, pipe, path):
    sys.path[:] = path
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=size)
    group = Group(rank, size)
    while True:
        work, given = pipe.recv()
        try:
            pipe.send((work(group, *given), None))
        except BaseException:
            pipe.send((None, traceback.format_exc()))
