"""A writer's HTML: what of it reaches a mail, and what the plain part says of it."""

import pytest

from operators.mail_html import plain_of, sanitised


@pytest.mark.parametrize(
    "harm",
    [
        "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<a href='javascript:alert(1)'>x</a>",
        "<a href='//evil.example'>x</a>", "<svg onload=alert(1)>", "<style>*{}</style>", "<iframe src='https://x'>",
        "<form action='https://x'><input></form>", "<!-- x -->", "<b onclick=alert(1)>x</b>",
        "<p style='background:url(https://x)'>x</p>", "<a href='data:text/html,x'>x</a>", "<base href='https://x'>",
    ],
)  # fmt: skip
def test_what_does_harm_does_not_go_out(harm: str) -> None:
    safe = str(sanitised(f"<p>before</p>{harm}<p>after</p>"))
    assert "before" in safe
    bad = ("alert", "onclick", "onerror", "script", "evil", "<img", "<style", "<form", "<base", "<i", "url(", "data:")
    assert [each for each in bad if each in safe] == []
    assert sanitised(safe) == safe


def test_layout_and_links_stay_and_the_plain_part_says_them() -> None:
    html = '<h1 style="color:red">Hi</h1><ul><li>one</li><li>two</li></ul><a href="https://a.example/x">More</a>'
    safe = str(sanitised(html))
    assert 'style="color:red"' in safe
    assert plain_of(safe) == "Hi\n- one\n- two\nMore (https://a.example/x)"
