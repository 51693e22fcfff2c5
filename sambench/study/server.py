"""The page that raters work at, served on this machine or, with a token, to others.

Of the standard library: a handful of people who each send a request every half minute need no framework, and a project
that is installed for its numbers should not carry one.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import re
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlencode, urlsplit

from sambench import masks
from sambench.errors import SambenchError, UsageError
from sambench.reporting.site import templates
from sambench.study import pictures
from sambench.study.storage import LEAST, MOST, Job, NotYoursError, Storage

LONGEST_NAME = 60
"""Characters of a rater's name."""

_MOST_BYTES = 10_000
"""Of what a page sends."""

_MOST_SECONDS = 1e6

_SECONDS = 60
"""After which a connection that says nothing is closed."""

_YEAR = 365 * 24 * 3600

_POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_ASSETS = {
    "style.css": "text/css; charset=utf-8",
    "rate.css": "text/css; charset=utf-8",
    "rate.js": "text/javascript; charset=utf-8",
}
_EVERYWHERE = ("", "0.0.0.0", "::")
_LAYERS = {"overlay.png": pictures.RED, "alone.png": pictures.YELLOW}


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Server(ThreadingHTTPServer):
    """Serves a study until :meth:`shutdown`. ``token``: what a browser must know, empty for nothing. ``raters``: how
    many ratings each mask is to get. Port 0 is any that is free."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, storage: Storage, host: str, port: int, *, token: str = "", raters: int = 1) -> None:
        """Raises UsageError if the address cannot be had."""
        if not token and not is_loopback(host):
            raise UsageError(f"--host {host}: others can reach it, so raters need a token")
        self.storage, self.token, self.raters, self.host = storage, token, raters, host
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            what = getattr(error, "strerror", None) or error
            raise UsageError(f"cannot serve at {host} port {port} ({what}): choose another --port or --host") from error

    @property
    def url(self) -> str:
        """What raters open."""
        host = socket.gethostname() if self.host in _EVERYWHERE else f"[{self.host}]" if ":" in self.host else self.host
        query = f"?{urlencode({'token': self.token})}" if self.token else ""
        return f"http://{host}:{self.server_address[1]}/{query}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of a browser that went away."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Refused(Exception):
    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "sambench", ""
    timeout = _SECONDS

    def log_message(self, format: str, *arguments: Any) -> None:
        """Says nothing: the study keeps what matters."""

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, how: Callable[[SplitResult], None]) -> None:
        try:
            self._body = self._read()
            self._check_host()
            how(_split(self.path))
        except _Refused as error:
            self._json({"error": str(error)}, error.status)
        except NotYoursError as error:
            self._json({"error": str(error)}, HTTPStatus.CONFLICT)
        except SambenchError as error:
            self._json({"error": str(error)}, HTTPStatus.SERVICE_UNAVAILABLE)

    def _read(self) -> bytes:
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > _MOST_BYTES or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "that is more than a rating")
        return self.rfile.read(int(length))

    def _check_host(self) -> None:
        """Without a token, only pages of this address may ask: a foreign page whose name resolves to it may not."""
        host = _split(f"//{self.headers.get('Host', '')}").hostname or ""
        if not self.server.token and not is_loopback(host):
            raise _Refused(HTTPStatus.FORBIDDEN, "open the page by the address that the program printed")

    # --- who asks ----------------------------------------------------------------------------------------------------

    def _cookies(self) -> dict[str, str]:
        try:
            return {name: unquote(one.value) for name, one in SimpleCookie(self.headers.get("Cookie", "")).items()}
        except CookieError:
            return {}

    def _may(self, token: str) -> bool:
        return not self.server.token or hmac.compare_digest(token.encode(), self.server.token.encode())

    def _rater(self) -> str:
        """The name of who asks. Raises _Refused."""
        cookies = self._cookies()
        if not self._may(cookies.get("token", "")):
            raise _Refused(HTTPStatus.FORBIDDEN, "this needs the link with the token")
        if not (name := _name(cookies.get("rater", ""))):
            raise _Refused(HTTPStatus.UNAUTHORIZED, "say who you are first: reload the page")
        return name

    # --- what is asked -----------------------------------------------------------------------------------------------

    def _get(self, url: SplitResult) -> None:
        parts = url.path.strip("/").split("/")
        if url.path == "/":
            self._page(parse_qs(url.query).get("token", [""])[0])
        elif parts[0] == "assets" and len(parts) == 2 and parts[1] in _ASSETS:
            self._send(templates.asset(parts[1]), _ASSETS[parts[1]])
        elif url.path == "/api/job":
            self._json(self._next(self._rater()))
        elif parts[0] == "jobs" and len(parts) == 3:
            self._picture(parts[1], parts[2])
        else:
            raise _Refused(HTTPStatus.NOT_FOUND, "there is no such page")

    def _post(self, url: SplitResult) -> None:
        if url.path == "/sign-in":
            self._sign_in()
        elif url.path == "/sign-out":
            self._redirect({"rater": ""})
        elif self.headers.get_content_type() != "application/json":
            # A form of a foreign page could not say so.
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "JSON, please")
        elif url.path == "/api/rating":
            self._rate(self._rater())
        elif url.path == "/api/undo":
            rater = self._rater()
            undone = self.server.storage.undo(rater)
            self._json({**self._next(rater), "undone": None if undone is None else undone[1]})
        else:
            raise _Refused(HTTPStatus.NOT_FOUND, "there is no such page")

    def _page(self, token: str) -> None:
        if token and self._may(token):
            self._redirect({"token": token})
            return
        cookies = self._cookies()
        allowed = self._may(cookies.get("token", ""))
        name = _name(cookies.get("rater", ""))
        if allowed and name:
            page = templates.render("rate.html", rater=name, scores=range(LEAST, MOST + 1))
            self._send(page.encode(), "text/html; charset=utf-8")
        else:
            self._sign_in_page(allowed, name)

    def _sign_in_page(self, allowed: bool, name: str, problem: str = "") -> None:
        page = templates.render(
            "rate_sign_in.html", needs_token=not allowed, name=name, problem=problem, longest=LONGEST_NAME
        )
        status = HTTPStatus.OK if allowed and not problem else HTTPStatus.FORBIDDEN
        self._send(page.encode(), "text/html; charset=utf-8", status)

    def _sign_in(self) -> None:
        fields = parse_qs(self._body.decode("utf-8", "replace"))
        token = fields.get("token", [""])[0].strip() or self._cookies().get("token", "")
        name = _name(fields.get("name", [""])[0])
        if not self._may(token):
            self._sign_in_page(False, name, "That is not the token of this study.")
        elif not name:
            self._sign_in_page(True, name, f"Please give a name of 1 to {LONGEST_NAME} characters.")
        else:
            self._redirect({"rater": name, "token": token})

    def _next(self, rater: str) -> dict[str, Any]:
        storage, raters = self.server.storage, self.server.raters
        id = storage.next_job(rater, raters)
        job = None if id is None else storage.job(id)
        progress = asdict(storage.progress(rater, raters))
        return {"job": None if job is None else _for_page(job), "progress": progress}

    def _rate(self, rater: str) -> None:
        try:
            asked = json.loads(self._body)
            id, score, seconds = asked["job"], asked["score"], asked.get("seconds")
            if not isinstance(id, str) or not (seconds is None or 0 <= seconds < _MOST_SECONDS):
                raise TypeError("job is a text and seconds are a number")
            self.server.storage.rate(id, rater, score, seconds)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _Refused(HTTPStatus.BAD_REQUEST, f"this is not a rating: {error}") from error
        self._json({**self._next(rater), "saved": score})

    def _picture(self, id: str, name: str) -> None:
        self._rater()
        job = self.server.storage.job(id)
        if job is None or name not in ("image.jpg", *_LAYERS):
            raise _Refused(HTTPStatus.NOT_FOUND, "there is no such picture")
        if name in _LAYERS:
            self._send(pictures.layer(masks.from_rle(job.code), _LAYERS[name]), "image/png", keep=True)
            return
        path = self.server.storage.images / job.picture
        try:
            content = path.read_bytes()
        except OSError as error:
            raise SambenchError(f"the picture {path} is not there any more ({error.strerror})") from error
        self._send(content, "image/jpeg", keep=True)

    # --- answering ---------------------------------------------------------------------------------------------------

    def _redirect(self, cookies: Mapping[str, str]) -> None:
        self._send(b"", "text/plain", HTTPStatus.SEE_OTHER, headers={"Location": "/"}, cookies=cookies)

    def _json(self, value: Any, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(json.dumps(value).encode(), "application/json", status)

    def _send(
        self,
        content: bytes,
        kind: str,
        status: HTTPStatus = HTTPStatus.OK,
        *,
        keep: bool = False,
        headers: Mapping[str, str] | None = None,
        cookies: Mapping[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "private, max-age=3600" if keep else "no-store")
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        for name, value in (cookies or {}).items():
            age = _YEAR if value else 0
            self.send_header(
                "Set-Cookie", f"{name}={quote(value, safe='')}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict"
            )
        self.end_headers()
        self.wfile.write(content)


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError as error:
        raise _Refused(HTTPStatus.BAD_REQUEST, f"this is not an address: {error}") from error


def _name(text: str) -> str:
    """A rater's name as it is kept, or an empty text if it is none."""
    name = re.sub(r"\s+", " ", "".join(c for c in text if c.isprintable() or c.isspace())).strip()
    return name if len(name) <= LONGEST_NAME else ""


def _for_page(job: Job) -> dict[str, Any]:
    mask = masks.from_rle(job.code)
    height, width = mask.size
    return {
        "id": job.id,
        "width": width,
        "height": height,
        "point": job.prompt.point,
        "box": job.prompt.box,
        "zoom": pictures.window(mask, job.prompt),
        "empty": mask.area == 0,
    }
