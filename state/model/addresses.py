"""What can be an address, and the one form in which it is stored, compared and sent: one function per kind.

| kind | of | canonical form |
|---|---|---|
| `apns` | device tokens of Apple's platforms | hexadecimal in lower case |
| `apns_sandbox` | the same, where the simulator is the provider | the same, or the name of a misbehaviour, as it is |
| `fcm` | registration tokens and installation IDs of Firebase | as it is: Google names no form |
| `fcm_sandbox` | the same, where the simulator is the provider | the same, or the name of a misbehaviour, as it is |
| `webpush HOST ...` | browsers' push subscriptions at these hosts | JSON (`state/model/subscriptions.py`) |
| `e164` | telephone numbers | E.164: plus sign, country, number, without the prefix of calls within a country |
| `web` | web addresses of public servers | `https`, host in lower case and IDNA's ASCII form (`web_address.py`) |
| `web_private` | the same, where `[egress]` makes exceptions | the same, of any server; the connector decides |
| `web_sandbox` | the same, where the simulators are the receivers | the same, of this machine alone |
| `text` | what a provider of another package takes | as it is |
| others | what a channel of another package takes (`state/model/channels.py`) | as the package says |
| `mail` | mailboxes | local part as it is, domain in lower case and, of other scripts, in IDNA's ASCII form |

The gateway accepts by them what the channels can send, and decide and P0 use them on records that came another way. So
one phone is one phone however it is spelled. A spelling that is no plain one (spaces, angle brackets) is none.

Which kinds there are is a matter of the providers: `Served` says for each channel and platform which kind of address a
provider serves. What it does not name can be reached by nobody. Platforms count in lower case; `*` stands for one that
was not given.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, lru_cache
from importlib.metadata import version
from typing import NamedTuple

import idna

from state.model.channels import AddressKind, added_kinds, added_versions
from state.model.documents import Complaint
from state.model.subscriptions import SubscriptionFault, hosts_of, read_subscription
from state.model.web_address import any_url, parse_url, public_url

Served = Mapping[str, Mapping[str, str]]
"""Channel to platform to kind."""
ANY = "*"
Place = tuple[str, str]
"""Channel and platform of which a provider has charge; `*`: every platform of the channel that no other one has."""
ANDROID = "android"
WEB = "web"
APPLE_PLATFORMS = ("ios", "ipados", "macos", "tvos", "visionos", "watchos")

_HEX = r"(?:[0-9a-fA-F]{2}){32,100}"
_NAMED = (
    r"(?:hang|rst|drop|stall|trickle|garbled|goaway|gone|bad|credential|slow[0-9]{1,5}|[45][0-9]{2}(?:x[0-9]{1,3})?)"
    r"-[A-Za-z0-9._-]{0,200}"
)
_is_hex = re.compile(r"[0-9a-fA-F]{64,200}").fullmatch
"""Five times as fast as `_HEX`: a fan-out asks it of every device."""
_FID = r"[cdef][A-Za-z0-9_-]{21}"
_FCM = rf"{_FID}|[A-Za-z0-9_:-]{{32,1024}}"
_is_fcm, _is_fid = re.compile(_FCM).fullmatch, re.compile(_FID).fullmatch
_is_named = re.compile(_NAMED).fullmatch
_PHONE = r"\+[1-9][0-9]{6,14}"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}")
_LOCAL = re.compile(r"[A-Za-z0-9.#$&'*+/=?^_{|}~-]{1,64}")
_MAIL_MAX = 254


def device_token(address: str) -> str | None:
    """The canonical form of a token of Apple's push service; None: it is none."""
    return address.lower() if len(address) % 2 == 0 and _is_hex(address) else None


def sandbox_token(address: str) -> str | None:
    """As `device_token`, and the names by which the simulator is told to misbehave (`connectors.sandbox`)."""
    token = device_token(address)  # no name is one
    return address if token is None and _is_named(address) else token


def fcm_token(address: str) -> str | None:
    """The canonical form of a registration token or an installation ID of Firebase; None: it is neither."""
    return address if _is_fcm(address) else None


def is_installation_id(address: str) -> bool:
    """Whether an address of Firebase is an installation ID: 22 signs of base64url, the first four bits 0111."""
    return _is_fid(address) is not None


def sandbox_fcm_token(address: str) -> str | None:
    """As `fcm_token`, and the names by which the simulator is told to misbehave, which have no colon."""
    return address if _is_fcm(address) or _is_named(address) else None


def sandbox_url(address: str) -> str | None:
    """The canonical form of a URL that leads to this machine."""
    found = parse_url(address)
    return found.url if found is not None and found.scheme == "https" and found.host == "127.0.0.1" else None


@lru_cache(maxsize=4096)
def mailbox(address: str) -> str | None:
    """A plain addr-spec: no name, quotes or route through other hosts (`@`, `%`, `!`); None: it is none."""
    local, at, domain = address.rpartition("@")
    if not at or not _LOCAL.fullmatch(local):
        return None
    try:
        ascii_domain = domain.lower() if domain.isascii() else idna.encode(domain, uts46=True, std3_rules=True).decode()
    except idna.IDNAError:
        return None
    canonical = f"{local}@{ascii_domain}"
    return canonical if len(canonical) <= _MAIL_MAX and _DOMAIN.fullmatch(ascii_domain) else None


def phone(address: str) -> str | None:
    """A number with as many digits as its country's numbers have; None: it is none, or not in international form."""
    if not re.fullmatch(_PHONE, address, re.ASCII):
        return None
    for digits in (1, 2, 3):
        country = _country(address[1 : 1 + digits])
        if country is not None:
            national = address[1 + digits :]
            plain = len(national) in country.lengths and not country.prefix.match(national)
            return address if plain else parsed_phone(address)
    return None


class _Country(NamedTuple):
    """How a country's numbers look, so that most need not be parsed, which takes thirty times as long."""

    lengths: frozenset[int]
    """Digits of a number without the country's code."""
    prefix: re.Pattern[str]
    """What may be a prefix of calls within the country, to be dropped."""


@lru_cache(maxsize=1200)
def _country(code: str) -> _Country | None:
    import phonenumbers  # heavy, and needed where there are numbers alone

    region = phonenumbers.region_code_for_country_code(int(code or 0))
    numbers = phonenumbers.PhoneMetadata.metadata_for_region_or_calling_code(int(code or 0), region)
    if numbers is None or numbers.general_desc is None:
        return None
    prefix = numbers.national_prefix_for_parsing
    return _Country(frozenset(numbers.general_desc.possible_length), re.compile(f"0|{prefix}" if prefix else "0"))


@lru_cache(maxsize=4096)
def parsed_phone(address: str) -> str | None:
    """As `phone`, of any text that looks like one."""
    import phonenumbers

    try:
        number = phonenumbers.parse(address)
    except phonenumbers.NumberParseException:
        return None
    if phonenumbers.is_possible_number_with_reason(number) != phonenumbers.ValidationResult.IS_POSSIBLE:
        return None
    found = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return found if found == address or phone(found) == found else None


@cache
def forms_version() -> str:
    """Version of the data by which addresses are judged: which numbers a country has, which characters a domain."""
    return ", ".join((f"phonenumbers {version('phonenumbers')}", f"idna {version('idna')}", *added_versions()))


_WEB = "web address of a public server by https, at port 443 or 8443, as https://hooks.example.org/carillon"
_FIREBASE = "registration token (32 to 1024 letters, digits, _ - :) or installation ID (22 letters, digits, _ -)"
_KINDS: Mapping[str, AddressKind] = {
    "apns": AddressKind(device_token, "device token: 64 to 200 hexadecimal digits", _HEX),
    "apns_sandbox": AddressKind(sandbox_token, "device token: 64 to 200 hexadecimal digits", f"{_HEX}|{_NAMED}"),
    "fcm": AddressKind(fcm_token, _FIREBASE, _FCM),
    "fcm_sandbox": AddressKind(sandbox_fcm_token, _FIREBASE, f"{_FCM}|{_NAMED}"),
    "e164": AddressKind(phone, "telephone number in international form, as +4915112345678", _PHONE),
    "web": AddressKind(public_url, _WEB, "https://.+"),
    "web_private": AddressKind(any_url, "web address, as https://hooks.example.org/carillon", "https?://.+"),
    "web_sandbox": AddressKind(
        sandbox_url, "web address of the simulated receiver, as https://127.0.0.1:PORT/NAME", "https://.+"
    ),
    "text": AddressKind(str, "text"),
    "mail": AddressKind(mailbox, "plain mail address, as ann@example.org"),
}


def is_kind(name: str) -> bool:
    """Whether there is such a kind of address."""
    return _kind(name) is not None


def _kind(name: str) -> AddressKind | None:
    """None: it is of browsers' subscriptions, or there is none."""
    return _KINDS.get(name) or added_kinds().get(name)


def kind_reached(served: Served, channel: str, platform: str | None) -> str | None:
    """The kind of address that a provider serves; None: nobody does."""
    platforms = served.get(channel, {})
    if [*platforms] == [ANY]:  # of a channel without platforms, what a record says of one means nothing
        return platforms.get(ANY)
    return platforms.get((platform or ANY).lower())


def moved_places(before: Served, now: Served) -> Callable[[str, str | None], bool]:
    """Of a channel and a platform: whether another kind of address is served than before."""
    return cache(
        lambda channel, platform: kind_reached(before, channel, platform) != kind_reached(now, channel, platform)
    )


def is_served_by(served: Served | None, channel: str, platform: str | None, places: Collection[str]) -> bool:
    """Whether a device is one for the providers of these places: `push/android`, or `push/*` for those that have the
    rest of the channel.
    """
    if f"{channel}/{(platform or ANY).lower()}" in places:
        return True
    if served is None or f"{channel}/{ANY}" not in places:
        return False
    return kind_reached(served, channel, platform) == kind_reached(served, channel, ANY)


def canonical(served: Served | None, channel: str, platform: str | None, address: str | None) -> str | None:
    """The form in which a provider is given the address; None: no provider can ever reach it.

    Where nothing is known of providers (`served` is None: a simulation, a log of before) every address is as it is.
    """
    if served is None or channel == "in_app":
        return address
    kind = kind_reached(served, channel, platform)
    if kind is None or not address:
        return None
    found = _kind(kind)
    return subscription(address, hosts_of(kind)) if found is None else found.canonical(address)


def subscription(address: str, hosts: Sequence[str]) -> str | None:
    """The canonical form of a browser's subscription at one of these hosts; None: it is none."""
    found = read_subscription(address, hosts)
    return None if isinstance(found, SubscriptionFault) else found.text()


def address_complaint(
    served: Served | None, channel: str, platform: str | None, address: str
) -> tuple[str, Complaint] | None:
    """What is wrong with an address of a channel and platform that a provider serves, and with which member of it."""
    if served is None or (name := kind_reached(served, channel, platform)) is None:
        return None
    if (kind := _kind(name)) is None:
        found = read_subscription(address, hosts_of(name))
        return found if isinstance(found, SubscriptionFault) else None
    return None if kind.canonical(address) is not None else ("", (f"is no {kind.form}", f"send a {kind.form}"))


def unserved(served: Served | None, channel: str, platform: str | None) -> tuple[str, Complaint] | None:
    """What no configured provider serves, the platform or the whole channel, and what to do; None: one does."""
    if served is None or kind_reached(served, channel, platform) is not None:
        return None
    if channel not in served:
        return "channel", (_UNSERVED, f"send {' or '.join(served)}, or configure a provider for {channel}")
    platforms = ", ".join(name for name in served[channel] if name != ANY)
    return "platform", (_UNSERVED, f"send one of {platforms}, or configure a provider that serves it")


_UNSERVED = "is served by no configured provider"


def token_pattern(served: Served) -> str:
    """What tokens of any served platform look like, as a regular expression for schemas."""
    kinds = map(_kind, served.get("push", {}).values())
    return "|".join(sorted({r"\{.*\}" if kind is None else kind.pattern for kind in kinds}))
