"""The calls of the HTTP API. Written by `make sdk` from the OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager, AbstractContextManager

from . import types
from .core import Awaiting, Waiting


class Client(Waiting, AbstractContextManager["Client"]):
    """For programs that wait. Threads may share one."""

    def send(self, event: types.NewEvent) -> types.Accepted:
        """Send one event. Two calls are two events, unless they bear the same idempotency_key or event_id."""
        return self.run(self._send(event))

    def send_batch(self, events: Iterable[types.NewEvent]) -> list[types.Accepted | types.Problem]:
        """Send many events. An answer for each, in order: 200 or 202, or the problem for which it was not accepted."""
        return self.run(self._send_batch(events))

    def progress(self, event_id: str) -> types.EventProgress:
        """How far an event is. Of the sender's own events, for 24 hours after acceptance or, if it was kept, after
        its release.
        """
        return self.run(self._ask("GET", "notifications/{}", event_id))

    def cancel(self, event_id: str) -> types.Cancelled:
        """Cancel an event kept for later. Its event_id and key are free again. 409: it was released already, or
        never kept. Of an event that goes in stages, nothing more goes; its event_id and key are not free.
        """
        return self.run(self._ask("DELETE", "notifications/{}", event_id))

    def turn_rollout(self, event_id: str, document: types.RolloutTurn) -> types.RolloutProgress:
        """Pause, resume, advance stages. Of an event that was posted with `rollout`. 409 says why it does not count."""
        return self.run(self._ask("POST", "notifications/{}/rollout", event_id, body=document))

    def put_endpoint(self, user: str, channel: str, id: str, document: types.NewEndpoint) -> types.EndpointStored:
        """Set an address of a user. Registered again, it is replaced. A push token that another user had moves to
        this one.
        """
        return self.run(self._ask("PUT", "users/{}/endpoints/{}/{}", user, channel, id, body=document))

    def delete_endpoint(self, user: str, channel: str, id: str) -> None:
        """Remove an address. Nothing goes there any more."""
        self.run(self._ask("DELETE", "users/{}/endpoints/{}/{}", user, channel, id))

    def endpoints(self, user: str) -> types.Endpoints:
        """Where a user is reached. His addresses in use, by channel and id. The addresses themselves are never
        shown.
        """
        return self.run(self._ask("GET", "users/{}/endpoints", user))

    def delete_user(self, user: str) -> None:
        """Erase a user. His addresses, name, locale, inbox and preferences go, and what waits for him ends unsent.
        What he unsubscribed from is kept, with everything switched off. Take him out of follows and segments as
        well.
        """
        self.run(self._ask("DELETE", "users/{}", user))

    def put_user(self, user: str, document: types.Profile) -> types.ProfileStored:
        """Set a user's locale and name. As a whole: what is absent is forgotten. Texts are in the language of the
        locale, or in English.
        """
        return self.run(self._ask("PUT", "users/{}", user, body=document))

    def put_follows(self, follows: Iterable[types.Follow]) -> int:
        """Say who follows whom. Gives how many were stored. Said again, it is the same."""
        return self.run(self._put_follows(follows))

    def put_segment(self, segment: str, users: Iterable[str]) -> types.SegmentStored:
        """Replace the members of a segment. It counts as a whole, for events accepted from then on."""
        return self.run(self._put_segment(segment, users))

    def link_preferences(self, user: str, document: types.NewPageLink | None = None) -> types.PageLinkMade:
        """Make a link to a user's preferences. Whoever has it sees and changes them on a page, until it ends. Give
        it to this user only.
        """
        return self.run(self._ask("POST", "users/{}/preferences-link", user, body=document))

    def inbox(
        self, *, limit: int | None = None, cursor: str | None = None, archived: bool | None = None
    ) -> types.InboxPage:
        """A page of one's inbox. Rows newest first, and how many of the whole inbox are unread."""
        return self.run(self._ask("GET", "notifications/inbox", limit=limit, cursor=cursor, archived=archived))

    def stream_ticket(self) -> types.StreamTicket:
        """A ticket for one's inbox, live. For a minute, `stream?ticket=` opens this user's stream without a header.
        It does nothing else.
        """
        return self.run(self._ask("POST", "notifications/inbox/stream/ticket"))

    def read(self, document: types.ReadUpTo | None = None) -> types.ReadStored:
        """Mark one's inbox as read. Up to the position of a page that was shown, or everything, or some rows. The
        next page shows it.
        """
        return self.run(self._ask("POST", "notifications/inbox/read", body=document))

    def unread_inbox(self, document: types.MarkedRows) -> types.RowsMarked:
        """Mark rows as unread. Archived ones are back in the inbox then. What comes later does not join such a row."""
        return self.run(self._ask("POST", "notifications/inbox/unread", body=document))

    def archive_inbox(self, document: types.ArchivedRows | None = None) -> types.RowsMarked:
        """Put rows away. Some, or all that are read. They are read then, and neither shown nor counted but with
        `archived=true`.
        """
        return self.run(self._ask("POST", "notifications/inbox/archive", body=document))

    def post_feedback(self, document: types.NewFeedback) -> types.FeedbackStored:
        """Say what one did with a notification. That it was opened, followed or put away, each once for an event and
        a channel. 404: the event is in none of one's inbox rows.
        """
        return self.run(self._ask("POST", "notifications/feedback", body=document))

    def preferences(self) -> types.PreferenceDocument:
        """One's preferences. The document as it is stored: what is absent has its default."""
        return self.run(self._ask("GET", "preferences"))

    def put_preferences(self, document: types.PreferenceDocument) -> types.PreferencesStored:
        """Replace one's preferences. As a whole. To change a part of them, patch them."""
        return self.run(self._ask("PUT", "preferences", body=document))

    def patch_preferences(self, document: types.PreferenceDocument) -> types.PreferencesStored:
        """Merge into one's preferences (RFC 7396). An object of what changes; null removes. What comes out must be
        valid as a whole.
        """
        return self.run(self._ask("PATCH", "preferences", body=document))

    def preference_types(self, *, locale: str | None = None) -> types.PreferenceTypes:
        """What one may choose. Types with their titles, and all words of a page of preferences, in English, French
        or German.
        """
        return self.run(self._ask("GET", "preferences/types", locale=locale))

    def link_own_preferences(self, document: types.NewOwnPageLink | None = None) -> types.PageLinkMade:
        """Make a link to one's preferences. A page on which to see and change them, for 15 minutes. No token of the
        session is in it.
        """
        return self.run(self._ask("POST", "preferences/link", body=document))

    def register_device(self, document: types.NewDevice) -> types.DeviceStored:
        """Register a push token. The device is the session's user's from then on, and nobody else's. The oldest of
        more than ten goes.
        """
        return self.run(self._ask("POST", "devices/register", body=document))

    def devices(self) -> types.Endpoints:
        """Where one is reached. One's addresses in use, on all channels. The addresses themselves are never shown."""
        return self.run(self._ask("GET", "devices"))

    def delete_device(self, device_id: str) -> None:
        """Remove a device. Nothing goes there any more."""
        self.run(self._ask("DELETE", "devices/{}", device_id))


class AsyncClient(Awaiting, AbstractAsyncContextManager["AsyncClient"]):
    """For asyncio. Tasks may share one."""

    async def send(self, event: types.NewEvent) -> types.Accepted:
        """Send one event. Two calls are two events, unless they bear the same idempotency_key or event_id."""
        return await self.run(self._send(event))

    async def send_batch(self, events: Iterable[types.NewEvent]) -> list[types.Accepted | types.Problem]:
        """Send many events. An answer for each, in order: 200 or 202, or the problem for which it was not accepted."""
        return await self.run(self._send_batch(events))

    async def progress(self, event_id: str) -> types.EventProgress:
        """How far an event is. Of the sender's own events, for 24 hours after acceptance or, if it was kept, after
        its release.
        """
        return await self.run(self._ask("GET", "notifications/{}", event_id))

    async def cancel(self, event_id: str) -> types.Cancelled:
        """Cancel an event kept for later. Its event_id and key are free again. 409: it was released already, or
        never kept. Of an event that goes in stages, nothing more goes; its event_id and key are not free.
        """
        return await self.run(self._ask("DELETE", "notifications/{}", event_id))

    async def turn_rollout(self, event_id: str, document: types.RolloutTurn) -> types.RolloutProgress:
        """Pause, resume, advance stages. Of an event that was posted with `rollout`. 409 says why it does not count."""
        return await self.run(self._ask("POST", "notifications/{}/rollout", event_id, body=document))

    async def put_endpoint(self, user: str, channel: str, id: str, document: types.NewEndpoint) -> types.EndpointStored:
        """Set an address of a user. Registered again, it is replaced. A push token that another user had moves to
        this one.
        """
        return await self.run(self._ask("PUT", "users/{}/endpoints/{}/{}", user, channel, id, body=document))

    async def delete_endpoint(self, user: str, channel: str, id: str) -> None:
        """Remove an address. Nothing goes there any more."""
        await self.run(self._ask("DELETE", "users/{}/endpoints/{}/{}", user, channel, id))

    async def endpoints(self, user: str) -> types.Endpoints:
        """Where a user is reached. His addresses in use, by channel and id. The addresses themselves are never
        shown.
        """
        return await self.run(self._ask("GET", "users/{}/endpoints", user))

    async def delete_user(self, user: str) -> None:
        """Erase a user. His addresses, name, locale, inbox and preferences go, and what waits for him ends unsent.
        What he unsubscribed from is kept, with everything switched off. Take him out of follows and segments as
        well.
        """
        await self.run(self._ask("DELETE", "users/{}", user))

    async def put_user(self, user: str, document: types.Profile) -> types.ProfileStored:
        """Set a user's locale and name. As a whole: what is absent is forgotten. Texts are in the language of the
        locale, or in English.
        """
        return await self.run(self._ask("PUT", "users/{}", user, body=document))

    async def put_follows(self, follows: Iterable[types.Follow]) -> int:
        """Say who follows whom. Gives how many were stored. Said again, it is the same."""
        return await self.run(self._put_follows(follows))

    async def put_segment(self, segment: str, users: Iterable[str]) -> types.SegmentStored:
        """Replace the members of a segment. It counts as a whole, for events accepted from then on."""
        return await self.run(self._put_segment(segment, users))

    async def link_preferences(self, user: str, document: types.NewPageLink | None = None) -> types.PageLinkMade:
        """Make a link to a user's preferences. Whoever has it sees and changes them on a page, until it ends. Give
        it to this user only.
        """
        return await self.run(self._ask("POST", "users/{}/preferences-link", user, body=document))

    async def inbox(
        self, *, limit: int | None = None, cursor: str | None = None, archived: bool | None = None
    ) -> types.InboxPage:
        """A page of one's inbox. Rows newest first, and how many of the whole inbox are unread."""
        return await self.run(self._ask("GET", "notifications/inbox", limit=limit, cursor=cursor, archived=archived))

    async def stream_ticket(self) -> types.StreamTicket:
        """A ticket for one's inbox, live. For a minute, `stream?ticket=` opens this user's stream without a header.
        It does nothing else.
        """
        return await self.run(self._ask("POST", "notifications/inbox/stream/ticket"))

    async def read(self, document: types.ReadUpTo | None = None) -> types.ReadStored:
        """Mark one's inbox as read. Up to the position of a page that was shown, or everything, or some rows. The
        next page shows it.
        """
        return await self.run(self._ask("POST", "notifications/inbox/read", body=document))

    async def unread_inbox(self, document: types.MarkedRows) -> types.RowsMarked:
        """Mark rows as unread. Archived ones are back in the inbox then. What comes later does not join such a row."""
        return await self.run(self._ask("POST", "notifications/inbox/unread", body=document))

    async def archive_inbox(self, document: types.ArchivedRows | None = None) -> types.RowsMarked:
        """Put rows away. Some, or all that are read. They are read then, and neither shown nor counted but with
        `archived=true`.
        """
        return await self.run(self._ask("POST", "notifications/inbox/archive", body=document))

    async def post_feedback(self, document: types.NewFeedback) -> types.FeedbackStored:
        """Say what one did with a notification. That it was opened, followed or put away, each once for an event and
        a channel. 404: the event is in none of one's inbox rows.
        """
        return await self.run(self._ask("POST", "notifications/feedback", body=document))

    async def preferences(self) -> types.PreferenceDocument:
        """One's preferences. The document as it is stored: what is absent has its default."""
        return await self.run(self._ask("GET", "preferences"))

    async def put_preferences(self, document: types.PreferenceDocument) -> types.PreferencesStored:
        """Replace one's preferences. As a whole. To change a part of them, patch them."""
        return await self.run(self._ask("PUT", "preferences", body=document))

    async def patch_preferences(self, document: types.PreferenceDocument) -> types.PreferencesStored:
        """Merge into one's preferences (RFC 7396). An object of what changes; null removes. What comes out must be
        valid as a whole.
        """
        return await self.run(self._ask("PATCH", "preferences", body=document))

    async def preference_types(self, *, locale: str | None = None) -> types.PreferenceTypes:
        """What one may choose. Types with their titles, and all words of a page of preferences, in English, French
        or German.
        """
        return await self.run(self._ask("GET", "preferences/types", locale=locale))

    async def link_own_preferences(self, document: types.NewOwnPageLink | None = None) -> types.PageLinkMade:
        """Make a link to one's preferences. A page on which to see and change them, for 15 minutes. No token of the
        session is in it.
        """
        return await self.run(self._ask("POST", "preferences/link", body=document))

    async def register_device(self, document: types.NewDevice) -> types.DeviceStored:
        """Register a push token. The device is the session's user's from then on, and nobody else's. The oldest of
        more than ten goes.
        """
        return await self.run(self._ask("POST", "devices/register", body=document))

    async def devices(self) -> types.Endpoints:
        """Where one is reached. One's addresses in use, on all channels. The addresses themselves are never shown."""
        return await self.run(self._ask("GET", "devices"))

    async def delete_device(self, device_id: str) -> None:
        """Remove a device. Nothing goes there any more."""
        await self.run(self._ask("DELETE", "devices/{}", device_id))
