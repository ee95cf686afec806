"""Which tokens are taken: the simulator's names only where a simulator is the provider."""

from dataclasses import replace
from pathlib import Path

import pytest

from connectors.providers.options import ApnsOptions, FcmOptions, SmtpOptions, TwilioOptions
from flows.config.providers import providers_in_force
from flows.config.served import needs_sandbox, served
from flows.config.settings import ProviderOptions, load_settings
from state.model.addresses import kind_reached
from state.model.errors import ConfigurationError


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
    ("apns", "fcm", "kinds"),
    [
        (None, None, ("fcm_sandbox", "apns_sandbox", "apns_sandbox")),
        (None, "https://fcm.googleapis.com", ("fcm", None, None)),
        ("https://api.push.apple.com", None, (None, "apns", "apns")),
        ("https://api.push.apple.com", "https://127.0.0.1:4443", ("fcm_sandbox", "apns", "apns")),
        ("https://api.push.apple.com", "https://fcm.googleapis.com", ("fcm", "apns", "apns")),
    ],
)
def test_each_platform_is_served_by_its_provider_and_no_simulator_beside_a_real_one(
    tmp_path: Path, apns: str | None, fcm: str | None, kinds: tuple[str | None, ...]
) -> None:
    settings = load_settings(data_dir=tmp_path, environment={})
    given = replace(
        settings.providers,
        apns=None if apns is None else ApnsOptions(origin=apns),
        fcm=None if fcm is None else FcmOptions(origin=fcm),
    )
    found = served(replace(settings, providers=given))
    assert tuple(kind_reached(found, "push", platform) for platform in ("android", "iOS", None)) == kinds


def test_flows_need_no_sandbox_where_every_channel_has_a_provider(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path, environment={})
    others = {"twilio": TwilioOptions(), "smtp": SmtpOptions()}
    for push in ({"apns": ApnsOptions()}, {"fcm": FcmOptions()}):
        given = replace(settings, providers=ProviderOptions(**push, **others))  # type: ignore[arg-type]  # by name
        assert not needs_sandbox(given)
        in_force = providers_in_force(given)
        assert {"apns": in_force.apns, "fcm": in_force.fcm} == {"apns": None, "fcm": None} | push
    only_push = replace(settings, providers=ProviderOptions(apns=ApnsOptions()))
    assert needs_sandbox(only_push)
    with pytest.raises(ConfigurationError):
        providers_in_force(only_push)
