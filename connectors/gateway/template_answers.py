"""What calls about texts take and answer."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from connectors.gateway.answers import Count, Reply
from state.model.documents import INTEGER_MAX, Complaint, Document, Exact, Interruptive, Payload, Text
from state.model.template import TemplateSource

_FORMS_MAX, _SENTENCES_MAX = 100, 20


def sources(value: dict[str, Any]) -> Complaint | None:
    """Each form has a text or a list of sentences."""
    for source in value.values():
        sentences = source if isinstance(source, list) else [source]
        if len(sentences) > _SENTENCES_MAX or not all(isinstance(each, str) for each in sentences):
            return "has what is no text", f"send texts, or lists of at most {_SENTENCES_MAX} sentences"
    return None if len(value) <= _FORMS_MAX else (f"has {len(value)} members", f"send at most {_FORMS_MAX}")


_SOURCE = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "maxItems": _SENTENCES_MAX}]}
Sources = Annotated[
    dict[str, Any],
    Meta(
        description="By form: `title` and `one`, perhaps `also`, `many`, `detail`; each a template or its sentences. "
        "`_variants` (`a 50, b 50`) and `b:title`: RULES 3.C.",
        extra={"check": sources}, extra_json_schema={"additionalProperties": _SOURCE, "maxProperties": _FORMS_MAX},
        examples=[{"title": "Curtida", "one": "{{ actor }} curtiu sua foto"}],
    ),
]  # fmt: skip
SeenVersion = Annotated[int, Meta(ge=0, le=INTEGER_MAX, description="What was seen, 0: nothing; a newer one: 409.")]
WhyPublished = Annotated[Text, Meta(description="Why, for the audit.")]


class NewTexts(Document):
    """Texts to put in force."""

    texts: Sources
    version: SeenVersion | None = None
    reason: WhyPublished | None = None


class OlderVersion(Document):
    """Which texts hold again."""

    version: Annotated[int, Meta(ge=1, le=INTEGER_MAX, description="As `versions` lists it.")]
    reason: WhyPublished | None = None


class PreviewValues(Document):
    """What is shown with which values."""

    texts: Annotated[Sources | None, Meta(description="Absent: those in force.")] = None
    payload: Annotated[Payload | None, Meta(description="Absent: the schema's examples, else names.")] = None
    actors: Annotated[Annotated[list[Text], Meta(max_length=3)] | None, Meta(description="Absent: Ada.")] = None
    actor_count: Annotated[
        Annotated[int, Meta(ge=0, le=1_000_000)] | None, Meta(description="Absent: as many as there are actors.")
    ] = None
    name: Annotated[Text | None, Meta(description="The reader's.")] = None


class TextTest(Document):
    """Which texts are sent to whom for trying."""

    texts: Sources
    user: Annotated[Text, Meta(description="Who gets it, on every device of the channel.")]
    channel: Annotated[Interruptive, Meta(description="One that the type has; text messages are for class P0 alone.")]
    payload: Annotated[Payload | None, Meta(description="Absent: the schema's examples, else names.")] = None
    actor: Annotated[Text | None, Meta(description="Absent: Ada.")] = None
    variant: Annotated[Text | None, Meta(description="Absent: the one that this user would get.")] = None


class TextTested(Reply):
    """A test on its way."""

    event_id: Annotated[Text, Meta(description="Of the test; it is in no report.")]


class TextsShown(Reply):
    """What is in force for a type and a locale."""

    type: Text
    locale: str
    version: Annotated[Count, Meta(description="Counts up, also when texts are taken back.")]
    by: str
    reason: str | None
    texts: Annotated[dict[str, TemplateSource] | None, Meta(description="Null: taken back, the built-in texts hold.")]


class TextsList(Reply):
    """Every type and locale that has or had texts of its own."""

    templates: list[TextsShown]


class TextsVersion(Reply):
    """One version."""

    version: Count
    at: Exact
    by: str
    reason: str | None
    texts: dict[str, TemplateSource] | None


class TextsVersions(Reply):
    """Versions, the newest first."""

    versions: list[TextsVersion]


class TextsPreview(Reply):
    """What each channel would show."""

    texts: Annotated[dict[str, TemplateSource], Meta(description="The templates that it was made of.")]
    channels: Annotated[
        dict[str, dict[str, Any]],
        Meta(description="Of a text message also `parts`, and `cost` by what the number begins with."),
    ]
    variants: Annotated[
        dict[str, dict[str, dict[str, Any]]],
        Meta(description="The same by variant, where there are any: then nobody gets what `channels` shows."),
    ]
