"""Which tokens are taken: the simulator's names only where a simulator is the provider."""

from dataclasses import replace
from pathlib import Path

import pytest

from connectors.providers.options import ApnsOptions, FcmOptions
from flows.config.served import served
from flows.config.settings import load_settings


@pytest.mark.parametrize(
    ("origin", "kind"),
    [
        (None, "apns_sandbox"),
        ("https://127.0.0.1:4443", "apns_sandbox"),
        ("https://[::1]:4443", "apns_sandbox"),
        ("https://localhost:4443", "apns_sandbox"),
        ("https://api.push.apple.com", "apns"),
        ("https://10.0.0.7", "apns"),
        ("https://localhost.example.com", "apns"),
    ],
)
def test_names_of_misbehaviours_are_for_a_simulator(tmp_path: Path, origin: str | None, kind: str) -> None:
    settings = load_settings(data_dir=tmp_path, environment={})
    apns = ApnsOptions(origin=origin) if origin is not None else None
    assert served(replace(settings, providers=replace(settings.providers, apns=apns)))["push"]["ios"] == kind


@pytest.mark.parametrize(
    ("origin", "kind"),
    [(None, "fcm_sandbox"), ("https://127.0.0.1:4443", "fcm_sandbox"), ("https://fcm.googleapis.com", "fcm")],
)
def test_android_devices_are_served_by_a_provider_of_their_own(tmp_path: Path, origin: str | None, kind: str) -> None:
    settings = load_settings(data_dir=tmp_path, environment={})
    apns, fcm = ApnsOptions(), FcmOptions(origin=origin) if origin is not None else None
    push = served(replace(settings, providers=replace(settings.providers, apns=apns, fcm=fcm)))["push"]
    assert (push["android"], push["ios"], push["*"]) == (kind, "apns", "apns")
