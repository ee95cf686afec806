"""Pages behind links while a gateway starts: people get a page in their language, programs a problem document."""

from pathlib import Path

from helpers.console import Browser
from helpers.gateway import Gateway, now_ms
from helpers.gateway_process import LINK_KEYS
from helpers.waiting import wait_for

from state.model.page_link import PageKeys, PageLink
from state.model.unsubscribe import LinkKeys, Unsubscription

HEADERS = {"accept": "text/html,application/xhtml+xml;q=0.9", "accept-language": "de-AT,en;q=0.5"}


def test_people_are_told_to_wait_and_what_they_sent_is_not_asked_for_again(tmp_path: Path) -> None:
    own = "/preferences/" + PageKeys(LINK_KEYS).sign(PageLink("ann", "", now_ms() + 600_000))
    stop = "/v1/unsubscribe/" + LinkKeys(LINK_KEYS).sign(Unsubscription("ann", "email", ("marketing",), 1))
    gateway = Gateway(tmp_path)
    try:
        browser = Browser(gateway, headers=HEADERS)
        with gateway.fault("unread_preferences"):
            gateway.launch()
            shown = browser.get(own)
            assert (shown.status, shown.headers.get("retry-after")) == (503, "2"), shown.words
            assert "Die Seite kommt in wenigen Sekunden von selbst" in shown.words
            assert 'http-equiv="refresh"' in shown.text
            for path in (own, stop, f"{stop}/less"):
                sent = browser.send(path, {"List-Unsubscribe": "One-Click"})
                assert (sent.status, "es wurde nichts gespeichert" in sent.words) == (503, True), path
                assert 'http-equiv="refresh"' not in sent.text
            told = Browser(gateway).send(stop, {"List-Unsubscribe": "One-Click"})
            assert (told.status, told.headers["content-type"]) == (503, "application/problem+json")
        wait_for(lambda: browser.get(own).status == 200)
    finally:
        gateway.close()
