"""How the Kafka log is configured. Apart from the log: every process reads the configuration, few have a client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class KafkaOptions:
    """How the Kafka log connects and creates topics."""

    deadline: timedelta = timedelta(seconds=10)
    """How long an append or a question of gateways and commands may take. Default: ten seconds."""
    patience: timedelta = timedelta(minutes=2)
    """How long flows wait for brokers before they end and are started again. Default: two minutes."""
    replication: int = 0
    """Copies of topics made here; -1: the brokers' default. Default 0: three, or one per broker there is or named."""
    client_settings: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Settings of librdkafka for all clients, for example for TLS and SASL. Default: none."""
    topic_settings: Mapping[str, str] = field(default_factory=dict)
    """Settings for topics made here, for example min.insync.replicas. Default: none."""
