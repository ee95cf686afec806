"""Before every try: the checks of RULES 4, and the message itself."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from flows.steps.dead_letters import environment_failed
from flows.steps.sending.late import LastLook
from flows.steps.sending.records import TEMPLATE, raised_reason
from flows.steps.sending.task import Planned, SendTask
from operators.render import render
from state.model.content import Content
from state.model.dead_letter import KILLED, error_text
from state.model.errors import TemplateError

EndOfFailed = Callable[[SendTask, str, int], Planned]
"""The end of a task that fails for good, for a reason, now."""
_logger = structlog.get_logger(__name__)


def message_or_end(task: SendTask, now: int, *, last_look: LastLook, failed: EndOfFailed) -> Content | Planned:
    """What a try says, or the end of the task without one; whatever one payload brings about, the others go on."""
    if (planned := last_look(task, now)) is not None:
        return planned
    if task.siblings.listener.killed_by():
        return Planned("DEAD_LETTER", KILLED)
    try:
        with task.siblings.listener.rendering():
            return render(task.emission, task.channel)
    except TemplateError as error:
        _logger.warning("template_failed", type=task.emission.type, error=str(error))
        return failed(task, TEMPLATE, now)
    except Exception as error:
        if environment_failed(error):
            raise
        _logger.warning("rendering_failed", type=task.emission.type, error=error_text(error))
        return failed(task, raised_reason(error), now)
