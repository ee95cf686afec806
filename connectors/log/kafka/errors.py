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
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 - same reason
}
_PASSING = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.REPLICA_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.INVALID_REPLICATION_FACTOR,  # fewer brokers than copies: some may be starting
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError._DESTROY_BROKER,  # noqa: SLF001 - same; a bootstrap address was replaced by a broker's own
    KafkaError._TRANSPORT,  # noqa: SLF001 - same reason
    KafkaError._TIMED_OUT,  # noqa: SLF001 - same reason
    KafkaError._TIMED_OUT_QUEUE,  # noqa: SLF001 - same reason
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 - same reason
    KafkaError._WAIT_COORD,  # noqa: SLF001 - same reason
    KafkaError._RESOLVE,  # noqa: SLF001 - same reason
    KafkaError._NOENT,  # noqa: SLF001 - same; a partition has no leader now
}


def is_passing(error: KafkaError) -> bool:
    """Whether a moment later it may have sorted itself out: a change of leader, a new topic, a lost connection."""
    return error.code() in _PASSING or error.retriable()


def may_pass(error: LogUnavailableError) -> bool:
    """Whether asking again may help: what brokers say in a moment of change, or no answer at all."""
    cause = error.__cause__
    return isinstance(cause, TimeoutError) or (isinstance(cause, KafkaException) and is_passing(cause.args[0]))


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
