"""How stores write values: one version byte, then MessagePack or what the row's kind says. Integers in keys are
big-endian, so that rows lie in their order.
"""

import struct
from typing import Any

import msgspec

from state.model.errors import StateDamagedError, StateVersionError
from state.model.event import EVENT, Event

VERSION = b"\x01"
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode


def pack(value: object, version: bytes = VERSION) -> bytes:
    """Version byte and MessagePack."""
    return version + _pack(value)


def unpack(value: bytes, what: str, version: bytes = VERSION, *, start: int = 1) -> Any:
    """What was packed, from byte `start` on.

    :raises StateVersionError: written by a later version.
    :raises StateDamagedError: the bytes do not decode.
    """
    try:
        return _unpack(memoryview(unversioned(value, what, version))[start - 1 :])
    except msgspec.DecodeError as error:
        raise StateDamagedError(f"{what}: {error}; restore the store or rebuild it from the log") from error


def unversioned(value: bytes, what: str, version: bytes = VERSION) -> bytes:
    """What follows the version byte.

    :raises StateVersionError: written by a later version.
    """
    if value[:1] != version:
        found = value[:1].hex() or "none"
        raise StateVersionError(
            f"{what}: stored with version {found}, this program knows up to {version[0]}; run a newer one"
        )
    return value[1:]


def u32(number: int) -> bytes:
    """Four bytes, big-endian."""
    return struct.pack(">I", number)


def u64(number: int) -> bytes:
    """Eight bytes, big-endian."""
    return struct.pack(">Q", number)


def encode_stored_event(event: Event) -> bytes:
    """The event with its version byte."""
    return VERSION + EVENT.encode(event)


def decode_stored_event(value: bytes) -> Event:
    """:raises StateVersionError: written by a later version."""
    return EVENT.decode(unversioned(value, "event"))
