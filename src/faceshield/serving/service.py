"""The service without HTTP: a predictor behind a batcher, with time limits and an orderly shutdown.

Use: `service = Service(predictor, Settings())`, `service.start()`, `await service.inspect(request, photos, "detect")`.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.to_thread
import numpy as np
from starlette.requests import ClientDisconnect, Request

from faceshield.images import ImageError
from faceshield.inspection import ALL_TASKS, NOT_A_NUMBER, FaceMode, InspectionReport, QuestionError, Task
from faceshield.serving.batching import Abandoned, Batcher, QueueFull
from faceshield.serving.observe import LOG, Meters
from faceshield.serving.refusals import Refusal, busy
from faceshield.serving.settings import Settings
from faceshield.serving.uploads import BodyBudget, problem_of

if TYPE_CHECKING:
    from faceshield.model.importance import ImportanceMaps
    from faceshield.model.reading import Words
    from faceshield.predictor import FaceShieldPredictor

_Result = TypeVar("_Result")
_BEFORE_THE_END = 1.0  # seconds of the drain time kept for sending the last answers
_READERS = 2  # a PNG's header alone may take 64 MiB of memory while it is read, however small its file
_GREY = np.full((64, 64, 3), 128, np.uint8)  # any working model can judge it


def keep_what_is_loaded() -> None:
    """Exempt all existing objects from garbage collection, once; for a process that does nothing but serve.

    A full collection over the 0.4 million objects of torch and transformers would delay every answer by 0.15 s.
    """
    if not gc.get_freeze_count():
        gc.collect()
        gc.freeze()


@dataclass(frozen=True, eq=False)
class _Question:
    """A unique batch key, so that each free question goes through the model alone; `put` asks the predictor about a photo."""

    put: Callable[[FaceShieldPredictor, bytes], Any]


class Service:
    """One model with its queue and metrics.

    Args:
        predictor: used by the batcher's thread alone.
        settings: limits.

    Attributes:
        at_drain: called once, when the service stops accepting requests.
    """

    def __init__(self, predictor: FaceShieldPredictor, settings: Settings) -> None:
        self.predictor, self.settings = predictor, settings
        self.model_name = Path(predictor.model_info.get("name") or "faceshield").resolve().name  # for "." too
        self.bodies = BodyBudget(settings)
        self.batcher = Batcher(
            self._work,
            batch_size=settings.batch_size,
            wait_s=settings.batch_wait_s,
            capacity=settings.queue,
            patience_s=settings.timeout_s,
            on_batch=lambda photos, seconds: self.meters.batch(photos, seconds),
        )
        self.meters = Meters(lambda: self.batcher.waiting)
        self._readers = anyio.CapacityLimiter(_READERS)
        self.draining, self.failing = False, False
        self.at_drain: Callable[[], object] = lambda: None
        self._warm: asyncio.Future[Any] | None = None
        self._again: asyncio.Future[Any] | None = None

    # -- life ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the model's thread and warm it up on a grey picture; call this in the event loop."""
        self.batcher.start()
        self._warm = self.batcher.submit(("whole", ALL_TASKS), [_GREY])[0]
        for note in self.predictor.threshold_notes():
            LOG.warning("threshold", extra={"fields": {"note": note}})
        LOG.info("started", extra={"fields": {"model": self.model_name, "hash": self.predictor.model_info.get("hash", "")}})

    def trouble(self) -> str | None:
        """Why no request should be sent here; None when ready."""
        if self.draining:
            return "stopping"
        if not self.batcher.is_alive():
            return "the model's thread is not running"
        if self._warm is None or not self._warm.done():
            return "warming up"
        if self._warm.exception() or self._warm.result().status != "ok":
            return "the model failed on its first picture"
        if self.batcher.stuck:
            return f"the model has been busy with one batch for longer than {self.settings.timeout_s:g} s"
        if self.failing:
            self._try_again()
            return "the model fails on every picture"
        return None

    def _try_again(self) -> None:
        """Try the grey picture on a failing model again: once no requests are sent here, nothing else would show that it has
        recovered."""
        if self._again is None or self._again.done():
            with suppress(QueueFull):
                self._again = self.batcher.submit(("whole", ALL_TASKS), [_GREY])[0]
                self._again.add_done_callback(lambda future: future.cancelled() or future.exception())

    async def ready(self) -> None:
        """Waits until the first picture has gone through the model.

        Raises:
            RuntimeError: no request should be sent here; the message says why.
        """
        if self._warm is not None:
            await asyncio.wait({self._warm})
        if trouble := self.trouble():
            raise RuntimeError(trouble)

    def drain(self) -> None:
        """Stop accepting requests; accepted ones have `drain_s` to be answered, then end with an error."""
        if self.draining:
            return
        self.draining = True
        LOG.info("draining", extra={"fields": {"waiting": self.batcher.waiting}})
        self.at_drain()
        left = max(0.0, self.settings.drain_s - _BEFORE_THE_END)
        asyncio.get_running_loop().call_later(left, self.batcher.abandon)

    async def stop(self) -> None:
        """Shut down: what still waits is abandoned, the running batch is finished."""
        await anyio.to_thread.run_sync(self.batcher.close, self.settings.timeout_s)

    # -- requests ------------------------------------------------------------------------------------------

    def check_open(self) -> None:
        """Refuse a request before its body is read: while stopping, and while the queue is full."""
        if self.draining:
            raise self._stopping()
        try:
            self.batcher.check_room()
        except QueueFull as full:
            raise self._full(full) from None

    async def inspect(
        self, request: Request | None, photos: Sequence[bytes], face: FaceMode, tasks: tuple[Task, ...] = ALL_TASKS
    ) -> list[InspectionReport]:
        """One report per photo, in order; a problem with a photo is in its report.

        Args:
            request: watched for its client disconnecting; None: there is no client to watch.

        Raises:
            Refusal: the queue is full, the time limit was exceeded, or the service is stopping.
            ClientDisconnect: the client closed its connection.
        """
        problems = [await self.read(problem_of, photo, self.settings) for photo in photos]
        good = [photo for photo, problem in zip(photos, problems, strict=True) if problem is None]
        found = iter(await self._wait(request, (face, tasks), good) if good else [])
        reports = []
        for number, problem in enumerate(problems):
            report = next(found) if problem is None else self.predictor.failed(ImageError("", problem))
            report = replace(report, image=f"images[{number}]", model={**report.model, "name": self.model_name})
            self.meters.report(report)
            reports.append(report)
        return reports

    async def read(self, work: Callable[..., _Result], *args: Any) -> _Result:
        """`work(*args)`, which reads a photo, in a thread; two at a time, because no queue bounds their memory."""
        return await anyio.to_thread.run_sync(work, *args, limiter=self._readers)

    async def ask(
        self, request: Request | None, photo: bytes, prompt: str, face: FaceMode, max_tokens: int | None = None
    ) -> tuple[Words, int]:
        """The model's answer to a free question, and the number of tokens in the question with its photo; raises as `inspect`,
        and 422 for an unusable photo or question."""

        def put(predictor: FaceShieldPredictor, data: bytes) -> tuple[Words, int]:
            words = predictor.ask(data, prompt, face=face, max_new_tokens=max_tokens)
            return words, len(predictor.processor.encode_question(prompt))  # only this thread may use the tokenizer

        answer: tuple[Words, int] = await self._ask(request, photo, _Question(put))
        return answer

    async def importance(self, request: Request | None, photo: bytes, prompt: str, face: FaceMode) -> ImportanceMaps:
        """Which parts of a photo PVTM finds important for a question; raises as `ask`."""
        question = _Question(lambda predictor, data: predictor.importance(data, prompt, face=face))
        maps: ImportanceMaps = await self._ask(request, photo, question)
        return maps

    async def _ask(self, request: Request | None, photo: bytes, question: _Question) -> Any:
        if problem := await self.read(problem_of, photo, self.settings):
            raise Refusal(422, "bad_photo", problem)
        return (await self._wait(request, question, [photo]))[0]

    async def _wait(self, request: Request | None, key: Hashable, items: Sequence[bytes]) -> list[Any]:
        if self.draining:
            raise self._stopping()
        try:
            futures = self.batcher.submit(key, items)
        except QueueFull as full:
            raise self._full(full) from None
        except Abandoned:
            raise self._stopping() from None
        answer = asyncio.ensure_future(asyncio.gather(*futures))
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())  # retrieved even if nobody waits any more
        gone = asyncio.ensure_future(_gone(request))
        try:
            await asyncio.wait({answer, gone}, timeout=self.settings.timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return list(answer.result())
            if gone.done():
                raise ClientDisconnect
            message = f"no answer within {self.settings.timeout_s:g} s, the limit of this service"
            raise busy("timeout", message, self.settings.timeout_s, status=503)
        except Abandoned:
            raise self._stopping() from None
        finally:
            gone.cancel()
            self.batcher.withdraw(futures)

    def _full(self, full: QueueFull) -> Refusal:
        return busy("queue_full", f"{full.waiting} photos are waiting — expected fewer", full.retry_after_s)

    def _stopping(self) -> Refusal:
        message = "this service is stopping — expected a running one"
        refusal = busy("stopping", message, self.settings.drain_s, status=503)
        refusal.headers["Connection"] = "close"
        return refusal

    # -- in the model's thread -----------------------------------------------------------------------------

    def _work(self, key: Any, items: Sequence[Any]) -> Sequence[Any]:
        failed = True
        try:
            answers = self._answers(key, items)
            failed = any(getattr(answer, "error", None) == NOT_A_NUMBER for answer in answers)
        finally:
            self.failing = failed and self._fails_on_grey()  # tells a bad photo from a broken model
        return answers

    def _fails_on_grey(self) -> bool:
        try:
            return self.predictor.inspect(_GREY, face="whole").status != "ok"
        except Exception:
            return True

    def _answers(self, key: Any, items: Sequence[Any]) -> Sequence[Any]:
        if not isinstance(key, _Question):
            face, tasks = key
            return list(self.predictor.inspect_many(items, face=face, tasks=tasks, batch_size=len(items)))
        answers: list[Any] = []
        for photo in items:
            try:
                answers.append(key.put(self.predictor, photo))
            except ImageError as error:
                answers.append(Refusal(422, "bad_photo", error.problem))
            except QuestionError as error:
                answers.append(Refusal(422, "bad_question", str(error)))
        return answers


async def _gone(request: Request | None) -> None:
    """Return when the client closes its connection; the body must have been read already."""
    if request is None:
        await asyncio.Event().wait()
        return
    while (await request.receive())["type"] != "http.disconnect":
        continue
