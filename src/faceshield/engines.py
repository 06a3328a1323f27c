"""Who does the work on many items: the threads of this process, or the workers of a Ray cluster; results in the items' order.

What is done with an item is one function in both cases, so the output is the same whoever runs it.
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
_ITEMS = 8  # of one share, for each thread: what is done again where a worker dies
_SHARES = 8  # that each worker gets at least, so that a slow one holds nobody up for long
_AHEAD = 2  # shares an actor has at once, so that it need not wait for the driver
_DEATHS = 3  # workers that may die of one task before the run stops


class Engine(Protocol):
    """Calls `work` with every item and yields the results in the items' order, as they become ready."""

    @property
    def processes(self) -> int:
        """Number of parallel workers; each may use that fraction of anything scarce."""

    def __call__(self, work: Callable[[Item], Result], items: Sequence[Item], threads: int = 1) -> Iterator[Result]:
        """
        Args:
            work: pure; called from `threads` threads of each process. What it raises ends the run, after the results of the
                items before.
        """

    def at_most(self, processes: int) -> Engine:
        """The same engine with no more than so many processes."""


@dataclass(frozen=True)
class LocalEngine:
    """This process alone."""

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
    """The engine of a name, while the context lasts.

    "ray" joins the cluster that RAY_ADDRESS names or that this process is in already; else one is started on this machine and
    ended with the context. The package must be installed on every machine of a cluster, and pictures lie there under the
    same paths.

    Args:
        name: of `ENGINES`.
        workers: of Ray: processes at once; None: one a core, or as many as `gpus` allows.
        gpus: of Ray: that each worker has for itself; parts such as .25 share one.

    Raises:
        ValueError: an unknown name, Ray's settings without Ray, Ray not installed, or no such GPU.
        ConnectionError: no cluster answers at RAY_ADDRESS.
    """
    if name not in ENGINES:
        raise ValueError(f"engine {name!r} — expected one of {', '.join(ENGINES)} — use one of them")
    if name == "local":
        if workers is not None or gpus:
            raise ValueError("workers and GPUs of a cluster without one — expected the engine ray — give --engine ray")
        yield LOCAL
        return
    with join_ray(cores=workers, gpus=gpus):
        import ray

        found = ray.cluster_resources()
        able = found.get("GPU", 0.0) / gpus if gpus else found.get("CPU", 1.0)
        yield RayEngine(workers or max(int(able), 1), gpus)


@contextlib.contextmanager
def join_ray(*, cores: int | None = None, gpus: float = 0.0, variables: Mapping[str, str] | None = None) -> Iterator[None]:
    """A cluster of Ray while the context lasts: the one that this process is in, or of RAY_ADDRESS, or one of its own.

    Args:
        cores: of a cluster of its own; None: this machine's.
        gpus: that one worker will want.
        variables: of the environment of all its workers.

    Raises:
        ImportError: Ray is not installed.
        ValueError: there is no such GPU.
        ConnectionError: no cluster answers at RAY_ADDRESS, or none starts here.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    # Ray makes its workers 15 nicer than the command: beside other work they would stand still, and look like a hang.
    os.environ.setdefault("RAY_worker_niceness", "0")
    if importlib.util.find_spec("ray") is None:
        raise missing("the engine 'ray'", "ray")
    import ray

    joined = ray.is_initialized()
    if not joined:
        local = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": cores, "include_dashboard": False}
        given = {"runtime_env": {"env_vars": dict(variables)}} if variables else {}
        # Workers print nothing here: their tracebacks come back as errors, and libraries' words would tear the progress bar.
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **local, **given)
        except (OSError, ValueError):
            raise
        except Exception as error:  # Ray has no kind of error for it
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
    """Actors of Ray: each gets `work` once and keeps what it holds, such as a model, for all its items.

    An actor that dies is started again and its items are done again, up to three times.
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
        sent = [ray.put(ray.cloudpickle.dumps(work))]  # in a list, which Ray does not open: a fault in that would be its own
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
        f"a worker died {_DEATHS + 1} times over the same items ({type(error).__name__}) — expected it to live — see to its "
        "machine's memory and start the same command again: it goes on where it stopped"
    )


@dataclass(frozen=True)
class _Raised:
    """What `work` raised, as a value: Ray would wrap it in an error of its own."""

    error: Exception


class _Worker:
    """An actor: takes shares of items, gives back their results."""

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
    """The error, or its words where it is of a kind that cannot travel."""
    import ray

    try:
        ray.cloudpickle.loads(ray.cloudpickle.dumps(error))
        return error
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
