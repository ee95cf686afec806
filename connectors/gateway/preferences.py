"""A user's preferences: whole documents, with versions (ETag) and merge patches (RFC 7396).

One writer per user: this process serialises a user's changes, and a change is read back by the next request, so that
two devices of one person cannot bring back what one of them switched off. The ETag is the document's offset in the log.

What a link in a mail switched off is merged in and remembered as such (`by_link` of the record). It stays off unless a
later write says so by itself: a PATCH that names `unsubscribed` of that channel, or a PUT whose If-Match names the
version that has it. A PUT that names no version may come from a device that never saw it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Sequence
from typing import Any
from weakref import WeakValueDictionary

from connectors.gateway.directory import Directory, StoredPreference
from connectors.gateway.http import ApiRequest, ApiResponse, json_response
from connectors.gateway.opt_outs import OptOuts, joined, kept_warnings, named_channels, still_off, without
from connectors.gateway.problems import ProblemError, invalid
from connectors.gateway.records import preference_record
from connectors.gateway.writer import SettingWriter
from state.model.admission import AdmissionRules, FieldError
from state.model.documents import PreferenceDocument

_TAG = r'(W/)?"[!#-~]*"'
IF_MATCH = rf"^(\*|{_TAG}([ \t]*,[ \t]*{_TAG})*)$"
"""RFC 9110, but for characters beyond ASCII, which no tag of ours has."""


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7396: null removes, objects merge, anything else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


class Preferences:
    """`GET`, `PUT`, `PATCH` `/v1/preferences` of the session's user."""

    def __init__(self, rules: AdmissionRules, writer: SettingWriter, directory: Directory) -> None:
        """Read from `directory`, write through `writer`."""
        self._rules, self._writer, self._directory = rules, writer, directory
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def get(self, request: ApiRequest) -> ApiResponse:
        """The stored document; `{}` if there is none."""
        return _answer(await self.stored(request.caller().name))

    async def put(self, request: ApiRequest) -> ApiResponse:
        """Replace the document."""
        return await self._change(request, await request.json(), merge=False)

    async def patch(self, request: ApiRequest) -> ApiResponse:
        """Merge into the document; what comes out must be valid as a whole."""
        patch = await request.json()
        if not isinstance(patch, dict):
            raise invalid([FieldError("", "is no JSON object", "send an object of what changes; null removes")])
        return await self._change(request, patch, merge=True)

    async def _change(self, request: ApiRequest, body: Any, *, merge: bool) -> ApiResponse:
        return _answer(*await self.write(request.caller().name, body, request.header(b"if-match"), merge=merge))

    async def write(
        self, user: str, body: Any, if_match: str | None, *, merge: bool
    ) -> tuple[StoredPreference, Sequence[FieldError]]:
        """Replace a user's document or merge into it; gives what is stored, and what in it has no effect.

        `body` may be a function of the document that is stored, for a patch that follows from it.

        :raises ProblemError: 400 with every error, 412 if it is not the version of `if_match`, 503 as `unsubscribe`.
        """
        lock = self._locks.setdefault(user, asyncio.Lock())
        async with lock:
            stored = await self.stored(user)
            body = body(stored.document) if callable(body) else body
            document = merge_patch(stored.document, body) if merge else body
            errors = [*_match_errors(if_match), *self._rules.document_errors(document, PreferenceDocument)]
            if errors:
                raise invalid(errors)
            _require_match(if_match, stored)
            lifted = named_channels(body) if merge else _seen(if_match, stored)
            kept = {channel: names for channel, names in stored.by_link.items() if channel not in lifted}
            warnings = [*kept_warnings(document, kept), *self._rules.preference_warnings(document)]
            document = without(document, kept)
            written = await self._write(user, document, still_off(stored.by_link, document))
        return written, warnings

    async def unsubscribe(self, user: str, channel: str, categories: Sequence[str]) -> None:
        """Merge into a user's document what he left by a link; nothing is written where it says so already.

        :raises ProblemError: 503: not acknowledged; it may be sent again.
        """
        lock = self._locks.setdefault(user, asyncio.Lock())
        async with lock:
            stored = await self.stored(user)
            document = without(stored.document, {channel: categories})
            by_link = {**stored.by_link, channel: joined(stored.by_link.get(channel), categories)}
            if (document, by_link) != (stored.document, stored.by_link):
                await self._write(user, document, by_link)

    async def leave(self, user: str) -> None:
        """Put an end to a user's notifications, and to all that his document says but what he unsubscribed from.

        :raises ProblemError: 503: not acknowledged; it may be sent again.
        """
        lock = self._locks.setdefault(user, asyncio.Lock())
        async with lock:
            stored = await self.stored(user)
            unsubscribed = stored.document.get("unsubscribed")
            document = {"master": False} | ({"unsubscribed": unsubscribed} if unsubscribed else {})
            await self._write(user, document, stored.by_link)

    async def _write(self, user: str, document: dict[str, Any], by_link: OptOuts) -> StoredPreference:
        record = preference_record(user, document, by_link, self._writer.partitions)
        return StoredPreference((await self._writer.append([record]))[0], document, by_link)

    async def stored(self, user: str) -> StoredPreference:
        """A user's document as it is now."""
        return await asyncio.to_thread(self._directory.preference, user)


def _seen(if_match: str | None, stored: StoredPreference) -> Collection[str]:
    """Channels of which a whole document says by itself what is unsubscribed: all, if it names what it replaces."""
    return () if if_match in (None, "*") else stored.by_link


def etag(preference: StoredPreference) -> str:
    """What names this version of a document."""
    return f'"{preference.place + 1}"'


def _answer(preference: StoredPreference, warnings: Sequence[FieldError] = ()) -> ApiResponse:
    """The document as it is stored, and what in it has no effect as far as the registry knows."""
    body = {**preference.document, "warnings": warnings} if warnings else preference.document
    return json_response(200, body, (("etag", etag(preference)),))


def _match_errors(if_match: str | None) -> list[FieldError]:
    if if_match is None or re.search(IF_MATCH, if_match):
        return []
    return [FieldError("If-Match", "is no list of entity tags", "send the ETag of the document that was read, or none")]


def _require_match(if_match: str | None, stored: StoredPreference) -> None:
    """RFC 9110 If-Match: `*` asks for any stored document.

    :raises ProblemError: 412, with the current ETag.
    """
    if if_match is None:
        return
    wanted = [tag.strip() for tag in if_match.split(",")]
    if etag(stored) in wanted or ("*" in wanted and stored.place >= 0):
        return
    raise ProblemError(412, "the document has changed; read it again", headers=(("etag", etag(stored)),))
