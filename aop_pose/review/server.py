"""The review page over HTTP, for this machine alone: 127.0.0.1, a token in the address, a check of the host."""

# No "from __future__ import annotations": FastAPI reads the annotations of functions inside a function.
import json
import secrets
import socket
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone
from hmac import compare_digest
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from aop_pose.errors import AopPoseError, UnreadableError, UsageError
from aop_pose.review.session import NotSavedError, Session

if TYPE_CHECKING:
    from fastapi import FastAPI

HOST = "127.0.0.1"
INSTALL = "install what the review page needs: pip install 'aop-pose[review]'"
PAGE = {
    "": ("page.html", "text/html; charset=utf-8"),
    "page.css": ("page.css", "text/css; charset=utf-8"),
    "page.js": ("page.js", "text/javascript; charset=utf-8"),
    "stage.js": ("stage.js", "text/javascript; charset=utf-8"),
    "geometry.js": ("geometry.js", "text/javascript; charset=utf-8"),
}
"""Path below the token -> file beside this module, and its type."""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_MOST_BYTES = 100_000


def bound(port: int) -> socket.socket:
    """A socket of this machine alone, on a port, 0 = any that is free; UsageError where it is taken."""
    # With its protocol said, or asyncio leaves Nagle's delay of 40 ms on: answers would come in two halves.
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    # A server that was killed leaves its port in a waiting state, which does not keep the next one out.
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((HOST, port))
    except (OSError, OverflowError) as error:
        made.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"--port: {port} cannot be used ({reason}); give another one, or none") from None
    return made


def serve(session: Session, port: int, say: Callable[[str], None], show: Callable[[str], object]) -> None:
    """Answer the page until Ctrl-C; the log of the session is open by then.

    Args:
        port: as ``bound`` takes it.
        say: is told the address and where decisions go.
        show: is called with the address.

    Raises:
        UsageError: the port is taken, or what serving needs is not installed.
    """
    try:
        import fastapi  # noqa: F401
        import uvicorn
    except ImportError:
        raise UsageError(f"the page cannot be served; {INSTALL}") from None
    token = secrets.token_urlsafe(24)
    with bound(port) as made:
        port = made.getsockname()[1]
        address = f"http://{HOST}:{port}/{token}/"
        config = uvicorn.Config(
            app(session, token, port), log_level="critical", access_log=False, server_header=False, lifespan="off",
            timeout_graceful_shutdown=2,
        )  # fmt: skip
        say(f"{address} (for this machine alone; Ctrl-C ends it)")
        # It answers from here on: what comes before the server runs waits in the socket.
        made.listen(64)
        show(address)
        uvicorn.Server(config).run(sockets=[made])


def app(session: Session, token: str, port: int) -> "FastAPI":
    """The paths of the page, all below the token, for requests that name this machine and this port as their host."""
    from fastapi import FastAPI, Request, Response
    from fastapi.responses import JSONResponse

    made = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    hosts = {f"{name}:{port}" for name in (HOST, "localhost")}
    base = f"/{token}"

    def refused(code: int, why: str) -> JSONResponse:
        return JSONResponse({"error": why}, code, _HEADERS)

    @made.middleware("http")
    async def guard(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        if request.headers.get("host") not in hosts:
            return refused(403, "this page is for this machine alone")
        given = request.url.path.split("/")[1]
        if not compare_digest(given.encode(), token.encode()):
            return refused(403, "the address has a token in it: use the one that aop-pose review has printed")
        origin = request.headers.get("origin")
        if request.method != "GET" and origin not in {None, *(f"http://{host}" for host in hosts)}:
            return refused(403, "a request of another page is refused")
        response = await answer(request)
        response.headers.update(_HEADERS)
        return response

    @made.exception_handler(AopPoseError)
    def said(request: Request, error: AopPoseError) -> JSONResponse:
        if isinstance(error, NotSavedError):
            return refused(422, str(error))
        return refused(404 if isinstance(error, (UsageError, UnreadableError)) else 507, str(error))

    @made.get(f"{base}/run")
    def run() -> JSONResponse:
        return JSONResponse(session.overview())

    @made.get(f"{base}/frames/{{place}}")
    def frame(place: int) -> JSONResponse:
        return JSONResponse(session.frame(place))

    @made.get(f"{base}/frames/{{place}}/picture")
    def picture(place: int) -> Response:
        # Pixels of a place never change while this server runs, and its token is in the address.
        return Response(session.picture(place), media_type="image/png")

    @made.get(f"{base}/frames/{{place}}/label")
    def label(place: int) -> JSONResponse:
        return JSONResponse(session.label(place))

    @made.get(f"{base}/frames/{{place}}/second")
    def second(place: int) -> JSONResponse:
        return JSONResponse(session.second(place))

    @made.get(f"{base}/frames/{{place}}/others")
    def others(place: int) -> JSONResponse:
        return JSONResponse(session.others(place))

    @made.post(f"{base}/decisions")
    async def keep(request: Request) -> JSONResponse:
        sent = await _sent(request)
        return JSONResponse(session.keep(sent, _now()))

    @made.post(f"{base}/undo")
    def undo() -> JSONResponse:
        return JSONResponse(session.undo(_now()))

    @made.get(f"{base}/{{name}}")
    def static(name: str) -> Response:
        if name not in PAGE:
            return refused(404, "there is no such page")
        return _static(name)

    @made.get(f"{base}/")
    def index() -> Response:
        return _static("")

    def _static(name: str) -> Response:
        file, kind = PAGE[name]
        return Response(files("aop_pose.review").joinpath(file).read_bytes(), media_type=kind)

    return made


async def _sent(request: Any) -> dict[str, Any]:
    """The JSON object that was sent; NotSavedError where it is none."""
    size = 0
    parts = []
    async for part in request.stream():
        size += len(part)
        if size > _MOST_BYTES:
            raise NotSavedError("expected a decision, found more than 100 kB")
        parts.append(part)
    try:
        sent = json.loads(b"".join(parts))
    except ValueError:
        sent = None
    if not isinstance(sent, dict):
        raise NotSavedError("expected a decision as a JSON object")
    return sent


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
