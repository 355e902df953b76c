"""Who does the work of a stage: this process, several processes, or Daft, on this machine or on a Ray cluster.

An engine maps a function over items, shards as a rule, and gives the results as they are finished. The function and
the items are sent to where the work is done, so they must be importable and small; what is made stays on disk. Neither
the engine nor the number of workers changes a result.
"""

import contextlib
import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, Literal, Protocol

from trivium.core.errors import MissingExtra, UnknownName, did_you_mean


class Engine(Protocol):
    """Does work on shards."""

    def map(self, work: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        """The results in any order. What one item raises ends the whole."""
        ...


@dataclass(frozen=True)
class Here:
    """One after another in this process."""

    def map(self, work: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        yield from map(work, items)


@dataclass(frozen=True)
class Processes:
    """Several processes on this machine."""

    workers: int = 2

    def __post_init__(self) -> None:
        _check(self.workers)

    def map(self, work: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        with ProcessPoolExecutor(min(self.workers, max(len(items), 1)), mp_context=get_context("spawn")) as pool:
            futures = [pool.submit(work, item) for item in items]
            try:
                for future in as_completed(futures):
                    yield future.result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True)
class Daft:
    """Daft, by its local runner or on Ray: the same plan either way."""

    runner: Literal["native", "ray"] = "native"
    workers: int = 2
    address: str | None = None
    """Of a running Ray cluster; by default one is started on this machine."""

    def __post_init__(self) -> None:
        _check(self.workers)
        if self.runner not in ("native", "ray"):
            raise ValueError(f"runner must be native or ray, got {self.runner!r}")

    def map(self, work: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        if not items:
            return
        daft = self.ready()

        class Worker:
            """What Daft keeps in each of its processes; it is sent there whole."""

            def __init__(self, work: bytes) -> None:
                self.work = pickle.loads(work)  # made by this very run, as all that is read here

            @daft.method.batch(return_dtype=daft.DataType.binary(), batch_size=1)
            def do(self, items: Any) -> list[bytes]:
                return [pickle.dumps(self.work(pickle.loads(item))) for item in items.to_pylist()]

        most = min(self.workers, len(items))
        worker = daft.cls(Worker, use_process=True, max_concurrency=most)(pickle.dumps(work))
        frame = daft.from_pydict({"item": [pickle.dumps(item) for item in items]})
        if self.runner == "ray":
            frame = frame.into_partitions(min(len(items), 2 * self.workers))
        for row in frame.select(worker.do(frame["item"]).alias("result")).iter_rows():
            yield pickle.loads(row["result"])

    def ready(self) -> Any:
        """The package, with its runner chosen. Raises RuntimeError where this process has another one already."""
        try:
            import daft
            from daft.exceptions import DaftCoreException
        except ImportError as error:
            raise MissingExtra("this engine needs the package daft: pip install 'trivium[data]'") from error
        with contextlib.suppress(DaftCoreException):  # it lets itself be told once
            if self.runner == "ray":
                daft.set_runner_ray(address=self.address, noop_if_initialized=True)
            else:
                daft.set_runner_native()
        at_work = daft.get_or_infer_runner_type()
        if at_work != self.runner:
            raise RuntimeError(f"Daft runs on {at_work!r} in this process; start another one for {self.runner!r}")
        return daft


def _check(workers: int) -> None:
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")


ENGINES: dict[str, Callable[[int], Engine]] = {
    "here": lambda workers: Here(),
    "processes": Processes,
    "daft": lambda workers: Daft("native", workers),
    "ray": lambda workers: Daft("ray", workers),
}


def engine(name: str, workers: int = 2) -> Engine:
    """An engine by its name. Raises UnknownName."""
    if name not in ENGINES:
        raise UnknownName(f"no engine is called {name!r}{did_you_mean(name, ENGINES)}")
    return ENGINES[name](workers)
