"""Which sites' pages may call, as a browser asks and hears."""

from collections.abc import Iterator

import pytest
from helpers.callers import user_call
from helpers.gateway import Gateway, Reply, running

SITE, OTHER = "https://www.example.org", "https://evil.example"
PATH = "/v1/preferences"


@pytest.fixture(scope="module")
def open_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(tmp_path_factory.mktemp("origins"), allowed_origins=[SITE]) as gateway:
        yield gateway


def preflight(gateway: Gateway, path: str, method: str, origin: str = SITE) -> Reply:
    asked = {"origin": origin, "access-control-request-method": method}
    return gateway.call("OPTIONS", path, key=None, headers=asked)


def shown(reply: Reply) -> dict[str, str]:
    return {name: value for name, value in reply.headers.items() if name.startswith(("access-control", "vary"))}


def test_a_page_of_an_allowed_site_may_make_the_calls_of_users(open_gateway: Gateway) -> None:
    asked = preflight(open_gateway, PATH, "PUT")
    assert (asked.status, asked.body) == (204, b"")
    assert shown(asked) == {
        "vary": "origin",
        "access-control-allow-origin": SITE,
        "access-control-expose-headers": "etag, retry-after",
        "access-control-allow-methods": "PUT",
        "access-control-allow-headers": "authorization, content-type, if-match, last-event-id",
        "access-control-max-age": "600",
    }
    for answer in (
        user_call(open_gateway, "GET", PATH, origin=SITE),
        open_gateway.get(PATH, key=None, headers={"origin": SITE}),  # a page must be able to read why not
        user_call(open_gateway, "GET", "/v1/notifications/inbox/stream", origin=SITE),
    ):
        assert shown(answer)["access-control-allow-origin"] == SITE
    assert open_gateway.get(PATH, key=None, headers={"origin": SITE}).status == 401


def test_nobody_else_may_and_never_with_cookies(open_gateway: Gateway, gateway: Gateway) -> None:
    assert preflight(open_gateway, PATH, "PUT", OTHER).status == 405
    assert shown(user_call(open_gateway, "GET", PATH, origin=OTHER)) == {"vary": "origin"}
    assert shown(user_call(open_gateway, "GET", PATH, origin=SITE.upper())) == {"vary": "origin"}
    assert preflight(gateway, PATH, "PUT").status == 405, "by default there is no such site"
    assert shown(user_call(gateway, "GET", PATH, origin=SITE)) == {}
    for path, method in (("/v1/notifications", "POST"), ("/v1/ops/kill", "POST"), (PATH, "DELETE"), ("/x", "GET")):
        assert preflight(open_gateway, path, method).status in (404, 405)
    sent = open_gateway.post({"type": "like", "actor": "bob", "target": "anne"}, headers={"origin": SITE})
    assert (sent.status, shown(sent)) == (202, {})
    assert "access-control-allow-credentials" not in preflight(open_gateway, PATH, "GET").headers
