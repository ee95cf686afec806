"""Another configuration than at the last start is in the audit."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from helpers.places import ROOT

from connectors.audit_chain import checked_audit
from connectors.log.embedded.log import EmbeddedLog
from connectors.log.read_to_ends import stored_records
from connectors.log.topics import topic_specs
from flows.config.settings import LimitOptions, ProviderOptions, SenderOptions, Settings
from flows.process.noted_configuration import FILE, note_configuration
from infra.services import free_port, wait_port
from state.model.errors import LogUnavailableError
from state.model.secret import Secret


def acts(log: EmbeddedLog) -> list[Any]:
    records = [*stored_records(log, {("audit", 0): 0})]
    checked_audit(records)
    return [msgspec.json.decode(record.value) for record in records]


def test_what_changed_since_the_last_start_is_noted_and_secrets_are_not_told(tmp_path: Path) -> None:
    log = EmbeddedLog(tmp_path, clock=lambda: 1)
    log.ensure_topics(topic_specs(4, timedelta(days=1)))
    place = tmp_path / "gateway"
    sender = SenderOptions(key=Secret("a-key-of-old-times"), role="ops")
    first = Settings(data_dir=tmp_path, senders={"ann": sender})

    def start(settings: Settings) -> int:
        note_configuration(settings, log, place, process="gateway", now_ms=7)
        return len(acts(log))

    assert [start(first), start(first)] == [0, 0], "the first start remembers, and the same again is no change"
    key = {"ann": replace(sender, key=Secret("a-key-of-new-times"))}
    changed = replace(first, senders=key, limits=LimitOptions(devices_max=5))
    assert [start(changed), start(changed)] == [1, 1]
    (act,) = acts(log)
    assert (act["by"], act["act"], act["at"], act["about"]["process"]) == ("carillon", "configuration", 7, "gateway")
    assert act["before"]["limits.devices_max"], act["after"]["limits.devices_max"] == ("10", "5")
    assert act["before"].keys() == act["after"].keys() == {"limits.devices_max", "senders.ann.key"}
    assert act["before"]["senders.ann.key"] != act["after"]["senders.ann.key"]
    kept = (place / FILE).read_text() + str(acts(log))
    assert "times" not in kept
    assert (place / FILE).stat().st_mode & 0o777 == 0o600
    assert start(replace(changed, senders={})) == 2
    gone = acts(log)[-1]
    assert gone["after"]["senders.ann.key"] == "absent"
    log.close()


@pytest.mark.parametrize("several", [lambda key: (Secret("first"), key), lambda key: {"pair": [key]}, lambda key: key])
def test_a_secret_among_others_that_changes_is_noted(tmp_path: Path, several: Callable[[Secret], object]) -> None:
    """As an option of a provider from another package may hold them."""
    log = EmbeddedLog(tmp_path, clock=lambda: 1)
    log.ensure_topics(topic_specs(4, timedelta(days=1)))
    for text in ("a-key-of-old-times", "a-key-of-old-times", "a-key-of-new-times"):
        others = {"push": {"example": {"signing_token": several(Secret(text)), "plain": ("a", several(Secret(text)))}}}
        settings = replace(Settings(data_dir=tmp_path), providers=cast("ProviderOptions", others))
        note_configuration(settings, log, tmp_path, process="gateway", now_ms=7)
    (act,) = acts(log)
    assert act["before"].keys() == act["after"].keys() == {
        "providers.push.example.signing_token", "providers.push.example.plain"
    }  # fmt: skip
    assert "times" not in (tmp_path / FILE).read_text() + str(act)
    log.close()


def test_nothing_starts_with_what_cannot_be_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = EmbeddedLog(tmp_path, clock=lambda: 1)
    log.ensure_topics(topic_specs(4, timedelta(days=1)))
    first = Settings(data_dir=tmp_path)
    changed = replace(first, limits=LimitOptions(devices_max=5))
    note_configuration(first, log, tmp_path, process="gateway", now_ms=1)

    def refuse(_records: object) -> list[int]:
        raise LogUnavailableError("refused on order")

    with monkeypatch.context() as away:
        away.setattr(log, "append", refuse)
        for _ in range(2):
            with pytest.raises(LogUnavailableError):
                note_configuration(changed, log, tmp_path, process="gateway", now_ms=2)
    note_configuration(changed, log, tmp_path, process="gateway", now_ms=3)
    assert [act["at"] for act in acts(log)] == [3], "and it is noted once it can be"
    log.close()


def test_a_gateway_that_starts_with_another_configuration_notes_it(tmp_path: Path) -> None:
    log = EmbeddedLog(tmp_path, clock=lambda: 1)
    log.ensure_topics(topic_specs(4, timedelta(days=1)))
    for devices in (10, 10, 5):
        port = free_port()
        given = {"DATA_DIR": str(tmp_path), "GATEWAY__PORT": str(port), "LIMITS__DEVICES_MAX": str(devices)}
        environment = {**os.environ, **{f"CARILLON_{name}": value for name, value in given.items()}}
        process = subprocess.Popen([sys.executable, "-m", "flows.gateway", "ordinary"], cwd=ROOT, env=environment)
        try:
            wait_port(port, process)
        finally:
            process.terminate()
            process.wait(40)
    changes = [act["after"].get("limits.devices_max") for act in acts(log) if act["act"] == "configuration"]
    assert [each for each in changes if each] == ["5"]
    log.close()
