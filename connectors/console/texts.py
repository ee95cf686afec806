"""The page of templates: what notifications say, written, shown before, published and taken back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from connectors.console.pages import Visit, answer_page, link, redirect
from connectors.gateway.acts import reason_if_any
from connectors.gateway.http import ApiResponse
from connectors.gateway.problems import ProblemError, invalid
from connectors.gateway.templates import TemplateCalls
from state.model.admission import FieldError
from state.model.audit import PendingAct
from state.model.errors import UNDECODABLE
from state.model.template import (
    CHANNEL_FORMS,
    FORMS,
    PARTS,
    TemplateRecord,
    TemplateSource,
    TextExample,
    TextPlace,
    TypeTexts,
)
from state.model.variants import VARIANTS, shares_of

TEXTS = "/console/templates"
_FIELD = "text."
"""Before the name of a form in the page's own form."""
_HEAD = "<head>"
_ASKS_NOBODY = (
    f"{_HEAD}<meta http-equiv=\"content-security-policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
)
_BETWEEN = "\n---\n"
"""Between the sentences of one text, on a line of its own."""
_MEANS = {
    "title": "the headline, at most 65 characters",
    "one": "said of one person or thing, such as: Ada liked your photo",
    "also": "said of one person when others were told of before; empty: as one",
    "many": "said of several, such as: Ada and 3 others; empty: as one",
    "detail": "what a mail says besides",
    "language": "of the locale default alone: which language it is, such as pt",
    VARIANTS: "several texts and their shares, such as: a 50, b 50",
}
"""What each form says, for people."""
_LOCALES_MAX, _ACTORS_MAX = 4, 3


class TextPages:
    """Handlers."""

    def __init__(self, calls: TemplateCalls) -> None:
        self._calls = calls

    async def texts(self, visit: Visit) -> ApiResponse:
        """All, or those of one type in one locale."""
        if visit.query.get("type") is None or visit.query.get("locale") is None:
            found = await self._calls.published()
            rows = [found[place] for place in sorted(found)]
            return answer_page("texts.html", visit, place=None, rows=rows, types=self._calls.type_names())
        return await self._one(
            visit, (visit.query["type"], visit.query["locale"]), count=visit.query.get("count") == "yes"
        )

    async def act(self, visit: Visit) -> ApiResponse:
        """What a form asks for. What is wrong comes back beside what was typed."""
        form, person = visit.form, visit.session.person
        place, reason, seen = _place(form), reason_if_any(form), _number(form.get("version", ""))
        done: TemplateRecord | PendingAct
        try:
            match form.get("act"):
                case "preview":
                    return await self._one(visit, place, previews=await self._previews(place, form))
                case "test":
                    tested = await self._calls.tested(person, place, _test(form))
                    if not isinstance(tested, PendingAct):
                        return await self._one(visit, place, tested=tested.event_id)
                    done = tested
                case "publish":
                    done = await self._calls.publish(person, place, _written(form), reason=reason, seen=seen)
                case "take back":
                    done = await self._calls.take_back(person, place, reason=reason, seen=seen)
                case "roll back":
                    older = _number(form.get("older", "")) or 0
                    done = await self._calls.restore(person, place, older, reason=reason)
                case _:
                    raise ProblemError(400, "The form does not say what to do.")
        except ProblemError as problem:
            if not problem.errors and problem.status != 409:
                raise
            return await self._one(visit, place, problem=problem)
        waits = isinstance(done, PendingAct)
        return redirect("/console/approvals" if waits else link(TEXTS, type=place[0], locale=place[1]))

    async def _one(
        self,
        visit: Visit,
        place: TextPlace,
        *,
        problem: ProblemError | None = None,
        previews: Sequence[tuple[str, Mapping[str, Any]]] = (),
        tested: str | None = None,
        count: bool = False,
    ) -> ApiResponse:
        """What holds, or, after a form, what it said."""
        form, record = visit.form, (await self._calls.published()).get(place)
        texts = _written(form) if form else self._begin(place, None if record is None else record.texts)
        errors = {} if problem is None else _by_field(problem.errors)
        groups = _groups(place[0], texts)
        names = {name for _, group in groups for name in group}
        held = 0 if record is None else record.version
        newer = problem is not None and problem.status == 409 and form.get("act") != "test"
        seen = form["version"] if "version" in form and not newer else held
        versions = await self._calls.older(place)
        since_ms = versions[0].at if versions else 0
        counted = await self._calls.counted(place[0], since_ms) if count else None
        names_of = dict.fromkeys(name for found in (counted or {}).values() for name in found)
        return answer_page(
            "texts.html", visit, status=200 if problem is None else problem.status, place=place, record=record,
            groups=groups, shown={form: _shown(source) for form, source in texts.items()},
            errors=errors, others=[each for name, found in errors.items() if name not in names for each in found],
            draws_mail=bool(previews), mails=[(where, _drawn(shown["email"])) for where, shown in previews],
            previews=previews, tested=tested, channels=self._calls.tried_by(place), variants=shares_of(texts),
            given=form, means=_MEANS, may=self._calls.may_publish(visit.session.person, place), parts=PARTS,
            versions=versions, seen=seen, problem=problem, counted=counted, counted_of=[*names_of], since_ms=since_ms,
        )  # fmt: skip

    def _begin(self, place: TextPlace, texts: TypeTexts | None) -> TypeTexts:
        """What the page's form has at first: where nothing is published, the built-in texts to begin with."""
        if texts is not None or place[0] == PARTS:
            return texts or {}
        return self._calls.built_in(place)

    async def _previews(self, place: TextPlace, form: Mapping[str, str]) -> list[tuple[str, Mapping[str, Any]]]:
        """By locale and variant: of what was typed where its readers would get that, of what is in force for others."""
        draft, example = _written(form), _example(form)
        self._calls.refuse_preview_of_parts(place)
        if errors := await self._calls.errors(place, draft):
            raise invalid(errors, "the texts could not be published")
        locales = list(dict.fromkeys([place[1], *form.get("locales", "").split()]))
        if len(locales) > _LOCALES_MAX:
            raise invalid([FieldError("locales", "are too many", f"name at most {_LOCALES_MAX - 1}")])
        shown: list[tuple[str, Mapping[str, Any]]] = []
        for reader in locales:
            texts, read = await self._calls.in_force(place, draft, reader), (place[0], reader)
            variants = self._calls.shown_by_variant(read, texts, example)
            shown += [(f"{reader}, variant {name}", found) for name, found in variants.items()]
            if not variants:
                shown.append((reader, self._calls.shown(read, texts, example)))
        return shown


def _place(form: Mapping[str, str]) -> TextPlace:
    """:raises ProblemError: 400."""
    place = form.get("type", "").strip(), form.get("locale", "").strip()
    if not all(place):
        raise ProblemError(400, "The form does not say of which type and locale.")
    return place


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def _written(form: Mapping[str, str]) -> dict[str, TemplateSource]:
    """The texts as the page's form has them; what is empty is left out."""
    fields = {name.removeprefix(_FIELD): text for name, text in form.items() if name.startswith(_FIELD)}
    if (name := form.get("part", "").strip()) and name not in fields:
        fields[name] = form.get("part_text", "")
    return {name: _source(text) for name, text in fields.items() if text.strip()}


def _source(text: str) -> TemplateSource:
    """Browsers send lines with CR LF."""
    sentences = [each.strip() for each in text.replace("\r\n", "\n").strip().split(_BETWEEN)]
    return sentences[0] if len(sentences) == 1 else sentences


def _shown(source: TemplateSource) -> str:
    return source if isinstance(source, str) else _BETWEEN.join(source)


def _drawn(mail: Mapping[str, Any]) -> Mapping[str, Any]:
    """With a policy of its own in the HTML part: whatever is in it, it fetches nothing and runs nothing."""
    return {**mail, "html": mail["html"].replace(_HEAD, _ASKS_NOBODY, 1)}


def _groups(type_name: str, texts: TypeTexts) -> list[tuple[str, list[str]]]:
    """The fields of the page's form; those of all channels first, and at the end whatever else there is, so that
    nothing is lost. Parts have the names that they have.
    """
    if type_name == PARTS:
        return [("", sorted(texts))]
    groups = [("", [*FORMS, "language", VARIANTS])]
    groups += [(f"For {channel} alone", [f"{channel}.{f}" for f in forms]) for channel, forms in CHANNEL_FORMS.items()]
    general = {*FORMS, *(form for form in texts if "." in form and ":" not in form)}
    for name, _ in shares_of(texts):
        own = {form for form in texts if form.startswith(f"{name}:")}
        groups.append((f"Variant {name}", sorted({*own, *(f"{name}:{form}" for form in general)}, key=_in_order)))
    known = {name for _, group in groups for name in group}
    rest = [name for name in texts if name not in known]
    return [*groups, ("What else is written", rest)] if rest else groups


def _in_order(name: str) -> tuple[bool, int, str]:
    """General forms in their order, then those of channels."""
    form = name.partition(":")[2]
    return form not in FORMS, FORMS.index(form) if form in FORMS else 0, form


def _by_field(errors: Sequence[FieldError]) -> dict[str, list[FieldError]]:
    """Errors by the field that they stand beside; one may name several, as `push.one, also, many`."""
    found: dict[str, list[FieldError]] = {}
    for error in errors:
        channel, dot, forms = error.path.removeprefix("texts.").rpartition(".")
        found.setdefault(f"{channel}{dot}{forms.split(', ')[0]}", []).append(error)
    return found


def _example(form: Mapping[str, str]) -> TextExample:
    """:raises ProblemError: 400."""
    actors = [each.strip() for each in form.get("actors", "").split(",") if each.strip()] or ["Ada"]
    return TextExample(_payload(form), actors[:_ACTORS_MAX], len(actors), "Eve")


def _test(form: Mapping[str, str]) -> dict[str, Any]:
    """What `TextTest` says.

    :raises ProblemError: 400.
    """
    user, channel = form.get("user", "").strip(), form.get("channel", "")
    (actor, *_), payload = _example(form).actors, _payload(form)
    variant = form.get("variant") or None
    return {
        "texts": _written(form), "user": user, "channel": channel, "payload": payload, "actor": actor,
        "variant": variant,
    }  # fmt: skip


def _payload(form: Mapping[str, str]) -> dict[str, Any] | None:
    """:raises ProblemError: 400."""
    payload, written = None, form.get("payload", "").strip()
    try:
        payload = msgspec.json.decode(written, type=dict[str, Any]) if written else None
    except UNDECODABLE as error:
        remedy = 'write them like {"title": "Sale"}'
        raise invalid([FieldError("payload", "are no JSON object", remedy)]) from error
    return payload
