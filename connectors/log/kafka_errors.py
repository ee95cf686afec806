"""Kafka's errors as ours."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from confluent_kafka import KafkaError, KafkaException

from state.model.errors import LogError, LogUnavailableError, UnknownTopicError

_REFUSED = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG, KafkaError.INVALID_MSG_SIZE}
_UNKNOWN = {
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - librdkafka's own codes have public names of this form
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 - as above
}


def translated(error: KafkaError) -> LogError:
    """Our error for one of Kafka's."""
    if error.code() in _REFUSED:
        return LogError(f"the broker refuses the record: {error.str()}")
    if error.code() in _UNKNOWN:
        return UnknownTopicError(error.str())
    return LogUnavailableError(f"{error.name()}: {error.str()}")


@contextlib.contextmanager
def named_errors() -> Iterator[None]:
    """Raise ours where the client raises its own."""
    try:
        yield
    except KafkaException as error:
        raise translated(error.args[0]) from error
    except TimeoutError as error:
        raise LogUnavailableError("no answer within the deadline") from error


@contextlib.contextmanager
def unless(code: int) -> Iterator[None]:
    """Ignore one of Kafka's errors."""
    try:
        yield
    except KafkaException as error:
        if error.args[0].code() != code:
            raise
