"""What the API says of types."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from connectors.gateway.answers import Reply
from state.model.documents import Exact, Text
from state.model.registry import TypeProfile
from state.model.type_record import TypeRecord


class TypeShown(Reply):
    """What is in force of a type, and where it is from."""

    type: Text
    source: Annotated[
        Literal["default", "file", "published"],
        Meta(description="What was published stands before the configuration file, and this before the defaults."),
    ]
    version: Annotated[Exact, Meta(description="How often it was published or taken back; 0: never.")]
    by: Annotated[str | None, Meta(description="Who published it, or took it back, last.")]
    reason: str | None
    profile: Annotated[dict[str, Any], Meta(description="All that is in force, as in a table `[types.NAME]`.")]
    file: Annotated[dict[str, Any] | None, Meta(description="Its table in the configuration file.")]
    published: Annotated[dict[str, Any] | None, Meta(description="Its published table, which replaces that one.")]


class TypeCounted(Reply):
    """One outcome or channel."""

    name: str
    was: Annotated[Exact, Meta(description="So often by the types of now.")]
    would: Annotated[Exact, Meta(description="So often with the change.")]


class TypeMoved(Reply):
    """Decisions that would have been others."""

    was: str
    would: str
    count: Exact


class TypeTried(Reply):
    """What a change would have done to what the last day brought."""

    refused: Annotated[str | None, Meta(description="Why nothing can be said; null: it can.")]
    since_ms: Annotated[Exact, Meta(description="From when on decisions were made again.")] = 0
    partitions: Annotated[Exact, Meta(description="Those of the decision log that were decided again.")] = 0
    partitions_all: Exact = 0
    events: Annotated[Exact, Meta(description="Records of the type among them.")] = 0
    payloads_refused: Annotated[Exact, Meta(description="Those that its schema would have refused.")] = 0
    outcomes: Sequence[TypeCounted] = ()
    channels: Sequence[TypeCounted] = ()
    moved: Sequence[TypeMoved] = ()
    others: Annotated[Exact, Meta(description="Decisions of other types: caps and digests are shared.")] = 0


def type_shown(
    profile: TypeProfile, name: str, record: TypeRecord | None, file: Mapping[str, Any] | None
) -> TypeShown:  # fmt: skip
    """What is in force of a type, by its newest record and its table in the file."""
    published = None if record is None else record.table
    fields = msgspec.to_builtins(profile)
    return TypeShown(
        name, "published" if published is not None else "default" if file is None else "file",
        0 if record is None else record.version, None if record is None else record.by,
        None if record is None else record.reason,
        {key: value for key, value in fields.items() if key not in ("name", "registered")},
        None if file is None else dict(file), published,
    )  # fmt: skip


def tried_of(told: Mapping[str, Any]) -> TypeTried:
    """What the process that tries a table printed."""
    if isinstance(told["refused"], str):
        return TypeTried(told["refused"])
    outcomes, channels = ([TypeCounted(*each) for each in told[of]] for of in ("outcomes", "channels"))
    return TypeTried(
        None, told["since_ms"], told["partitions"], told["partitions_all"], told["events"], told["refused"],
        outcomes, channels, [TypeMoved(*each) for each in told["moved"]], told["others"],
    )  # fmt: skip


def without_reasons(tried: TypeTried) -> TypeTried:
    """As senders see it: of a type that was sent to one person, a reason would tell what that person has set."""
    outcomes, moved = dict[str, tuple[int, int]](), Counter[tuple[str, str]]()
    for each in tried.outcomes:
        was, would = outcomes.get(_outcome(each.name), (0, 0))
        outcomes[_outcome(each.name)] = was + each.was, would + each.would
    for change in tried.moved:
        moved[_outcome(change.was), _outcome(change.would)] += change.count
    return replace(
        tried, outcomes=[TypeCounted(name, *counted) for name, counted in outcomes.items()],
        moved=[TypeMoved(*pair, count) for pair, count in moved.items() if pair[0] != pair[1]],
    )  # fmt: skip


def _outcome(name: str) -> str:
    """Reasons stand behind outcomes, which are written large."""
    return name.partition(" ")[0] if name[:1].isupper() else name


class TypesShown(Reply):
    """The registry."""

    types: list[TypeShown]
