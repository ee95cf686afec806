"""A sender as configured: every channel with its provider, and the bounds that the provider's options set."""

from __future__ import annotations

import random

from connectors.changes import Changes
from connectors.control import ControlWatcher
from connectors.log.owners import FencedLog
from flows.config.providers import providers_in_force
from flows.config.settings import Settings
from flows.process.open import clock_ms
from flows.steps.sending.late import LastLook
from flows.steps.sending.queue import ProviderLane
from flows.steps.sending.sender import Sender, SenderParts


def build_sender(settings: Settings, log: FencedLog, watcher: ControlWatcher, *, stage: str) -> Sender:
    """A running sender with connections of its own.

    :raises ConfigurationError: a provider cannot be set up.
    """
    channels = providers_in_force(settings).channels()
    lanes = {
        name: ProviderLane(channel, channel.options.concurrency_max, channel.options.rate_per_s)
        for name, channel in channels.items()
    }
    look = LastLook(
        is_stopped=lambda scope: watcher.stopped(scope) is not None,
        changes=Changes(log, now_ms=clock_ms()).start(),
        registry=settings.registry(),
    )
    sender = Sender(
        SenderParts(
            log=log,
            lanes=lanes,
            last_look=look,
            now_ms=clock_ms,
            uniform=random.uniform,
            stage=stage,
            fence=log.fence,
        )
    )
    sender.start()
    return sender
