"""The routes of the wall, with headers that keep the page to itself."""

from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from anesthesia.reading import Bed
from services.web.history import TREND_S, History, HistoryDown
from services.web.live import Live, TooManyViewers
from services.web.views import Views, viewer_of

STATIC: Final = Path(__file__).with_name("static")
FEED_ANSWERS_WITHIN_S: Final = 5.0
OUR_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; object-src 'none'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guarded:
    """Adds the headers, and turns away requests that a foreign page smuggled to our address (DNS rebinding)."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap the application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        host = Headers(scope=scope).get("host", "")
        name = host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host
        if name not in OUR_NAMES:
            refusal = said("this page has no login yet and answers to localhost only", 421)
            await refusal(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)


def said(error: str, status: int) -> Response:
    """Return an error in words."""
    return JSONResponse({"error": error}, status)


async def _on_http_error(request: Request, fault: Exception) -> Response:
    status = fault.status_code if isinstance(fault, HTTPException) else 500
    words = {404: "there is no such page", 405: "this address is for reading only"}
    return said(f"{words.get(status, 'the request cannot be answered')}: {request.method} {request.url.path}", status)


async def _on_fault(_: Request, __: Exception) -> Response:
    return said("the wall failed on this request; its log says why", 500)


def _viewer(request: Request) -> str:
    return viewer_of(request.client.host if request.client else "", request.headers.get("user-agent", ""))


async def _chained(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    try:
        yield first
        async for message in rest:
            yield message
    finally:
        await rest.aclose()


class Pages:
    """What the addresses answer."""

    def __init__(self, live: Live, history: History, views: Views, beds: Mapping[str, Bed]) -> None:
        """Take what is shown, and what notes who saw it; `beds` by name."""
        self._live, self._history, self._views, self._beds = live, history, views, beds

    async def page(self, _: Request) -> Response:
        """Return the wall's page."""
        return FileResponse(STATIC / "index.html")

    async def wall(self, request: Request) -> Response:
        """Return every room as it is now."""
        self._views.opened(_viewer(request))
        return JSONResponse(self._live.snapshot())

    async def stream(self, request: Request) -> Response:
        """Follow the wall: everything first, then each change."""
        messages = self._live.messages()
        try:
            first = await anext(messages)
        except TooManyViewers:
            return said("too many pages follow the wall already", 503)
        self._views.opened(_viewer(request))
        headers = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}
        return StreamingResponse(_chained(first, messages), media_type="text/event-stream", headers=headers)

    async def trend(self, request: Request) -> Response:
        """Return the last 15 minutes of one bed."""
        name = request.query_params.get("bed", "")
        bed = self._beds.get(name)
        if bed is None:
            return said("give ?bed= with a bed of the site file", 404 if name else 400)
        try:
            runs = await self._history.trend(bed, since=self._live.now_ms() // 1000 - TREND_S)
        except HistoryDown as fault:
            return said(str(fault), 503)
        self._views.viewed(_viewer(request), bed)
        return JSONResponse({"bed": bed.name, "runs": runs})

    async def lives(self, _: Request) -> Response:
        """Tell that the process runs."""
        return JSONResponse({"status": "alive"})

    async def is_ready(self, _: Request) -> Response:
        """Tell whether rooms can be shown: the streams answer. Without PostgreSQL the wall only loses its past."""
        streams = self._live.feed_age_s < FEED_ANSWERS_WITHIN_S
        body = {
            "status": "ready" if streams else "not ready",
            "redis": "answers" if streams else "does not answer",
            "postgresql": "answers" if self._live.database_answers else "does not answer: no trend on load",
        }
        return JSONResponse(body, 200 if streams else 503)


def application(live: Live, history: History, views: Views, beds: Mapping[str, Bed]) -> Starlette:
    """Return the wall as an ASGI application."""
    pages = Pages(live, history, views, beds)
    routes = [
        Route("/", pages.page),
        Route("/api/wall", pages.wall),
        Route("/api/stream", pages.stream),
        Route("/api/history", pages.trend),
        Route("/livez", pages.lives),
        Route("/readyz", pages.is_ready),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    middleware = [Middleware(Guarded), Middleware(GZipMiddleware, minimum_size=1000)]
    return Starlette(routes=routes, middleware=middleware, exception_handlers={HTTPException: _on_http_error, Exception: _on_fault})
