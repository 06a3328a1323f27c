"""Engines that run a function on many items, in threads of this process or on a Ray cluster; results keep the items' order.

Both engines call the same function on each item, so the output does not depend on the engine.
Use: `with start_engine("ray", workers=2) as engine: for result in engine(work, items): …`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from faceshield.extras import missing

Item = TypeVar("Item")
Result = TypeVar("Result")

ENGINES = ("local", "ray")

_WINDOW = 64  # results of later items kept per thread while an earlier one is slow
_ITEMS = 8  # items per thread in a share, the unit of work that is redone if a worker dies
_SHARES = 8  # shares per worker at least, so that a slow one does not hold up the others for long
_AHEAD = 2  # shares queued at an actor, so that it need not wait for the driver
_DEATHS = 3  # times that a share is retried after its worker died, before the run stops


class Engine(Protocol):
    """Calls `work` with every item and yields the results in the items' order, as they become ready."""

    @property
    def processes(self) -> int:
        """Number of parallel workers; each may use 1/`processes` of a scarce resource."""

    def __call__(self, work: Callable[[Item], Result], items: Sequence[Item], threads: int = 1) -> Iterator[Result]:
        """
        Args:
            work: a pure function, called from `threads` threads of each process. An exception that it raises ends the run,
                after the results of all earlier items.
        """

    def at_most(self, processes: int) -> Engine:
        """The same engine with at most this many processes."""


@dataclass(frozen=True)
class LocalEngine:
    """Runs everything in this process."""

    processes: int = 1

    def __call__(self, work: Callable[[Item], Result], items: Sequence[Item], threads: int = 1) -> Iterator[Result]:
        if threads <= 1:
            yield from map(work, items)
            return
        pool = ThreadPoolExecutor(threads, thread_name_prefix="faceshield")
        pending: deque[Future[Result]] = deque()
        try:
            for item in items:
                pending.append(pool.submit(work, item))
                if len(pending) >= _WINDOW * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def at_most(self, processes: int) -> LocalEngine:
        return self


LOCAL = LocalEngine()


@contextlib.contextmanager
def start_engine(name: str = "local", *, workers: int | None = None, gpus: float = 0.0) -> Iterator[Engine]:
    """Provides the engine called `name` while the context lasts.

    "ray" joins the cluster that this process is already connected to or that RAY_ADDRESS names; otherwise it starts one on this
    machine and stops it when the context ends. Every machine of a cluster needs this package, and the pictures under the same
    paths.

    Args:
        name: one of `ENGINES`.
        workers: Ray only: number of parallel processes; None: one per core, or as many as `gpus` allows.
        gpus: Ray only: GPUs reserved for each worker; with a fraction such as .25, several workers share one.

    Raises:
        ValueError: an unknown name, Ray settings with another engine, or more GPUs per worker than there are.
        ImportError: Ray is not installed.
        ConnectionError: no cluster answers at RAY_ADDRESS, or none starts here.
    """
    if name not in ENGINES:
        raise ValueError(f"engine {name!r} — expected one of {', '.join(ENGINES)} — use one of them")
    if name == "local":
        if workers is not None or gpus:
            raise ValueError(
                "workers and gpus without a cluster — expected the engine ray — give --engine ray, or leave them out"
            )
        yield LOCAL
        return
    with join_ray(cores=workers, gpus=gpus):
        import ray

        found = ray.cluster_resources()
        able = found.get("GPU", 0.0) / gpus if gpus else found.get("CPU", 1.0)
        yield RayEngine(workers or max(int(able), 1), gpus)


@contextlib.contextmanager
def join_ray(*, cores: int | None = None, gpus: float = 0.0, variables: Mapping[str, str] | None = None) -> Iterator[None]:
    """Connects to a Ray cluster while the context lasts: the current one, that of RAY_ADDRESS, or a new one on this machine.

    Args:
        cores: of a new cluster; None: all of this machine's.
        gpus: number that each worker will need.
        variables: environment variables for all workers.

    Raises:
        ImportError: Ray is not installed.
        ValueError: a worker needs more GPUs than the cluster has.
        ConnectionError: no cluster answers at RAY_ADDRESS, or none starts here.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # send no usage statistics
    # Ray adds 15 to its workers' niceness: next to other work they would stall and seem to hang.
    os.environ.setdefault("RAY_worker_niceness", "0")
    if importlib.util.find_spec("ray") is None:
        raise missing("the engine 'ray'", "ray")
    import ray

    joined = ray.is_initialized()
    if not joined:
        local = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": cores, "include_dashboard": False}
        given = {"runtime_env": {"env_vars": dict(variables)}} if variables else {}
        # Workers' output is not shown: their tracebacks come back as errors, and other messages would break the progress bar.
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **local, **given)
        except (OSError, ValueError):
            raise
        except Exception as error:  # Ray has no specific error type for this
            raise ConnectionError(
                f"Ray does not start: {error} — expected it to within half a minute — try again when the machine is less busy"
            ) from error
    try:
        able = ray.cluster_resources().get("GPU", 0.0)
        if gpus > able:
            raise ValueError(f"{gpus:g} GPUs a worker — expected no more than the cluster's {able:g} — lower it")
        yield
    finally:
        if not joined:
            ray.shutdown()


@dataclass(frozen=True)
class RayEngine:
    """Runs the items on Ray actors: each receives `work` once and keeps what it holds, such as a model, for all its items.

    An actor that dies is restarted and its items are redone, up to three times.
    """

    processes: int
    gpus: float = 0.0

    def __call__(self, work: Callable[[Item], Result], items: Sequence[Item], threads: int = 1) -> Iterator[Result]:
        import ray

        size = max(min(_ITEMS * threads, len(items) // (_SHARES * self.processes)), 1)
        starts = range(0, len(items), size)
        workers = ray.remote(_Worker).options(
            num_cpus=0 if self.gpus else 1, num_gpus=self.gpus, max_restarts=-1, max_task_retries=_DEATHS
        )
        sent = [ray.put(ray.cloudpickle.dumps(work))]  # in a list, or Ray would unpack it and raise errors of its own
        free = [workers.remote() for _ in range(min(self.processes, len(starts)))] * _AHEAD
        doing: dict[Any, tuple[int, Any]] = {}
        done: dict[int, list[Any]] = {}
        given = 0
        for number in range(len(starts)):
            while number not in done:
                while free and given < min(len(starts), number + _SHARES * self.processes):
                    actor = free.pop(0)
                    share = items[starts[given] : starts[given] + size]
                    doing[actor.results.remote(sent, ray.cloudpickle.dumps(share), threads)] = given, actor
                    given += 1
                (ready,), _ = ray.wait(list(doing), num_returns=1)
                which, actor = doing.pop(ready)
                try:
                    done[which] = ray.cloudpickle.loads(ray.get(ready))
                except (ray.exceptions.RayActorError, ray.exceptions.NodeDiedError) as error:
                    raise _lost(error) from error
                free.append(actor)
            for result in done.pop(number):
                if isinstance(result, _Raised):
                    raise result.error
                yield result

    def at_most(self, processes: int) -> RayEngine:
        return dataclasses.replace(self, processes=min(self.processes, processes))


def _lost(error: Exception) -> ConnectionError:
    return ConnectionError(
        f"a worker died {_DEATHS + 1} times over the same items ({type(error).__name__}), perhaps out of memory — expected it "
        "to live — free some and start the same command again: it resumes where it stopped"
    )


@dataclass(frozen=True)
class _Raised:
    """An exception of `work`, returned as a value: if raised, Ray would wrap it in an error of its own."""

    error: Exception


class _Worker:
    """An actor: takes shares of items and returns their results."""

    def __init__(self) -> None:
        self.work: Callable[[Any], Any] | None = None

    def results(self, sent: list[Any], share: bytes, threads: int) -> bytes:
        import ray

        results: list[Any] = []
        try:
            if self.work is None:
                self.work = ray.cloudpickle.loads(ray.get(sent[0]))
            results.extend(LOCAL(self.work, ray.cloudpickle.loads(share), threads))
        except Exception as error:
            results.append(_Raised(_portable(error)))
        return bytes(ray.cloudpickle.dumps(results))


def _portable(error: Exception) -> Exception:
    """The error itself, or a `RuntimeError` with its text if it cannot be pickled."""
    import ray

    try:
        ray.cloudpickle.loads(ray.cloudpickle.dumps(error))
        return error
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
