"""What a user may choose, for a page of the host application's own: the same types and words as our page has."""

from __future__ import annotations

from connectors.gateway.answers import PreferenceType, PreferenceTypes
from connectors.gateway.http import ApiRequest, ApiResponse, json_response
from connectors.gateway.pages.choices import offered_channels, offered_types
from connectors.gateway.pages.words import PageWords, words_wished
from connectors.gateway.preferences import Preferences
from state.model.admission import AdmissionRules
from state.model.channels import CHANNELS
from state.model.registry import TypeProfile


class TypesCall:
    """`GET /v1/preferences/types`."""

    def __init__(self, rules: AdmissionRules, preferences: Preferences) -> None:
        """The types of `rules`, and those that the user's document names besides."""
        self._rules, self._preferences = rules, preferences

    async def get(self, request: ApiRequest) -> ApiResponse:
        """The types, in the language asked for or in the browser's."""
        locale = request.query(("locale",)).get("locale")
        words = words_wished(locale, request.header(b"accept-language"))
        stored = await self._preferences.stored(request.caller().name)
        profiles = offered_types(self._rules, stored.document)
        free = [profile for profile in profiles if not profile.mandatory]
        categories = dict.fromkeys(profile.category for profile in (*free, *profiles))  # nothing to choose: last
        answer = PreferenceTypes(
            words.language,
            {name: words.category(name) for name in categories},
            {name: words.channel(name) for name in CHANNELS},
            [_type(profile, words) for profile in profiles],
            dict(words.texts),
        )
        return json_response(200, answer, (("vary", "Accept-Language"),))


def _type(profile: TypeProfile, words: PageWords) -> PreferenceType:
    return PreferenceType(
        profile.name, words.type(profile), profile.category, list(offered_channels(profile)), profile.enabled,
        profile.mandatory,
    )  # fmt: skip
