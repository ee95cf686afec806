"""React for the page of a host, fetched once by the ordinary npm client into `.services/`."""

from __future__ import annotations

import subprocess
from hashlib import sha256

from infra.services import CACHE, ServiceError, require

_VERSION = "18.3.1"
"""The last one that a page loads without a build of its own."""
_FILES = {
    "/react.js": (
        "react/umd/react.production.min.js",
        "d949f1c3687aedadcedac85261865f29b17cd273997e7f6b2bfc53b2f9d4c4dd",
    ),
    "/react-dom.js": (
        "react-dom/umd/react-dom.production.min.js",
        "35f4f974f4b2bcd44da73963347f8952e341f83909e4498227d4e26b98f66f0d",
    ),
}


def react_scripts() -> dict[str, str]:
    """Path on the host's site to script.

    :raises ServiceError: npm is not to be had, or gave something else.
    """
    place = CACHE / f"react-{_VERSION}"
    if not all((place / "node_modules" / path).exists() for path, _ in _FILES.values()):
        packages = [f"react@{_VERSION}", f"react-dom@{_VERSION}"]
        options = ["--prefix", str(place), "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        subprocess.run([require("npm"), "install", *options, *packages], check=True, timeout=300)
    found = {}
    for name, (path, expected) in _FILES.items():
        content = (place / "node_modules" / path).read_bytes()
        if sha256(content).hexdigest() != expected:
            raise ServiceError(f"{path} of React {_VERSION} is another file than it was; remove {place}")
        found[name] = content.decode()
    return found
