"""Key groups: the unit of placement and of order (DECISIONS, Key groups).

A user belongs to key group ``xxh3_64(utf-8 user id) % 240`` for ever, in every topic and store. A topic of P
partitions holds group g in partition ``g * P // 240``.
"""

import hashlib

import orjson
import xxhash

KEY_GROUPS = 240
HASH_END = 1 << 64
"""Above every user's hash."""


def key_group(user: str) -> int:
    """Key group 0..239 of a user id. Lone surrogates (never valid ids) are hashed as ``surrogatepass`` bytes."""
    return xxhash.xxh3_64_intdigest(user.encode("utf-8", "surrogatepass")) % KEY_GROUPS


def user_hash(user: str) -> int:
    """The stable order of users inside a group: their 64-bit hash (slices are ranges of it)."""
    return xxhash.xxh3_64_intdigest(user.encode("utf-8", "surrogatepass"))


def partition_of_group(group: int, partitions: int) -> int:
    """Partition that holds key group `group` in a topic of `partitions` partitions."""
    return group * partitions // KEY_GROUPS


def groups_of_partition(partition: int, partitions: int) -> range:
    """The key groups that partition `partition` of a topic of `partitions` partitions holds."""
    first = -(-partition * KEY_GROUPS // partitions)
    last = -(-(partition + 1) * KEY_GROUPS // partitions)
    return range(first, last)


TAG_BYTES = 8


def emission_base(type_name: str, object_id: str | None, first_event_id: str) -> str:
    """The part of an emission's identity that a fan-out shares."""
    content = orjson.dumps([type_name, object_id, first_event_id])
    return "em_" + hashlib.sha256(content).hexdigest()[:24]


def user_tag(user: str) -> bytes:
    """The user's part of an emission's identity."""
    return hashlib.blake2b(user.encode("utf-8", "surrogatepass"), digest_size=TAG_BYTES).digest()


def emission_id(user: str, type_name: str, object_id: str | None, first_event_id: str) -> str:
    """Identity of an emission, a pure function of (user, type, object, first event_id)."""
    return emission_base(type_name, object_id, first_event_id) + user_tag(user).hex()
