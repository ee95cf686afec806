"""Which URLs are taken, and which places are public."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.model.web_address import any_url, is_public, parse_url, public_url

OURS = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254",
    "168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1",
    "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.255",
    "240.0.0.1", "255.255.255.255", "::", "::1", "::7f00:1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:8.8.8.8",
    "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:4136:e378::1", "2001:2::1",
    "2001:10::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::", "3fff::1", "5f00::1", "fc00::1",
    "fd00:ec2::254", "fe80::1", "febf::1", "fec0::1", "ff02::1",
]  # fmt: skip
PUBLIC = ["1.1.1.1", "8.8.8.8", "100.128.0.1", "172.32.0.1", "192.0.1.1", "223.255.255.255", "2606:4700::1", "2a00::1"]
LOOPBACK = [
    "127.0.0.1", "127.1", "127.0.1", "2130706433", "017700000001", "0x7f000001", "0x7F.0.0.0x1", "0177.0.0.1",
    "127.0.0.1.", "0x7f.1.", "00000000177.0.0.1",
    "\uff11\uff12\uff17.\uff10.\uff10.\uff11", "127\u30020\u30020\u30021", "127\uff0e0\uff0e0\uff0e1",
    "\u2460\u2461\u2466.0.0.1",
]  # fmt: skip
"""Spellings of one address."""


@pytest.mark.parametrize("address", OURS)
def test_nothing_of_ours_is_public(address: str) -> None:
    assert not is_public(ip_address(address))
    host = f"[{address}]" if ":" in address else address
    assert public_url(f"https://{host}/hook") is None


@pytest.mark.parametrize("address", PUBLIC)
def test_the_rest_is(address: str) -> None:
    assert is_public(ip_address(address))
    host = f"[{address}]" if ":" in address else address
    assert public_url(f"https://{host}/hook") == f"https://{host}/hook"


@pytest.mark.parametrize("host", LOOPBACK)
def test_a_number_in_any_spelling_is_the_address_that_it_stands_for(host: str) -> None:
    found = parse_url(f"https://{host}/")
    assert found is not None
    assert found.host == "127.0.0.1"
    assert public_url(f"https://{host}/") is None


@given(st.integers(0, 2**32 - 1), st.sampled_from(["{}", "{:#x}", "0{:o}"]))
def test_numbers_of_every_base_have_the_verdict_of_their_address(number: int, form: str) -> None:
    host = str(ip_address(number))
    assert public_url(f"https://{form.format(number)}/") == public_url(f"https://{host}/")


@pytest.mark.parametrize(
    "text",
    [
        "", "hooks.example.com", "//hooks.example.com/", "https:hooks.example.com", "https:///x", "https://",
        "ftp://hooks.example.com/", "file:///etc/passwd", "gopher://hooks.example.com/", "unix:/run/x.sock",
        "https://ann@hooks.example.com/", "https://ann:pw@hooks.example.com/", "https://hooks.example.com#@x.example/",
        "https://hooks.example.com/#part", "https://hooks.example.com\\@x.example/", "https://hooks.example.com/a\\b",
        "https://hooks.example.com /", " https://hooks.example.com/", "https://hooks.example.com/a b",
        "https://hooks.exam\tple.com/", "https://hooks.example.com/\n", "https://hooks.example.com/\r\nX: y",
        "https://hooks%2eexample.com/", "https://[fe80::1%25eth0]/", "https://[::1", "https://::1/",
        "https://[127.0.0.1]/", "https://hooks..example.com/", "https://.example.com/", "https://-a.example.com/",
        "https://hooks.example.com:0/", "https://hooks.example.com:65536/", "https://hooks.example.com:+443/",
        "https://256.1.1.1/", "https://1.2.3.4.5/", "https://hooks.09/", "https://1.2.3.256/", "https://0x1ffffffff/",
        "https://hooks.example.com/%zz", "https://hooks.example.com/ü", "https://hooks.example.com/" + "a" * 2048,
        "http\u017f://hooks.example.com/", "https://hooks.example.com/\u017f", "https://hooks.example.com/\u0130",
        "https://hooks.example\u3000.com/", f"https://{'a' * 64}.example.com/", f"https://{'a.' * 127}com/",
    ],
)  # fmt: skip
def test_what_parsers_disagree_about_is_no_address(text: str) -> None:
    assert any_url(text) is None


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("https://hooks.example.com", "https://hooks.example.com/"),
        ("HTTPS://Hooks.EXAMPLE.com.:443/A?b=%2F", "https://hooks.example.com/A?b=%2F"),
        ("https://hooks.example.com:8443?a", "https://hooks.example.com:8443/?a"),
        ("https://b\xfccher\u3002example/x", "https://xn--bcher-kva.example/x"),
        ("https://[2606:4700:0:0::1]/", "https://[2606:4700::1]/"),
        ("https://134744072/", "https://8.8.8.8/"),
    ],
)
def test_one_address_has_one_spelling(text: str, canonical: str) -> None:
    assert public_url(text) == canonical == public_url(canonical)


@pytest.mark.parametrize("text", ["http://hooks.example.com/", "https://hooks.example.com:22/", "https://localhost/"])
def test_other_schemes_and_ports_and_names_of_this_machine_are_not_public(text: str) -> None:
    assert public_url(text) is None
    assert any_url(text) == text


@given(st.text(max_size=40))
def test_no_text_breaks_it(text: str) -> None:
    for whole in (text, f"https://{text}", f"https://{text}/", f"https://x.example/{text}"):
        found = any_url(whole)
        assert found is None or (found.isascii() and any_url(found) == found)
