"""Before every try: the checks of RULES 4, and the message itself, a mail with its link to unsubscribe (RFC 8058)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from connectors.metrics import TEMPLATES_FAILED
from connectors.templates import PublishedTexts
from flows.steps.dead_letters import environment_failed
from flows.steps.sending.late import LastLook
from flows.steps.sending.records import TEMPLATE, raised_reason
from flows.steps.sending.task import Planned, SendTask
from flows.steps.sending.texts import TextMessages
from operators.late import GIVEN_ADDRESS
from operators.links import unsubscription
from operators.render import render
from state.model.content import Content, EmailContent, PushContent, WithdrawalContent
from state.model.dead_letter import KILLED, error_text
from state.model.errors import TemplateError
from state.model.registry import RegistryInForce
from state.model.unsubscribe import LinkKeys, Unsubscription
from state.model.variants import of_variant, variant_of

EndOfFailed = Callable[[SendTask, str, int], Planned]
"""The end of a task that fails for good, for a reason, now."""
_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class MailLinks:
    """Makes links for the mails of one process."""

    types: RegistryInForce
    keys: LinkKeys
    base_url: str
    """Where the gateway is reached from outside, without a slash at the end; empty: mails bear no link."""

    def url(self, link: Unsubscription | None) -> str | None:
        """Of what `switches_off` gave; None: the message has no link."""
        return f"{self.base_url}/v1/unsubscribe/{self.keys.sign(link)}" if link and self.base_url else None

    def switches_off(self, task: SendTask) -> Unsubscription | None:
        """What a link in this message would switch off; None: it is no mail, or nobody can leave it.

        An address that the event itself names is nobody's on file, so no setting of the user is opened to it.
        """
        if task.channel != "email" or task.device.id == GIVEN_ADDRESS:
            return None
        return unsubscription(task.emission, task.channel, self.types.current)


def message_or_end(
    task: SendTask,
    now: int,
    last_look: LastLook,
    failed: EndOfFailed,
    links: MailLinks | None,
    texts: TextMessages | None = None,
    *,
    may_go: bool = False,
) -> Content | Planned:
    """What a try says, or the end of the task without one; whatever one payload brings about, the others go on.

    `may_go`: it was looked at already.
    """
    if not may_go and (planned := last_look(task, now)) is not None:
        return planned
    if task.siblings.listener.killed_by():
        return Planned("DEAD_LETTER", KILLED)
    if task.siblings.withdraws and not task.siblings.replaces:
        return WithdrawalContent()
    if texts is not None and (planned := texts.refused(task, now, failed)) is not None:
        return planned
    try:
        with task.siblings.listener.rendering():
            if links is None:
                return _said(task, None, last_look.published)
            link = links.switches_off(task)
            content = _said(task, links.url(link), last_look.published)
            return replace(content, transactional=link is None) if isinstance(content, EmailContent) else content
    except TemplateError as error:
        _logger.warning("template_failed", type=task.emission.type, error=str(error))
        return failed(task, TEMPLATE, now)
    except Exception as error:
        if environment_failed(error):
            raise
        _logger.warning("rendering_failed", type=task.emission.type, error=error_text(error))
        return failed(task, raised_reason(error), now)


def _said(task: SendTask, url: str | None, published: PublishedTexts | None) -> Content:
    """By the published texts, if there are any and they render; a mistake in them must not cost a message."""
    emission = task.emission
    if emission.draft:  # what somebody tries is that text or none
        return _quietly(task, render(emission, task.channel, unsubscribe_url=url, texts=emission.draft.texts))
    texts = None if published is None else published.texts(emission.type, emission.locale)
    if texts is not None:
        task.variant = variant_of(texts, emission.type, emission.user)
        try:
            said = of_variant(texts, task.variant)
            return _quietly(task, render(emission, task.channel, unsubscribe_url=url, texts=said))
        except Exception as error:
            if environment_failed(error):
                raise
            TEMPLATES_FAILED.labels(emission.type).inc()
            _logger.warning("published_template_failed", type=emission.type, error=error_text(error))
    task.variant = None
    return _quietly(task, render(emission, task.channel, unsubscribe_url=url))


def _quietly(task: SendTask, content: Content) -> Content:
    """What replaces another says so."""
    return replace(content, replaces=True) if task.siblings.replaces and isinstance(content, PushContent) else content
