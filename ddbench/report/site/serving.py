"""Shows a site on this machine's loopback address, to nobody else."""

from __future__ import annotations

import functools
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from ddbench.errors import BadRequest, DataMissing, EnvironmentProblem
from ddbench.report.site.writing import MARK, OWN

if TYPE_CHECKING:
    from pathlib import Path

LOOPBACK = "127.0.0.1"

HOSTS = {LOOPBACK, "localhost"}
"""Names a browser on this machine asks by; another one means that a foreign page is behind it."""


class _Handler(SimpleHTTPRequestHandler):
    """Gives the site's own files and nothing else; writes no log."""

    def send_head(self) -> Any:
        host = (self.headers.get("Host") or LOOPBACK).rpartition(":")[0] or (self.headers.get("Host") or LOOPBACK)
        name = self.path.partition("?")[0].partition("#")[0].lstrip("/")
        if host not in HOSTS:
            self.send_error(HTTPStatus.FORBIDDEN, "This site is shown on loopback only")
            return None
        if name and not OWN.fullmatch(name):
            self.send_error(HTTPStatus.NOT_FOUND, "The site has no such file")
            return None
        return super().send_head()

    def end_headers(self) -> None:
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the standard library
        """Say nothing."""


def server(folder: Path, port: int = 0) -> ThreadingHTTPServer:
    """Return a server of a site, bound to loopback; port 0 takes a free one. `serve_forever` starts it.

    Raises:
        DataMissing: There is no site.
        BadRequest: The port is none.
        EnvironmentProblem: The port is taken.
    """
    if not (folder / MARK).is_file():
        raise DataMissing(f"no site in {folder}; build one with: ddbench leaderboard build RECORDS --out {folder}")
    try:
        return ThreadingHTTPServer((LOOPBACK, port), functools.partial(_Handler, directory=str(folder)))
    except OverflowError as error:
        raise BadRequest(f"{port} is no port; give one from 1 to 65535, or 0 for a free one") from error
    except OSError as error:
        raise EnvironmentProblem(
            f"port {port} of {LOOPBACK} cannot be used ({error.strerror}); name another with --port"
        ) from error
