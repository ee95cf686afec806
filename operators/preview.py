"""Texts before anybody gets them: what is wrong with them, and what each channel would show (RULES 3.C). Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from operators.render import render, words_for
from operators.sandbox import names_used, times_used
from operators.sms_limits import OTHER, Destination, SmsRules
from operators.template_check import part_faults, takes_parts_of, template_faults
from operators.templates import language_of
from state.model.channels import CHANNELS
from state.model.content import SmsContent
from state.model.delivery import ToDeliver
from state.model.gsm import sms_parts
from state.model.registry import TypeProfile
from state.model.template import PARTS, TextExample, TextPlace, TypeTexts

_UNSUBSCRIBE = "https://example.com/unsubscribe"
NO_PRICES = SmsRules(destinations={}, others=Destination())
_SOME_TIME = "2030-01-31T13:05:00Z"


@dataclass(frozen=True, slots=True)
class WrittenTexts:
    """See `state.model.template.TextRules`."""

    profile: Callable[[str], TypeProfile]
    sms: SmsRules
    """For the price of text messages."""

    def faults(self, place: TextPlace, everything: Mapping[TextPlace, TypeTexts]) -> list[str]:
        """Of parts also those of the texts that have them."""
        if place[0] != PARTS:
            return self._faults(place, everything)
        found = part_faults(place[1], everything)
        users = [] if found else [each for each in sorted(everything) if takes_parts_of(each, place[1])]
        return found + [f"{each[0]}/{each[1]}, {fault}" for each in users for fault in self._faults(each, everything)]

    def _faults(self, place: TextPlace, everything: Mapping[TextPlace, TypeTexts]) -> list[str]:
        profile = self.profile(place[0])
        if not profile.registered:
            return [f"type: no type is named {place[0]}; name one of the registry"]
        return template_faults(place, everything, profile.schema, urgent=profile.klass == "P0")

    def built_in(self, type_name: str, locale: str) -> TypeTexts:
        """In the language of the locale, or in English."""
        return words_for(type_name, language_of(locale)).type

    def example(self, type_name: str, texts: TypeTexts) -> dict[str, Any]:
        """The schema's examples, and for everything else the value's name."""
        return _sample_payload(texts, self.profile(type_name).schema)

    def preview(self, type_name: str, locale: str, texts: TypeTexts, example: TextExample) -> dict[str, Any]:
        """By channel; of a text message also its parts and their price by destination."""
        payload = self.example(type_name, texts) if example.payload is None else example.payload
        shown: dict[str, Any] = {}
        for channel in CHANNELS:
            emission = ToDeliver(
                emission_id="preview", user="you", type=type_name, count=example.actor_count,
                actors=tuple(example.actors), actor_count=example.actor_count, first_event_id="preview",
                priority=self.profile(type_name).klass, channel=channel, devices=(), payload=dict(payload),
                locale=locale, name=example.name, decided_at=0, valid_until=0,
            )  # fmt: skip
            content = render(emission, channel, unsubscribe_url=_UNSUBSCRIBE, texts=texts)
            shown[channel] = asdict(content)
            if isinstance(content, SmsContent):
                parts = len(sms_parts(content.text).parts)
                rules = {**self.sms.destinations, OTHER: self.sms.others}
                costs = {place: round(parts * rule.price, 6) for place, rule in rules.items()}
                shown[channel] |= {"parts": parts, "cost": costs}
        return shown


def _sample_payload(texts: TypeTexts, schema: str) -> dict[str, Any]:
    asked = msgspec.json.decode(schema) if schema else {}
    named = asked.get("properties", {}) if isinstance(asked, dict) else {}
    sources = [one for source in texts.values() for one in ([source] if isinstance(source, str) else source)]
    used = {name for source in sources for name in names_used(source)[1]}
    times = {name for source in sources for name in times_used(source)}
    return {
        name: _sample_value(name if name not in times else _SOME_TIME, named.get(name))
        for name in sorted(used | set(named))
    }


def _sample_value(name: str, schema: Any) -> Any:
    said = schema if isinstance(schema, dict) else {}
    for values in (said.get("examples"), said.get("enum")):
        if isinstance(values, list) and values:
            return values[0]
    return said.get("default", 1 if said.get("type") in ("integer", "number") else name)
