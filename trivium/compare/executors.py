"""Where units of work are done: in this process, or by workers on a Ray cluster. The records are the same."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from trivium.compare.work import Record, Unit, Work
from trivium.core.errors import UnknownName, did_you_mean
from trivium.core.optional import require
from trivium.core.progress import Bar


class Executor(Protocol):
    """Does units and yields their records, in any order, as they are finished. Writing them is up to the caller."""

    def run(self, work: Work, units: Sequence[Unit], bar: Bar) -> Iterator[Record]: ...


class InProcess:
    """One unit after another, in the order given."""

    def run(self, work: Work, units: Sequence[Unit], bar: Bar) -> Iterator[Record]:
        for unit in units:
            bar.note(f"{unit.contender} {unit.examples[0] if len(unit.examples) == 1 else f'seed {unit.seed}'}")
            yield from work.do(unit, bar)


class Ray:
    """Workers on a Ray cluster, each of which opens the system once and takes units as it becomes free.

    ``address`` None starts Ray on this machine, 'auto' or an address joins a cluster. Where units are trainings, the
    run folder must be on a disk that all workers see.
    """

    def __init__(self, workers: int = 2, *, address: str | None = None, threads: int = 1) -> None:
        if workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        self.workers, self.address, self.threads = workers, address, threads

    def run(self, work: Work, units: Sequence[Unit], bar: Bar) -> Iterator[Record]:
        ray = require("ray", extra="cluster", why="to spread a comparison over many machines")
        started = not ray.is_initialized()
        if started:
            ray.init(
                address=self.address,
                num_cpus=None if self.address else self.workers * self.threads,
                include_dashboard=False if self.address is None else None,
                log_to_driver=False,
            )
        actor = ray.remote(num_cpus=self.threads, max_restarts=2, max_task_retries=2)(_Worker)
        shared = ray.put(work)
        pool: list[Any] = []
        try:
            pool = [actor.remote(shared, self.threads) for _ in range(min(self.workers, len(units)))]
            waiting, running = list(reversed(units)), {}
            for worker in pool:
                _give(worker, waiting, running)
            while running:
                (done, *_), _ = ray.wait(list(running), num_returns=1)
                worker, unit = running.pop(done)
                records = ray.get(done)
                _give(worker, waiting, running)
                yield from records
                bar.advance(unit.cost, unit.contender)
        finally:
            for worker in pool:
                ray.kill(worker)
            if started:
                ray.shutdown()


class _Worker:
    """One process that does units; the system is opened with the first."""

    def __init__(self, work: Work, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self.work = work

    def do(self, unit: Unit) -> list[Record]:
        return list(self.work.do(unit))


def _give(worker: Any, waiting: list[Unit], running: dict[Any, tuple[Any, Unit]]) -> None:
    if waiting:
        unit = waiting.pop()
        running[worker.do.remote(unit)] = (worker, unit)


_NAMES = {"process": InProcess, "ray": Ray}


def executor_of(executor: str | Executor) -> Executor:
    """'process', 'ray', or an executor object."""
    if not isinstance(executor, str):
        return executor
    if executor not in _NAMES:
        raise UnknownName(f"no executor is called {executor!r}{did_you_mean(executor, _NAMES)}")
    return _NAMES[executor]()
