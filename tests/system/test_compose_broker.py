"""A real broker with the properties that compose.yaml gives its container takes the services, and nobody
else. Addresses and ports are the test's own.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from helpers.places import ROOT

from connectors.log.interface import NewRecord, TopicSpec
from connectors.log.kafka.log import KafkaLog
from flows.config.settings import load_settings
from infra.services import Process, free_port, kafka_jars, require
from state.model.errors import LogError

PASSWORD = "Abc123"
COMPOSE = re.sub(r"\$\{CARILLON_BROKER_PASSWORD:\?[^}]*\}", PASSWORD, (ROOT / "infra" / "compose.yaml").read_text())


def given(prefix: str) -> dict[str, str]:
    """What a container finds in its environment: single lines, and one text over two."""
    folded = re.sub(r">-\n +(.*)\n +(.*)", r"\1 \2", COMPOSE)
    found = re.findall(rf"^ +({prefix}\w+): (.*?)(?: #.*)?$", folded, re.MULTILINE)
    return {name: value.strip('"') if value.startswith('"') else value for name, value in found}


def broker_properties(ports: Mapping[str, int], data: Path) -> str:
    """As the image makes them of its environment."""
    lines = []
    for name, value in given("KAFKA_").items():
        key = name.removeprefix("KAFKA_").lower().replace("___", "-").replace("__", "\0").replace("_", ".")
        here = re.sub(r"(?<=SERVICES://)(kafka)?(?=:)", "localhost", value)
        for number, port in ports.items():
            here = here.replace(f":{number}", f":{port}")
        lines.append(f"{key.replace(chr(0), '_')}={data if key == 'log.dirs' else here}")
    return "\n".join(lines) + "\n"


def test_the_broker_of_compose_takes_the_services_and_nobody_else(tmp_path: Path) -> None:
    ports = {number: free_port() for number in ("9092", "9093", "9094")}
    properties = tmp_path / "server.properties"
    properties.write_text(broker_properties(ports, tmp_path / "data"))
    java = [require("java"), "-Xmx384m", "-XX:+UseSerialGC", "-cp", f"{kafka_jars()}/*"]
    tool = [*java, "kafka.tools.StorageTool", "format", "-t", "CarillonCarillonCarill", "-c", str(properties)]
    subprocess.run(tool, check=True, capture_output=True)
    broker = Process([*java, "kafka.Kafka", str(properties)], tmp_path, ports["9092"])
    services = load_settings(environment=given("CARILLON_KAFKA")).kafka
    assert services.client_settings["sasl.password"] == PASSWORD

    def append(settings: Mapping[str, str], port: str = "9092") -> None:
        options = replace(services, client_settings=settings, deadline=timedelta(seconds=30 if settings else 5))
        with closing(KafkaLog(f"localhost:{ports[port]}", options=options)) as log:
            log.ensure_topics([TopicSpec("audit", 1)])
            log.append([NewRecord("audit", 0, b"k", b"value")])

    broker.start()
    try:
        append(services.client_settings)
        for wrong in ({}, {**services.client_settings, "sasl.password": "wrong"}):
            with pytest.raises(LogError):
                append(wrong)
        append({}, port="9094")
    finally:
        broker.kill()
    assert [each for each in given("KAFKA_")["KAFKA_LISTENERS"].split(",") if "://:" in each] == ["SERVICES://:9092"]
