"""What a call is given, judged by the rules: 400 with every error, or it is as its type says."""

from __future__ import annotations

from typing import Any

from connectors.gateway.decoding import decode_json
from connectors.gateway.http import ApiRequest
from connectors.gateway.problems import invalid
from state.model.admission import AdmissionRules
from state.model.documents import Document


async def sent_document(
    request: ApiRequest, rules: AdmissionRules, kind: type[Document], *, optional: bool = False
) -> dict[str, Any]:
    """The body. `optional`: none is an empty document.

    :raises ProblemError: as `ApiRequest.body`; 400.
    """
    raw = await request.body()
    return checked_document(decode_json(raw) if raw.strip() or not optional else {}, rules, kind)


def checked_document(body: Any, rules: AdmissionRules, kind: type[Document]) -> dict[str, Any]:
    """A document that came in a body or is made of a form.

    :raises ProblemError: 400.
    """
    if errors := rules.document_errors(body, kind):
        raise invalid(errors)
    return dict(body)


def named_in_path(request: ApiRequest, rules: AdmissionRules, *names: str) -> list[str]:
    """Path parameters that are identifiers.

    :raises ProblemError: 400.
    """
    values = [request.parameters[name] for name in names]
    pairs = zip(names, values, strict=True)
    if errors := [error for name, value in pairs for error in rules.text_errors(name, value)]:
        raise invalid(errors)
    return values
