"""JSON Schemas of what calls take and give, made of the types by which bodies are judged and answers are built."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from state.model.addresses import ANY, WEB, Served, token_pattern
from state.model.campaign_documents import CampaignName
from state.model.documents import FAN_OUT_NEEDS, Interruptive, SegmentMembers, Text, Zone

JsonSchema = Mapping[str, Any]
_REFERENCE = "#/components/schemas/{name}"


def _reference(name: str) -> JsonSchema:
    return {"$ref": _REFERENCE.format(name=name)}


Batch = Annotated[
    list[Any],
    Meta(
        description="Events, each judged by itself: an item that is none is answered with its own problem.",
        extra_json_schema={"items": {"anyOf": [_reference("NewEvent"), {}]}},
    ),
]
BatchAnswer = Annotated[
    list[Any],
    Meta(
        description="One answer per item, in order.",
        extra_json_schema={"items": {"oneOf": [_reference("Accepted"), _reference("Problem")]}},
    ),
]
Lines = Annotated[str, Meta(description="NDJSON: one document a line.")]
SEGMENT_BODIES: dict[str, Any] = {
    "application/json": list[Text] | SegmentMembers,
    "application/x-ndjson": Annotated[str, Meta(description="One user a line: a string, or an object with `user`.")],
    "text/csv": Annotated[str, Meta(description="UTF-8 with a header line that has a column `user`.")],
    "application/vnd.apache.parquet": Annotated[str, Meta(description="A file with a column `user` of strings.")],
}
AUDIENCE_BODIES: dict[str, Any] = {kind: body for kind, body in SEGMENT_BODIES.items() if kind != "application/json"}
_ONE_CLICK = Annotated[
    dict[str, str],
    Meta(description="`List-Unsubscribe=One-Click`, as mail programs post it; the link alone decides."),
]
ONE_CLICK_BODIES: dict[str, Any] = {"application/x-www-form-urlencoded": _ONE_CLICK, "multipart/form-data": _ONE_CLICK}
PAGE_FORM: dict[str, Any] = {
    "application/x-www-form-urlencoded": Annotated[dict[str, str], Meta(description="The fields of the page's form.")]
}
CALLBACK_BODIES: dict[str, Any] = {
    "application/x-www-form-urlencoded": Annotated[dict[str, str], Meta(description="The form of a StatusCallback.")],
    "text/plain": Annotated[str, Meta(description="A message of Amazon SNS: JSON, sent as this type.")],
}
PATH_PARAMETERS: dict[str, Any] = {
    "event_id": Annotated[Text, Meta(description="As the answer to the post named it.")],
    "user": Annotated[Text, Meta(description="The host application's name of the user.", examples=["grace"])],
    "channel": Interruptive,
    "id": Annotated[Text, Meta(description="Names this address among the user's.", examples=["home"])],
    "segment": Annotated[Text, Meta(examples=["beta-testers"])],
    "token": Annotated[str, Meta(description="From the link.")],
    "provider": Annotated[str, Meta(description="Its name in the configuration.", examples=["twilio"])],
    "file": Annotated[
        str, Meta(description="A file's name, or the same with its hash.", examples=["carillon-inbox.js"])
    ],
    "device_id": Annotated[Text, Meta(description="As it was registered.")],
    "name": CampaignName,
    "type": Annotated[
        Text, Meta(description="Its name; with a star at the end, all that begin so.", examples=["like"])
    ],
    "locale": Annotated[str, Meta(description="Such as pt or pt-BR, or default.", examples=["pt-BR"])],
    "sender": Annotated[Text, Meta(description="Its name in the configuration.", examples=["shop"])],
    "approval": Annotated[Text, Meta(description="Its id.", examples=["4711"])],
}
_SCALARS: dict[str, Any] = {"Text": Text, "TimeZone": Zone}
"""Types that are no class, and components all the same."""
_SCALAR_DESCRIPTIONS = {"Text": "In Unicode form NFC, without control characters.", "TimeZone": "An IANA name."}


class Schemas:
    """The schemas of some types, and the components that they refer to."""

    def __init__(self, types: Iterable[Any], served: Served | None) -> None:
        """`served`: what the configured providers reach; only that is accepted."""
        every = list(dict.fromkeys([*_SCALARS.values(), *types]))
        found, components = msgspec.json.schema_components(every, ref_template=_REFERENCE)
        self._scalars = dict(zip(_SCALARS, found, strict=False))
        self._schemas: dict[Any, JsonSchema] = dict(zip(every, map(self._tidy, found), strict=True))
        self.components = {
            name: {**self._scalars[name], "description": text} for name, text in _SCALAR_DESCRIPTIONS.items()
        } | {name: self._tidy(components[name]) for name in sorted(components)}
        zones = self.components["TimeZone"]
        zones["x-enum-varnames"] = list(map(_constant, zones["enum"]))
        for name in self.components.keys() & _RELATIONS.keys():
            self.components[name]["anyOf"] = _RELATIONS[name]
        if served is not None and "NewDevice" in self.components:
            self.components["NewDevice"]["properties"] |= _device_members(served)

    def of(self, kind: Any) -> JsonSchema:
        """The schema of one of the types."""
        return self._schemas[kind]

    def _tidy(self, schema: Any) -> Any:
        """With references to the scalars, and without the null that is the default of whatever may be absent."""
        if isinstance(schema, list):
            return [self._tidy(one) for one in schema]
        if not isinstance(schema, dict):
            return schema
        for name, scalar in self._scalars.items():
            if scalar.items() <= schema.items():
                return {**_reference(name), **{key: schema[key] for key in schema.keys() - scalar.keys()}}
        return {name: self._tidy(one) for name, one in schema.items() if (name, one) != ("default", None)}


def _constant(zone: str) -> str:
    """What a generated client may call a time zone: GMT0, GMT+0 and GMT-0 are one word to generators, which give up."""
    return re.sub(r"\W", "_", re.sub(r"-(?=\d)", "_MINUS_", zone.replace("+", "_PLUS_"))).upper()


def _device_members(served: Served) -> JsonSchema:
    platforms = [name for name in served.get("push", {}) if name != ANY]
    token = {"type": "string", "pattern": rf"^(?:{token_pattern(served)})$(?!\n)"}
    return {
        "platform": {"enum": platforms, "description": "One that a configured provider serves."},
        "token": {"anyOf": [token, _reference("Subscription")]} if WEB in platforms else token,
    }


def _fan_out(name: str) -> JsonSchema:
    """What an event of this fan-out must have; without one it is DIRECT."""
    needs = FAN_OUT_NEEDS[name]
    absent = [None] if name == "DIRECT" else []
    return {
        "title": name,
        "properties": {"fan_out_type": {"enum": [name, *absent]}} | {need: {"type": "string"} for need in needs},
        "required": [*needs, *([] if absent else ["fan_out_type"])],
    }


_RELATIONS: dict[str, Sequence[JsonSchema]] = {
    "NewEvent": [_fan_out(name) for name in FAN_OUT_NEEDS],
    "KillSwitch": [
        {"properties": {"scope": {"const": "all"}}},
        {"properties": {"value": {"type": "string"}}, "required": ["value"]},
    ],
}
"""What the members of a document ask of each other: one of these."""
