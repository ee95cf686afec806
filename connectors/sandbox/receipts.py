"""What the simulated Twilio reports of the messages that it took, to a StatusCallback on this machine: signed forms.

Ordinary numbers report `sent`, then `delivered`. `+1998N...` chooses what goes wrong, by N: 0 all reports late and
twice, 1 in another order, 2 with contradictions, 3 forged, 4 undelivered (30005, nobody has the number), 5 failed. The
order is drawn by the message's sid, so that the same one is told alike. Addresses elsewhere are never called.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple
from urllib.parse import urlencode

from connectors.providers.options import EgressOptions
from connectors.providers.request import Request
from connectors.providers.sms.twilio_receipts import twilio_signature
from state.model.web_address import WebAddress, literal, parse_url

_CHOSEN = re.compile(r"\+1998([0-5])")
_FIRST, _GOOD = ("sent", ""), ("delivered", "")
_LATE_S = 0.5
_DEADLINE = timedelta(seconds=10)
_FORM = {"content-type": "application/x-www-form-urlencoded"}
_Report = tuple[str, str]
"""Status, and code or none."""


class _Reports(NamedTuple):
    """What is reported of a message, and how."""

    reports: Sequence[_Report]
    late_s: float = 0.0
    forged: bool = False


def told_of(number: str, sid: str) -> _Reports:
    """What a number gets reported."""
    chosen, chance = _CHOSEN.match(number), random.Random(sid)
    match chosen and chosen[1]:
        case "0":
            return _Reports([_FIRST, _GOOD, _FIRST, _GOOD], late_s=_LATE_S)
        case "1":
            return _Reports([_GOOD, *chance.sample([_FIRST, ("queued", ""), ("sending", "")], 3)])
        case "2":
            return _Reports([_GOOD, ("undelivered", "30003"), _FIRST, ("failed", "30008")])
        case "3":
            return _Reports([_FIRST, ("undelivered", "30005")], forged=True)
        case "4":
            return _Reports([_FIRST, ("undelivered", "30005")])
        case "5":
            return _Reports([("failed", "30008")])
    return _Reports([_FIRST, _GOOD])


def local_address(url: str) -> WebAddress | None:
    """A URL of this machine; None: it is elsewhere, or none."""
    address = parse_url(url)
    place = None if address is None else literal(address.host)
    return address if place is not None and place.is_loopback else None


class Receipts:
    """Reports, each message's in order."""

    def __init__(self, account_sid: str, auth_token: str) -> None:
        """The account whose secret signs."""
        self._account_sid, self._auth_token = account_sid, auth_token
        self._tasks = set[asyncio.Task[None]]()

    def begin(self, number: str, sid: str, callback: str) -> None:
        """Report of a message from now on, if its callback is on this machine."""
        address = local_address(callback)
        if address is not None:
            task = asyncio.get_running_loop().create_task(self._report(number, sid, callback, address))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _report(self, number: str, sid: str, callback: str, address: WebAddress) -> None:
        told = told_of(number, sid)
        from connectors.providers.egress import Egress  # with the client for HTTP, which few sandboxes need
        from connectors.providers.transport import TransportError

        here = EgressOptions(ports=(address.port,), plain_http=True, private_networks=("127.0.0.0/8",))
        egress = Egress(here)
        try:
            await asyncio.sleep(told.late_s)
            for status, code in told.reports:
                form = [
                    ("AccountSid", self._account_sid),
                    ("MessageSid", sid),
                    ("MessageStatus", status),
                    ("To", number),
                ]
                form += [("ErrorCode", code)] if code else []
                secret = "not the account's" if told.forged else self._auth_token
                headers = _FORM | {"x-twilio-signature": twilio_signature(callback, form, secret)}
                request = Request(address.target, headers, urlencode(form).encode())
                await egress.request(address, request, _DEADLINE)
        except TransportError:
            return  # nobody listens; Twilio gives up as well
        finally:
            await egress.close()
