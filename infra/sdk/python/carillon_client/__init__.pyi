"""The calls of the HTTP API. Written by `make sdk` from the OpenAPI document."""

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager, AbstractContextManager

from . import types

BODY_BYTES_MAX: int

class CarillonError(Exception):
    """The gateway refused, or gave no answer while the budget lasted: then `problem["status"]` is 0."""

    problem: types.Problem
    def __init__(self, problem: types.Problem) -> None: ...

def keyed(event: types.NewEvent) -> types.NewEvent:
    """The event with an idempotency key: kept so and sent again within an hour, it is the same event."""

class Client(AbstractContextManager["Client"]):
    """For programs that wait. Threads may share one."""

    def __init__(self, url: str, key: str, *, budget_s: float = 30, timeout_s: float = 10) -> None:
        """`url` ends with /v1; `key` is a service's, or a user's token. `budget_s`: how long a call is repeated without
        progress; `timeout_s`: how long an answer may take.
        """
    def __exit__(self, *_: object) -> None: ...
    def send(self, event: types.NewEvent) -> types.Accepted:
        """Send one event. Two calls are two events, unless they bear the same idempotency_key or event_id."""
    def send_batch(self, events: Iterable[types.NewEvent]) -> list[types.Accepted | types.Problem]:
        """Send many events. An answer for each, in order: 200 or 202, or the problem for which it was not accepted."""
    def progress(self, event_id: str) -> types.EventProgress:
        """How far an event is. Of the sender's own events, for 24 hours after acceptance or, if it was kept, after
        its release.
        """
    def cancel(self, event_id: str) -> types.Cancelled:
        """Cancel an event kept for later. Its event_id and key are free again. 409: it was released already, or
        never kept. Of an event that goes in stages, nothing more goes; its event_id and key are not free.
        """
    def turn_rollout(self, event_id: str, document: types.RolloutTurn) -> types.RolloutProgress:
        """Pause, resume, advance stages. Of an event that was posted with `rollout`. 409 says why it does not count."""
    def put_endpoint(self, user: str, channel: str, id: str, document: types.NewEndpoint) -> types.EndpointStored:
        """Set an address of a user. Registered again, it is replaced. A push token that another user had moves to
        this one.
        """
    def delete_endpoint(self, user: str, channel: str, id: str) -> None:
        """Remove an address. Nothing goes there any more."""
    def endpoints(self, user: str) -> types.Endpoints:
        """Where a user is reached. His addresses in use, by channel and id. The addresses themselves are never
        shown.
        """
    def delete_user(self, user: str) -> None:
        """Erase a user. His addresses, name, locale, inbox and preferences go, and what waits for him ends unsent.
        What he unsubscribed from is kept, with everything switched off. Take him out of follows and segments as
        well.
        """
    def put_user(self, user: str, document: types.Profile) -> types.ProfileStored:
        """Set a user's locale and name. As a whole: what is absent is forgotten. Texts are in the language of the
        locale, or in English.
        """
    def put_follows(self, follows: Iterable[types.Follow]) -> int:
        """Say who follows whom. Gives how many were stored. Said again, it is the same."""
    def put_segment(self, segment: str, users: Iterable[str]) -> types.SegmentStored:
        """Replace the members of a segment. It counts as a whole, for events accepted from then on."""
    def link_preferences(self, user: str, document: types.NewPageLink | None = None) -> types.PageLinkMade:
        """Make a link to a user's preferences. Whoever has it sees and changes them on a page, until it ends. Give
        it to this user only.
        """
    def inbox(
        self, *, limit: int | None = None, cursor: str | None = None, archived: bool | None = None
    ) -> types.InboxPage:
        """A page of one's inbox. Rows newest first, and how many of the whole inbox are unread."""
    def stream_ticket(self) -> types.StreamTicket:
        """A ticket for one's inbox, live. For a minute, `stream?ticket=` opens this user's stream without a header.
        It does nothing else.
        """
    def read(self, document: types.ReadUpTo | None = None) -> types.ReadStored:
        """Mark one's inbox as read. Up to the position of a page that was shown, or everything, or some rows. The
        next page shows it.
        """
    def unread_inbox(self, document: types.MarkedRows) -> types.RowsMarked:
        """Mark rows as unread. Archived ones are back in the inbox then. What comes later does not join such a row."""
    def archive_inbox(self, document: types.ArchivedRows | None = None) -> types.RowsMarked:
        """Put rows away. Some, or all that are read. They are read then, and neither shown nor counted but with
        `archived=true`.
        """
    def post_feedback(self, document: types.NewFeedback) -> types.FeedbackStored:
        """Say what one did with a notification. That it was opened, followed or put away, each once for an event and
        a channel. 404: the event is in none of one's inbox rows.
        """
    def preferences(self) -> types.PreferenceDocument:
        """One's preferences. The document as it is stored: what is absent has its default."""
    def put_preferences(self, document: types.PreferenceDocument) -> types.PreferencesStored:
        """Replace one's preferences. As a whole. To change a part of them, patch them."""
    def patch_preferences(self, document: types.PreferenceDocument) -> types.PreferencesStored:
        """Merge into one's preferences (RFC 7396). An object of what changes; null removes. What comes out must be
        valid as a whole.
        """
    def preference_types(self, *, locale: str | None = None) -> types.PreferenceTypes:
        """What one may choose. Types with their titles, and all words of a page of preferences, in English, French
        or German.
        """
    def link_own_preferences(self, document: types.NewOwnPageLink | None = None) -> types.PageLinkMade:
        """Make a link to one's preferences. A page on which to see and change them, for 15 minutes. No token of the
        session is in it.
        """
    def register_device(self, document: types.NewDevice) -> types.DeviceStored:
        """Register a push token. The device is the session's user's from then on, and nobody else's. The oldest of
        more than ten goes.
        """
    def devices(self) -> types.Endpoints:
        """Where one is reached. One's addresses in use, on all channels. The addresses themselves are never shown."""
    def delete_device(self, device_id: str) -> None:
        """Remove a device. Nothing goes there any more."""

class AsyncClient(AbstractAsyncContextManager["AsyncClient"]):
    """For asyncio, with 20 calls at a time. Tasks may share one."""

    def __init__(self, url: str, key: str, *, budget_s: float = 30, timeout_s: float = 10) -> None:
        """`url` ends with /v1; `key` is a service's, or a user's token. `budget_s`: how long a call is repeated without
        progress; `timeout_s`: how long an answer may take.
        """
    async def __aexit__(self, *_: object) -> None: ...
    async def send(self, event: types.NewEvent) -> types.Accepted:
        """Send one event. Two calls are two events, unless they bear the same idempotency_key or event_id."""
    async def send_batch(self, events: Iterable[types.NewEvent]) -> list[types.Accepted | types.Problem]:
        """Send many events. An answer for each, in order: 200 or 202, or the problem for which it was not accepted."""
    async def progress(self, event_id: str) -> types.EventProgress:
        """How far an event is. Of the sender's own events, for 24 hours after acceptance or, if it was kept, after
        its release.
        """
    async def cancel(self, event_id: str) -> types.Cancelled:
        """Cancel an event kept for later. Its event_id and key are free again. 409: it was released already, or
        never kept. Of an event that goes in stages, nothing more goes; its event_id and key are not free.
        """
    async def turn_rollout(self, event_id: str, document: types.RolloutTurn) -> types.RolloutProgress:
        """Pause, resume, advance stages. Of an event that was posted with `rollout`. 409 says why it does not count."""
    async def put_endpoint(self, user: str, channel: str, id: str, document: types.NewEndpoint) -> types.EndpointStored:
        """Set an address of a user. Registered again, it is replaced. A push token that another user had moves to
        this one.
        """
    async def delete_endpoint(self, user: str, channel: str, id: str) -> None:
        """Remove an address. Nothing goes there any more."""
    async def endpoints(self, user: str) -> types.Endpoints:
        """Where a user is reached. His addresses in use, by channel and id. The addresses themselves are never
        shown.
        """
    async def delete_user(self, user: str) -> None:
        """Erase a user. His addresses, name, locale, inbox and preferences go, and what waits for him ends unsent.
        What he unsubscribed from is kept, with everything switched off. Take him out of follows and segments as
        well.
        """
    async def put_user(self, user: str, document: types.Profile) -> types.ProfileStored:
        """Set a user's locale and name. As a whole: what is absent is forgotten. Texts are in the language of the
        locale, or in English.
        """
    async def put_follows(self, follows: Iterable[types.Follow]) -> int:
        """Say who follows whom. Gives how many were stored. Said again, it is the same."""
    async def put_segment(self, segment: str, users: Iterable[str]) -> types.SegmentStored:
        """Replace the members of a segment. It counts as a whole, for events accepted from then on."""
    async def link_preferences(self, user: str, document: types.NewPageLink | None = None) -> types.PageLinkMade:
        """Make a link to a user's preferences. Whoever has it sees and changes them on a page, until it ends. Give
        it to this user only.
        """
    async def inbox(
        self, *, limit: int | None = None, cursor: str | None = None, archived: bool | None = None
    ) -> types.InboxPage:
        """A page of one's inbox. Rows newest first, and how many of the whole inbox are unread."""
    async def stream_ticket(self) -> types.StreamTicket:
        """A ticket for one's inbox, live. For a minute, `stream?ticket=` opens this user's stream without a header.
        It does nothing else.
        """
    async def read(self, document: types.ReadUpTo | None = None) -> types.ReadStored:
        """Mark one's inbox as read. Up to the position of a page that was shown, or everything, or some rows. The
        next page shows it.
        """
    async def unread_inbox(self, document: types.MarkedRows) -> types.RowsMarked:
        """Mark rows as unread. Archived ones are back in the inbox then. What comes later does not join such a row."""
    async def archive_inbox(self, document: types.ArchivedRows | None = None) -> types.RowsMarked:
        """Put rows away. Some, or all that are read. They are read then, and neither shown nor counted but with
        `archived=true`.
        """
    async def post_feedback(self, document: types.NewFeedback) -> types.FeedbackStored:
        """Say what one did with a notification. That it was opened, followed or put away, each once for an event and
        a channel. 404: the event is in none of one's inbox rows.
        """
    async def preferences(self) -> types.PreferenceDocument:
        """One's preferences. The document as it is stored: what is absent has its default."""
    async def put_preferences(self, document: types.PreferenceDocument) -> types.PreferencesStored:
        """Replace one's preferences. As a whole. To change a part of them, patch them."""
    async def patch_preferences(self, document: types.PreferenceDocument) -> types.PreferencesStored:
        """Merge into one's preferences (RFC 7396). An object of what changes; null removes. What comes out must be
        valid as a whole.
        """
    async def preference_types(self, *, locale: str | None = None) -> types.PreferenceTypes:
        """What one may choose. Types with their titles, and all words of a page of preferences, in English, French
        or German.
        """
    async def link_own_preferences(self, document: types.NewOwnPageLink | None = None) -> types.PageLinkMade:
        """Make a link to one's preferences. A page on which to see and change them, for 15 minutes. No token of the
        session is in it.
        """
    async def register_device(self, document: types.NewDevice) -> types.DeviceStored:
        """Register a push token. The device is the session's user's from then on, and nobody else's. The oldest of
        more than ten goes.
        """
    async def devices(self) -> types.Endpoints:
        """Where one is reached. One's addresses in use, on all channels. The addresses themselves are never shown."""
    async def delete_device(self, device_id: str) -> None:
        """Remove a device. Nothing goes there any more."""
