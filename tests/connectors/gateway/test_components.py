"""Files for pages of the host application: under a fixed path and under one that names their contents."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
import zipfile
from base64 import b64encode
from hashlib import sha384
from pathlib import Path

import pytest
from helpers.gateway import Gateway, Reply
from helpers.places import ROOT

from connectors.gateway.components import FILES

PACKED_BYTES_MAX = 12_000
"""What a component may cost a page."""
INBOX = "/components/carillon-inbox.js"


def get(gateway: Gateway, path: str, **headers: str) -> Reply:
    return gateway.get(path, key=None, headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize("name", ["carillon-inbox.js", "carillon-preferences.js"])
def test_a_component_is_small_and_needs_nothing_else(gateway: Gateway, name: str) -> None:
    packed = get(gateway, f"/components/{name}", accept_encoding="br, gzip")
    assert packed.headers["content-encoding"] == "gzip"
    assert len(packed.body) <= PACKED_BYTES_MAX
    content = gzip.decompress(packed.body)
    assert content == get(gateway, f"/components/{name}").body == (FILES / name).read_bytes()
    assert b"\nimport " not in content
    assert b"import(" not in content


@pytest.mark.parametrize("name", ["carillon-inbox.js", "carillon-preferences.js"])
def test_what_a_page_may_style_is_documented(name: str) -> None:
    documents = (ROOT / "docs" / "frontend.md").read_text(encoding="utf-8").partition("\n# The preferences")
    document = documents[2 if "preferences" in name else 0]
    used = set(re.findall(r"var\((--carillon-[a-z-]+)", (FILES / name).read_text(encoding="utf-8")))
    assert len(used) > 7
    assert used == set(re.findall(r"`(--carillon-[a-z-]+)`", document))


def test_a_browser_that_has_the_file_is_told_so(gateway: Gateway) -> None:
    first = get(gateway, INBOX)
    assert first.headers["content-type"].startswith("text/javascript")
    assert (first.headers["cache-control"], first.headers["access-control-allow-origin"]) == ("no-cache", "*")
    again = get(gateway, INBOX, if_none_match=first.headers["etag"])
    assert (again.status, again.body) == (304, b"")
    assert get(gateway, INBOX, if_none_match='"another"').status == 200


def test_the_path_that_names_the_contents_is_kept_for_a_year(gateway: Gateway) -> None:
    named = get(gateway, "/components/index.json").json
    assert set(named) == {path.name for path in FILES.glob("*.js")}
    for name, found in named.items():
        reply = get(gateway, found["path"])
        assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert found["integrity"] == f"sha384-{b64encode(sha384(reply.body).digest()).decode()}"
        assert reply.body == get(gateway, f"/components/{name}").body


def test_a_page_of_another_release_gets_the_present_file_and_asks_again(gateway: Gateway) -> None:
    other = get(gateway, f"/components/carillon-inbox.{'0' * 16}.js")
    assert (other.status, other.headers["cache-control"]) == (200, "no-cache")


def test_nothing_else_is_served(gateway: Gateway) -> None:
    for name in ("carillon-other.js", "carillon-inbox", "..%2Fcomponents.py", "carillon-inbox.js%00", "web"):
        assert get(gateway, f"/components/{name}").status == 404, name


def test_the_files_are_in_the_wheel(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"connectors/gateway/web/{path.name}" for path in FILES.glob("*.js")} <= names
