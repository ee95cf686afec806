"""Where users are reached: for one and for many the same, whatever was registered, retired, served, stored and loaded.

What is expected is said here a second time, over a dictionary of what was registered last under each name.
"""

from __future__ import annotations

import random
from typing import Any

import msgspec
import numpy as np
import pytest

from state.decide import codec
from state.decide.preferences import PreferenceTable
from state.decide.users import UserTable
from state.model.addresses import Served, canonical
from state.model.arrow_stream import arrow_column
from state.model.delivery import (
    DeviceAddress,
    Endpoint,
    addresses_of,
    pack_endpoints,
    packed_endpoints,
    unpack_endpoints,
)

USERS = [f"u{number}" for number in range(12)]
TOKEN = "AB" * 32
ADDRESSES = {
    "push": ("ab" * 32, TOKEN, "no token", None),
    "sms": ("+4915112345678", "+49 151 12345678"),
    "email": ("ann@example.org", "ann@EXAMPLE.org", "none"),
}
SERVED: Served = {"push": {"ios": "apns", "*": "apns"}, "sms": {"*": "e164"}, "email": {"*": "mail"}}
LESS: Served = {"push": {"ios": "apns"}, "email": {"*": "mail"}}
SANDBOX: Served = {"push": {"ios": "apns_sandbox", "*": "apns"}, "sms": {"*": "e164"}, "email": {"*": "mail"}}
Registered = dict[tuple[str, str, str], Endpoint]


def expected(registered: Registered, served: Served | None, user: str, channel: str) -> tuple[DeviceAddress, ...]:
    of_channel = [each for (whose, name, _), each in registered.items() if (whose, name) == (user, channel)]
    found = []
    for each in sorted(of_channel, key=lambda one: one.id):
        address = canonical(served, channel, each.platform, each.address)
        if each.active and (served is None or address is not None):
            found.append((each.place, DeviceAddress(each.id, each.platform, address, each.registered_at)))
    if channel == "push" or not found:
        return tuple(device for _, device in found)
    return (max(found, key=lambda one: one[0])[1],)


def change(users: UserTable, registered: Registered, choose: random.Random, place: int) -> None:
    channel = choose.choice([*ADDRESSES])
    user, name = choose.choice(USERS), choose.choice("ab")
    platform = choose.choice(["ios", "android", None]) if channel == "push" else None
    if choose.random() < 0.15:
        users.retire_endpoint(user, channel, name, place, place)
        if (user, channel, name) in registered:
            registered[user, channel, name] = registered[user, channel, name]._replace(active=False, place=place)
        return
    endpoint = Endpoint(channel, name, platform, choose.choice(ADDRESSES[channel]), True, place - 1, place)
    users.set_endpoint(user, endpoint)
    registered[user, channel, name] = endpoint


def reloaded(users: UserTable) -> UserTable:
    again = UserTable(PreferenceTable())
    again.served = users.served
    codec.decode_users(again, 0, codec.encode_users(users, range(len(users))))
    return again


def check(users: UserTable, registered: Registered, served: Served | None, choose: random.Random) -> int:
    """Gives how many rows are not sent to as they are registered."""
    rows = np.array(choose.sample(range(len(USERS)), choose.randrange(1, len(USERS) + 1)), np.int32)
    packed: list[Any] = arrow_column(users.reached_of(rows)).to_pylist()
    many = [packed_endpoints(each) for each in packed]
    for row, endpoints in zip(rows.tolist(), many, strict=True):
        usable = set()
        for channel in ADDRESSES:
            devices = expected(registered, served, users.ids[row], channel)
            assert addresses_of(endpoints, channel) == users.devices(row, channel) == devices
            usable |= {channel} if devices else set()
        assert users.usable[row] == sum({"push": 1, "sms": 2, "email": 4}[channel] for channel in usable)
        assert users.push_devices[row] == len(expected(registered, served, users.ids[row], "push"))
    return sum(
        len(endpoints) != len(users.endpoints_of(row)) for row, endpoints in zip(rows.tolist(), many, strict=True)
    )


@pytest.mark.parametrize("seed", range(20))
def test_one_and_many_are_reached_where_they_registered(seed: int) -> None:
    choose, registered = random.Random(seed), Registered()
    users, served, others = UserTable(PreferenceTable()), None, 0
    for user in USERS:
        users.row(user)
    for place in range(1, 400):
        change(users, registered, choose, place)
        if choose.random() < 0.03:
            served = choose.choice([SERVED, LESS, SANDBOX, None])
            users.serve(served)
        if choose.random() < 0.05:
            users = reloaded(users)
        if choose.random() < 0.2:
            others += check(users, registered, served, choose)
    assert others > 10, "the test met rows of both kinds"


OTHERS = [None, "", TOKEN, "a" * 63, "ab " * 32, "a_" * 32, "\uff10" * 64, "https://hooks.example/" + "ab" * 32]


@pytest.mark.parametrize("address", ["ab" * 16, "ab" * 32, *OTHERS])
def test_every_address_is_read_as_it_was_registered(address: str | None) -> None:
    endpoint = Endpoint("push", "phone", "ios", address, True, 5, 7)
    packed, earlier = pack_endpoints([endpoint]), msgspec.msgpack.encode([endpoint])
    assert unpack_endpoints(packed) == unpack_endpoints(earlier) == [endpoint]
    assert (packed == earlier) == (address in OTHERS), "a token in hex takes half the bytes"
