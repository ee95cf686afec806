"""What pages of the host application load from us: the components of inbox and preferences, the worker of Web Push.

Each file is there under a fixed path, where a browser asks each time whether it has changed (ETag), and under a path
with its hash, which it keeps for a year. `/components/index.json` names the second, with a hash as the attribute
`integrity` takes it. A path with the hash of another release gives the present file, as the fixed path does: a page
that was made before an upgrade goes on to work.
"""

from __future__ import annotations

import gzip
import re
from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256, sha384
from pathlib import Path

from connectors.gateway.answers import ComponentFile
from connectors.gateway.http import ApiRequest, ApiResponse, json_response
from connectors.gateway.problems import ProblemError

FILES = Path(__file__).with_name("web")
PATH = "/components"
_HASH_LENGTH = 16
_NAME = re.compile(r"([a-z-]+)(?:\.([0-9a-f]{16}))?\.js")
_YEAR_S = 31_536_000
_ANYWHERE = (
    ("access-control-allow-origin", "*"),
    ("cross-origin-resource-policy", "cross-origin"),
    ("vary", "Accept-Encoding"),
)
_WORKER = (
    ("service-worker-allowed", "/"),
    ("content-security-policy", "default-src 'none'; connect-src *"),  # a worker's own policy comes with its script
)


@dataclass(frozen=True, slots=True)
class Component:
    """One file, ready to send."""

    content: bytes
    packed: bytes
    """gzip."""
    name: str
    """Of the contents: hex digits of SHA-256."""
    integrity: str
    headers: tuple[tuple[str, str], ...]


def load_components() -> dict[str, Component]:
    """All files by their names, without `.js`."""
    return {path.stem: _component(path) for path in sorted(FILES.glob("*.js"))}


def _component(path: Path) -> Component:
    content = path.read_bytes()
    return Component(
        content,
        gzip.compress(content, mtime=0),
        sha256(content).hexdigest()[:_HASH_LENGTH],
        f"sha384-{b64encode(sha384(content).digest()).decode()}",
        _WORKER if path.stem.endswith("-worker") else (),
    )


class Components:
    """`GET /components/{file}`."""

    def __init__(self) -> None:
        """Read the files; they are part of the program."""
        self._files = load_components()

    async def get(self, request: ApiRequest) -> ApiResponse:
        """The file, or 304 for who has it.

        :raises ProblemError: 404.
        """
        asked = _NAME.fullmatch(request.parameters["file"])
        found = self._files.get(asked[1]) if asked else None
        if asked is None or found is None:
            raise ProblemError(404, "there is no such component")
        etag = f'W/"{found.name}"'
        kept = f"public, max-age={_YEAR_S}, immutable" if asked[2] == found.name else "no-cache"
        headers = (*_ANYWHERE, *found.headers, ("etag", etag), ("cache-control", kept))
        if etag in (request.header(b"if-none-match") or ""):
            return ApiResponse(304, b"", headers)
        if "gzip" in (request.header(b"accept-encoding") or ""):
            packed = (*headers, ("content-encoding", "gzip"))
            return ApiResponse(200, found.packed, packed, "text/javascript; charset=utf-8")
        return ApiResponse(200, found.content, headers, "text/javascript; charset=utf-8")

    async def index(self, _request: ApiRequest) -> ApiResponse:
        """Where each file is for good, and its hash."""
        named = {
            f"{name}.js": ComponentFile(f"{PATH}/{name}.{file.name}.js", file.integrity)
            for name, file in self._files.items()
        }
        return json_response(200, named, (*_ANYWHERE, ("cache-control", "no-cache")))
