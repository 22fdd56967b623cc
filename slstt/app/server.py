"""The server behind the page: on this computer only, for whoever has the address that was printed."""

import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

import uvicorn
from fastapi import FastAPI
from fastapi.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from slstt.app import page
from slstt.app.visits import REPORT, Visits, offered

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")
"""Names under which a browser may ask: a page elsewhere whose name is pointed at this computer is refused."""
COOKIE = "slstt_app"
PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' blob: data:; "
    "worker-src 'self' blob:; frame-src 'self'; frame-ancestors 'self'; form-action 'self'; base-uri 'self'; "
    "object-src 'none'"
)
"""What a browser loads for the page: nothing from another host, whatever gradio's own files ask for."""
REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src 'self' data:; media-src 'self' data:; frame-ancestors 'self'; form-action 'none'; base-uri 'none'"
)
"""A report may show its pictures and its video and run its own few lines, and can send nothing anywhere."""


class Guard:
    """Lets in who has the key: in the address once, then in a cookie. What was made has its own key in its address."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self.app, self.key = app, key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("content-security-policy", PAGE_POLICY)
                headers["x-content-type-options"] = "nosniff"
                headers["referrer-policy"] = "no-referrer"
                headers["cache-control"] = "no-store"
            await send(message)

        refusal = self._refusal(scope)
        await (self.app if refusal is None else refusal)(scope, receive, sending)

    def _refusal(self, scope: Scope) -> Response | None:
        headers, path = Headers(scope=scope), scope["path"]
        if headers.get("host", "").rsplit(":", 1)[0] not in NAMES:
            return PlainTextResponse("unknown host", status_code=421)
        if path.startswith(f"/{page.FOLDER}/"):
            return None
        given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("key", [""])[0]
        if path == "/" and given and secrets.compare_digest(given.encode(), self.key.encode()):
            answer = RedirectResponse("/", status_code=303)
            answer.set_cookie(COOKIE, self.key, httponly=True, samesite="strict")
            return answer
        if secrets.compare_digest(_cookie(headers).encode(), self.key.encode()):
            return None
        return PlainTextResponse("open the whole address that slstt-app printed, with its key", status_code=403)


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found is not None else ""


def made_files(visits: Visits) -> FastAPI:
    """What was made in the visits, to be shown and downloaded; nothing guards it yet."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get(f"/{page.FOLDER}/{{token}}/{{name}}")
    def made(token: str, name: str) -> Response:
        folder = visits.served.get(token)
        path = offered(folder, name) if folder is not None else None
        if path is None:
            return PlainTextResponse("gone: it was deleted when its page was closed", status_code=404)
        policy = {"content-security-policy": REPORT_POLICY}
        if name == REPORT:
            return FileResponse(path, media_type="text/html; charset=utf-8", headers=policy)
        if name.endswith(".mp4"):
            return FileResponse(path, media_type="video/mp4", headers=policy)
        return FileResponse(path, filename=name, media_type="application/octet-stream", headers=policy)

    return app


def application(visits: Visits, port: int) -> FastAPI:
    """The page and what was made in the visits; nothing guards it yet."""
    return page.gr.mount_gradio_app(
        made_files(visits),
        page.build(visits),
        path="/",
        server_name=HOST,
        server_port=port,
        footer_links=[],
        run_history=False,
        max_file_size=round(visits.bounds.largest_mb * 1e6),
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=page.THEME,
        css=page.STYLE,
    )


def serve(visits: Visits, port: int, key: str, quiet: bool = False) -> None:
    """Serve until interrupted; every visit has ended afterwards."""
    app = Guard(application(visits, port), key)
    level = "error" if quiet else "warning"
    settings = uvicorn.Config(app, host=HOST, port=port, log_level=level, access_log=False, timeout_graceful_shutdown=3)
    try:
        uvicorn.Server(settings).run()
    finally:
        visits.end_all()


def address(port: int, key: str) -> str:
    """What to open in a browser."""
    return f"http://{HOST}:{port}/?key={key}"
