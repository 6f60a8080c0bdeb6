"""The aiohttp application: each route of the table, and every error in the envelope.

One middleware stands around everything, so that what aiohttp itself answers (no such path, no such method)
has the same form. Nothing of a request but its method and path is ever logged.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from aiohttp import HttpVersion11, web
from aiohttp.typedefs import Handler as WebHandler
from aiohttp.typedefs import Middleware

from jobd.api import envelope, openapi
from jobd.api.call import Api, Call
from jobd.api.caller import Callers
from jobd.api.envelope import Answer
from jobd.api.routes import ROUTES, Route
from jobd.errors import Forbidden, JobdError
from jobd.verbs.desk import Caller, Desk

log = logging.getLogger(__name__)

API: web.AppKey[Api] = web.AppKey("api", Api)

_NOBODY = Caller(-1, -1, "")
_LAST_OF_ITS_CONNECTION = frozenset({408, 413})
"""What the caller was about to send is still on its way."""


def make_app(desk: Desk, about: Callable[[], dict[str, Any]] = dict) -> web.Application:
    """To be served by `serve.Server`. `about`: what the daemon says of itself to `doctor`."""
    api = Api(desk, Callers(desk), about, document=_document)
    app = web.Application(client_max_size=desk.settings.max_body, middlewares=[_errors_in_envelopes(api)])
    app[API] = api
    for route in ROUTES:
        _add(app.router, route, _served(api, route))
    return app


@cache
def _document() -> bytes:
    """Made when somebody first asks for it: that takes as long as many jobs."""
    return envelope.text(openapi.document(ROUTES))


def _add(router: web.UrlDispatcher, route: Route, handler: WebHandler) -> None:
    path = route.path.replace("{path}", "{path:.*}")
    for spelling in (path,) if path.endswith("}") and ":" in path else (path, f"{path}/"):
        router.add_route(route.method, spelling, handler, expect_handler=_expected)
        if route.method == "GET":
            router.add_route("HEAD", spelling, handler, expect_handler=_expected)


async def _expected(request: web.Request) -> web.StreamResponse | None:
    """aiohttp asks before any middleware what to do about an `Expect` header."""
    if request.version < HttpVersion11:  # which has no such header
        return None
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # Or it counts as the beginning of the answer, which could not be replaced by an error any more.
        request.writer.output_size = 0
        return None
    response = envelope.error(_OfHttp(417, "that cannot be expected of jobd (expected 100-continue)"))
    response.force_close()  # its body, if any, may be on its way or not
    return response


def _served(api: Api, route: Route) -> WebHandler:
    async def handler(request: web.Request) -> web.StreamResponse:
        shape = envelope.shape(request.query)
        answer = await route.handler(Call(api, request, _caller(api, route, request)))
        return envelope.response(answer, shape) if isinstance(answer, Answer) else answer

    return handler


def _caller(api: Api, route: Route, request: web.Request) -> Caller:
    try:
        return api.callers.of(request)
    except Forbidden:
        if route.open:
            return _NOBODY
        raise


def _errors_in_envelopes(api: Api) -> Middleware:
    @web.middleware
    async def middleware(request: web.Request, handler: WebHandler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except JobdError as failure:
            response = _failed(request, failure)
        except web.HTTPException as refusal:
            response = _refused(request, refusal)
        except Exception as error:
            if isinstance(error, ConnectionError) and _gone(request):
                raise
            log.exception("a request could not be answered: %s %s", request.method, _path(request))
            response = envelope.error(JobdError("jobd itself has failed; its log says how"))
        api.answered[response.status] += 1
        return response

    return middleware


def _gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _failed(request: web.Request, failure: JobdError) -> web.StreamResponse:
    response = envelope.error(failure, "pretty" in request.query, getattr(failure, "headers", None))
    if failure.code in _LAST_OF_ITS_CONNECTION:
        response.force_close()
    return response


class _OfHttp(JobdError):
    """What aiohttp has found out by itself."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def _refused(request: web.Request, refusal: web.HTTPException) -> web.StreamResponse:
    headers = {}
    words = f"{request.method} {_path(request)}: {refusal.reason}"
    if isinstance(refusal, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(refusal.allowed_methods))
        words, headers = (
            f"{request.method} is not for {_path(request)} (expected {allowed})",
            {"Allow": allowed},
        )
    elif refusal.status == 404:
        words = f"there is nothing at {_path(request)} (see /openapi.json)"
    return envelope.error(_OfHttp(refusal.status, words), "pretty" in request.query, headers)


def _path(request: web.Request) -> str:
    """Without control characters, which a log's reader would have to suffer."""
    return re.sub(r"[^ -~]", "?", request.path)[:200]
