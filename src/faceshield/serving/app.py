"""The HTTP application: only routes; `Service` runs the model.

Use: `app = create_app(FaceShieldPredictor.from_pretrained("tiny"))`, in any ASGI server with one worker.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from fastapi import FastAPI, Request, Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, StreamingResponse

from faceshield.inspection import NOT_A_NUMBER, FaceMode, Task
from faceshield.serving import uploads
from faceshield.serving.chat import Answer, ChatRequest, read_question
from faceshield.serving.guard import Guard
from faceshield.serving.observe import EXPOSITION
from faceshield.serving.refusals import Refusal
from faceshield.serving.schemas import FORM_SCHEMA, ErrorResponse, Health, InspectRequest, InspectResponse
from faceshield.serving.service import Service
from faceshield.serving.settings import Settings

if TYPE_CHECKING:
    from faceshield.predictor import FaceShieldPredictor

_SAID = {
    400: "A form or a Content-Length that cannot be read.",
    401: "No valid API key.",
    408: "The body came too slowly.",
    413: "Too many bytes or photos.",
    415: "Neither a form nor JSON.",
    422: "JSON, photos or fields that cannot be used.",
    429: "The queue is full; see Retry-After.",
    503: "Shutting down, or timed out; see Retry-After.",
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorResponse, "description": text} for status, text in _SAID.items()
}


def create_app(
    predictor: FaceShieldPredictor,
    settings: Settings | None = None,
    *,
    exposition: Callable[[], Awaitable[bytes]] | None = None,
) -> FastAPI:
    """Create the application; its `state.service` is the `Service` behind it.

    It serves `/openapi.json` but no documentation pages, because those load scripts from other hosts.

    Args:
        predictor: the model; from now on only the application's own thread may use it.
        settings: limits and keys.
        exposition: gives the answer to /metrics, in Prometheus text format; None: this application's own metrics.
    """
    service = Service(predictor, settings or Settings())

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await service.stop()

    app = FastAPI(
        title="FaceShield",
        description="Does this photo show a live person, or a print, a screen or a mask of one?",
        version=_version(),
        lifespan=life,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    app.add_middleware(Guard, service=service)

    @app.exception_handler(Refusal)
    async def refuse(request: Request, refusal: Refusal) -> Response:
        service.meters.refusals.labels(refusal.code).inc()
        return refusal.response(request.state.request_id)

    @app.exception_handler(HTTPException)
    async def no_route(request: Request, error: HTTPException) -> Response:
        await uploads.discard_body(request, service.settings)
        code, text = (
            ("no_route", "no such path") if error.status_code == 404 else ("no_method", "this path does not take that method")
        )
        message = f"{text} — expected one of /openapi.json's — correct it"
        refusal = Refusal(error.status_code, code, message, headers=error.headers)
        return await refuse(request, refusal)

    _add_health(app, service, exposition)
    _add_inspect(app, service)
    _add_chat(app, service)
    return app


def _add_health(app: FastAPI, service: Service, exposition: Callable[[], Awaitable[bytes]] | None) -> None:
    @app.head("/healthz", include_in_schema=False)  # some load balancers check with HEAD
    @app.get("/healthz", response_model=Health, summary="The process is alive", tags=["operation"])
    async def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    @app.head("/readyz", include_in_schema=False)
    @app.get(
        "/readyz",
        response_model=Health,
        responses={503: {"model": Health, "description": "Warming up or stopping."}},
        summary="Requests will be answered",
        tags=["operation"],
    )
    async def readyz() -> Response:
        trouble = service.trouble()
        return JSONResponse({"status": trouble or "ready"}, 503 if trouble else 200)

    @app.get(
        "/metrics",
        summary="Counters for Prometheus",
        tags=["operation"],
        response_class=Response,
        responses={401: REFUSALS[401]},
    )
    async def metrics() -> Response:
        numbers = await exposition() if exposition else service.meters.exposition()
        return Response(numbers, media_type=EXPOSITION)


def _add_inspect(app: FastAPI, service: Service) -> None:
    body = {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": FORM_SCHEMA},
            "application/json": {"schema": InspectRequest.model_json_schema()},
        },
    }

    @app.post(
        "/v1/inspect",
        response_model=InspectResponse,
        responses=REFUSALS,
        openapi_extra={"requestBody": body},
        summary="Verdict, type, region and reason of one photo or several",
        tags=["inspection"],
    )
    async def inspect(request: Request) -> Response:
        """A photo that cannot be used gets a report with status "error"; the others are still judged. If none can be used, the
        answer is 422."""
        async with admitted(request, service) as data:
            photos, face, tasks = await anyio.to_thread.run_sync(_read_inspect, request, data, service.settings)
            request.state.log = {"photos": len(photos), "bytes": len(data)}
            del data
            reports = await service.inspect(request, photos, face, tasks)
        plain = [report.to_dict() for report in reports]
        if all(report.status == "error" for report in reports):
            if any(report.error == NOT_A_NUMBER for report in reports):
                raise Refusal(500, "no_number", NOT_A_NUMBER, reports=plain)
            raise Refusal(422, "bad_photo", reports[0].error or "", reports=plain)
        return JSONResponse({"request_id": request.state.request_id, "reports": plain})


def _add_chat(app: FastAPI, service: Service) -> None:
    body = {"required": True, "content": {"application/json": {"schema": _inline(ChatRequest.model_json_schema())}}}

    @app.post(
        "/v1/chat/completions",
        responses={**REFUSALS, 404: {"model": ErrorResponse, "description": "Another model than is served."}},
        openapi_extra={"requestBody": body},
        summary="A free question about one photo, in OpenAI's shape",
        tags=["inspection"],
    )
    async def chat(request: Request) -> Response:
        """The model's words, which are not a verdict: for that, use /v1/inspect. The last user message is asked about the
        newest photo; system messages and earlier answers are ignored."""
        async with admitted(request, service) as data:
            if uploads.media_type(request) != "application/json":
                raise Refusal(415, "bad_media_type", "a body of another type — expected application/json — set Content-Type")
            asked = await anyio.to_thread.run_sync(parse, ChatRequest, data)
            question = await anyio.to_thread.run_sync(read_question, asked, service.model_name)
            stream, include_usage = asked.stream, asked.stream_options is not None and asked.stream_options.include_usage
            request.state.log = {"photos": 1, "bytes": len(data), "stream": stream}
            del data, asked
            words, read = await service.ask(request, question.photo, question.prompt, question.face, question.max_tokens)
        usage = (read, words.tokens)
        answer = Answer(request.state.request_id, service.model_name, words, usage, "length" if words.cut else "stop")
        if not stream:
            return JSONResponse(answer.whole())
        return StreamingResponse(answer.stream(include_usage=include_usage), media_type="text/event-stream")


@asynccontextmanager
async def admitted(request: Request, service: Service) -> AsyncIterator[bytes]:
    """Check that there is room for a request, and yield its body."""
    with ExitStack() as held:
        try:
            service.check_open()
            held.enter_context(service.bodies.hold(request))
        except Refusal:
            await uploads.discard_body(request, service.settings)
            raise
        yield await uploads.read_body(request, service.settings)


def _read_inspect(request: Request, body: bytes, settings: Settings) -> tuple[list[bytes], FaceMode, tuple[Task, ...]]:
    """The photos, the face mode and the tasks of a request; nothing else of the body stays in memory."""
    kind = uploads.media_type(request)
    if kind == "multipart/form-data":
        photos, fields = uploads.read_form(request.headers["content-type"], body, settings)
        asked = parse(InspectRequest, fields)
    elif kind == "application/json":
        asked = parse(InspectRequest, body)
        urls = [*([] if asked.image is None else [asked.image]), *(asked.images or [])]
        uploads.check_count(len(urls), settings)
        photos = [uploads.read_data_url(url) for url in urls]
    else:
        message = "a body of another type — expected multipart/form-data or application/json — set Content-Type"
        raise Refusal(415, "bad_media_type", message)
    uploads.check_count(len(photos), settings)
    return photos, asked.face, asked.tasks


def _inline(schema: dict[str, Any]) -> dict[str, Any]:
    """Inline a schema's `$defs`, which OpenAPI would look for elsewhere."""
    parts = schema.pop("$defs", {})

    def put(node: Any) -> Any:
        if isinstance(node, list):
            return [put(one) for one in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return put(parts[node["$ref"].rsplit("/", 1)[-1]])
        return {name: put(value) for name, value in node.items()}

    return put(schema)  # type: ignore[no-any-return]


def parse(model: type[Any], given: bytes | dict[str, str]) -> Any:
    """Validate JSON or form fields as `model`; errors are reported without the values, which may be photos."""
    try:
        return model.model_validate(given) if isinstance(given, dict) else model.model_validate_json(given)
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, fault['loc']))[:80] or 'body'}: {fault['msg'].removeprefix('Value error, ')[:160]}"
            for fault in error.errors(include_url=False, include_context=False, include_input=False)[:5]
        ]
        message = f"{'; '.join(faults)} — expected the fields of /openapi.json — correct them"
        raise Refusal(422, "bad_fields", message) from None


def _version() -> str:
    from faceshield import __version__

    return __version__
