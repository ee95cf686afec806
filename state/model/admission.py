"""What the gateway and the admission rules say to each other (RULES 1). Values only: the rules are `operators.admit`.

The gateway is a connector and must not import operators, so it is handed an object that keeps `AdmissionRules`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from state.model.addresses import Served
from state.model.documents import Document
from state.model.event import Event
from state.model.registry import TypeProfile


class FieldError(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing wrong with a document; it never repeats a value, which could be a secret."""

    path: str
    """Names joined by dots, list positions in brackets: `payload.lines[3]`; empty: the document itself."""
    problem: str
    remedy: str


_NAME_SHOWN_MAX = 64
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def child_path(path: str, name: str) -> str:
    """The path of a member; its name may come from outside, so it is shown short and without control characters."""
    shown = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", name[:_NAME_SHOWN_MAX])
    return f"{path}.{shown}" if path else shown


class Sender(NamedTuple):
    """Who asks, as the credential says."""

    sender_id: str
    classes: frozenset[str] = frozenset(("P1", "P2"))
    """Types of these classes may be sent, unless the type names its owners."""
    types: tuple[str, ...] = ("*",)
    """Of these, the types that may be sent: names, or prefixes that end in a star."""


class RepeatCheck(msgspec.Struct, frozen=True, gc=False):
    """What an admission store needs to recognise repeats of one event; all times in milliseconds UTC."""

    event_id: str
    given: bool
    """Whether the producer chose the event_id; a generated one needs no look-up."""
    sender_id: str
    scope: bytes | None
    """16 bytes naming (sender, key) or the repeat kind; None: a keyless P0 event, never a repeat but by event_id."""
    keyed: bool
    """Another content in the scope is a conflict (a client's key), or a new event in place of the latest (none)."""
    content: bytes
    """32 bytes compared within the scope."""
    scope_until_ms: int
    """First instant at which the scope no longer recognises this event."""
    event_until_ms: int
    """The same for its event_id."""
    kept_until_ms: int
    """When it is released, for an event kept for later; else 0."""
    fan_out_type: str


class Admitted(NamedTuple):
    """An event that may be accepted, resolved, and its claim."""

    event: Event
    claim: RepeatCheck


class RefusedRequest(NamedTuple):
    """A request that must not be accepted: 400 or 403."""

    status: int
    errors: tuple[FieldError, ...]


class Outlook(NamedTuple):
    """Whether a message would reach a user as he is now."""

    channels: tuple[str, ...]
    """Those it would go by."""
    reason: str | None
    """Why it would be suppressed; None: it would not."""


class AdmissionRules(Protocol):
    """The pure rules that the gateway applies; `operators.admit.Rules` keeps them."""

    @property
    def served(self) -> Served | None:
        """What the configured providers reach; None: nothing is known of them."""
        ...

    def judge(
        self, body: Any, sender: Sender, *, now_ms: int, new_event_id: Callable[[], str]
    ) -> Admitted | RefusedRequest:
        """Judge one decoded JSON document; `new_event_id` is called where the producer gave none."""
        ...

    def read_plain(self, body: bytes) -> Sequence[Any] | None:
        """The events of a batch for `judge_all`, where each is as nearly all are; else None. Nothing is wrong then."""
        ...

    def judge_all(
        self, bodies: Sequence[Any], sender: Sender, *, now_ms: int, new_event_id: Callable[[], str]
    ) -> Sequence[Admitted | RefusedRequest]:
        """Judge events of one post, in order: decoded documents, or what `read_plain` gave."""
        ...

    def preference_warnings(self, document: Any) -> Sequence[FieldError]:
        """What a valid document names that the registry does not know: it is stored, and has no effect today."""
        ...

    def document_errors(self, document: Any, kind: type[Document]) -> Sequence[FieldError]:
        """Everything that is wrong with a document of a kind other than events; empty: it may be stored."""
        ...

    def canonical_address(self, channel: str, platform: str | None, address: str | None) -> str | None:
        """The form in which an address is stored and sent; None: no configured provider can reach it."""
        ...

    def outlook(self, event: Event, document: Any, addresses: Collection[str]) -> Outlook:
        """Whether an event of P2 would reach a user of this document, with active addresses on these channels."""
        ...

    def text_errors(self, path: str, value: Any) -> Sequence[FieldError]:
        """The same for one identifier (a user, a segment, a device)."""
        ...

    def type_errors(self, name: str, table: Mapping[str, Any], taken_back: str) -> Sequence[FieldError]:
        """What keeps a table from being published for a type, whoever does so; see `type_record.taken_back`."""
        ...

    def sender_errors(
        self, name: str, sender: Sender, before: TypeProfile, after: TypeProfile | None
    ) -> Sequence[FieldError]:
        """What keeps a sender from publishing it by itself."""
        ...

    def type_names(self) -> Sequence[str]:
        """The types of the registry."""
        ...

    def profile(self, type_name: str) -> TypeProfile:
        """What the registry says of a type."""
        ...
