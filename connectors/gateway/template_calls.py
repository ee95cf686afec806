"""The calls about texts."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from connectors.gateway import template_answers as answers
from connectors.gateway.answers import Approval
from connectors.gateway.campaign_calls import MARKETING
from connectors.gateway.routes import Route
from connectors.gateway.templates import VERSIONS_MAX, TemplateCalls
from state.schedule.campaigns import TESTS_A_DAY

_ONE = "/v1/templates/{type}/{locale}"
_JSON = "application/json"


def template_calls(calls: TemplateCalls) -> list[Route]:
    """For whoever writes what notifications say."""
    reason: dict[str, Any] = {"reason": Annotated[str, Meta(description="Why, for the audit.")]}
    return [
        Route(
            "listTemplates", "GET", "/v1/templates", MARKETING, "Texts", "Every type and locale with texts of its own.",
            calls.all, {200: answers.TextsList}, (503,),
        ),
        Route(
            "getTemplate", "GET", _ONE, MARKETING, "The texts of a type in a locale", "404: none are published.",
            calls.get, {200: answers.TextsShown}, (404, 503),
        ),
        Route(
            "putTemplate", "PUT", _ONE, MARKETING, "Publish texts",
            "They are checked, and in force from then on. Locale `default` serves whoever has no other. Texts of class "
            "P0 are an administrator's, and 202: a second person has to confirm them.",
            calls.put, {200: answers.TextsShown, 202: Approval}, (409, 503), body={_JSON: answers.NewTexts},
        ),
        Route(
            "deleteTemplate", "DELETE", _ONE, MARKETING, "Take texts back", "The built-in ones hold again.",
            calls.delete, {202: Approval, 204: None}, (404, 503), query=reason,
        ),
        Route(
            "getTemplateVersions", "GET", f"{_ONE}/versions", MARKETING, "What was in force",
            f"The newest {VERSIONS_MAX}, with who published each, when and why.",
            calls.versions, {200: answers.TextsVersions}, (404, 503),
        ),
        Route(
            "rollBackTemplate", "POST", f"{_ONE}/rollback", MARKETING, "Publish an older version again",
            "It is checked as any other, and becomes the newest version.",
            calls.roll_back, {200: answers.TextsShown, 202: Approval}, (404, 409, 503),
            body={_JSON: answers.OlderVersion},
        ),
        Route(
            "previewTemplate", "POST", f"{_ONE}/preview", MARKETING, "See what each channel would show",
            "Of texts that are sent along, or of those in force, with values that are sent along or made up. Nothing "
            "is published or sent.",
            calls.preview, {200: answers.TextsPreview}, (503,), body={_JSON: answers.PreviewValues},
        ),
        Route(
            "testTemplate", "POST", f"{_ONE}/test", MARKETING, "Send texts to one user for trying",
            "They need not be published, and are what somebody who reads this locale would get. His settings hold as "
            f"ever. {TESTS_A_DAY} a day by one person, those of campaigns included. 202: they are of class P0, so a "
            "second person has to confirm it.",
            calls.test, {200: answers.TextTested, 202: Approval}, (409, 503), body={_JSON: answers.TextTest},
        ),
    ]  # fmt: skip
