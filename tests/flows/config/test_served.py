"""Which tokens are taken: the simulator's names only where a simulator is the provider."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from connectors.providers.email.options import SesOptions, SmtpOptions
from connectors.providers.options import (
    PUSH_SERVICES,
    ApnsOptions,
    EgressOptions,
    FcmOptions,
    TwilioOptions,
    WebhookOptions,
    WebPushOptions,
)
from connectors.providers.sms.smpp_options import SmppOptions
from flows.commands.up import simulated_line
from flows.config.providers import providers_in_force
from flows.config.served import kind_faults, needs_sandbox, served
from flows.config.settings import ProviderOptions, Settings, load_settings
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


@pytest.mark.parametrize(
    ("push", "kind"),
    [
        ({}, "webpush 127.0.0.1:*"),
        ({"apns": ApnsOptions()}, None),
        ({"webpush": WebPushOptions()}, f"webpush {' '.join(PUSH_SERVICES)}"),
        ({"webpush": WebPushOptions(hosts=("push.example.com",))}, "webpush push.example.com"),
    ],
)
def test_browsers_are_served_at_the_hosts_of_the_configuration(
    tmp_path: Path, push: dict[str, Any], kind: str | None
) -> None:
    found = served(Settings(data_dir=tmp_path, providers=ProviderOptions(**push)))
    assert found["push"].get("web") == kind
    assert ("apns" in push or not push) == ("*" in found["push"]), "beside a real provider no simulator stands in"


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"subject": "ops@example.com"}, "subject"), ({"subject": "mailto: <ops@example.com>"}, "subject"),
        ({"subject": ""}, "subject"), ({"hosts": ("x.example", "*")}, "hosts"),
        ({"hosts": ("https://x.example",)}, "hosts"),
        ({"hosts": ("*.example.com",)}, "hosts"), ({"hosts": ()}, "hosts"), ({"signing_key": None}, "signing_key"),
        ({"rate_per_s": 0.0}, "rate_per_s"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_options_of_web_push(wrong: dict[str, Any], key: str) -> None:
    right: dict[str, Any] = {"subject": "mailto:ops@example.com", "signing_key": Path("vapid.pem")}
    assert not [*WebPushOptions(**right).faults()]
    (fault,) = WebPushOptions(**right | wrong).faults()
    assert fault.startswith(f"providers.webpush.{key}: ")


@pytest.mark.parametrize(
    ("others", "webhook", "egress", "kind"),
    [
        (False, False, {}, "web_sandbox"), (True, False, {}, None), (False, True, {}, "web"), (True, True, {}, "web"),
        (True, True, {"ports": (443,)}, "web"), (True, True, {"ports": (9000,)}, "web_private"),
        (True, True, {"plain_http": True}, "web_private"),
        (True, True, {"private_networks": ("10.7.0.0/16",)}, "web_private"),
    ],
)  # fmt: skip
def test_webhooks_are_simulated_beside_other_simulators_only(
    tmp_path: Path, others: bool, webhook: bool, egress: dict[str, Any], kind: str | None
) -> None:
    settings = load_settings(data_dir=tmp_path, environment={})
    real: dict[str, Any] = {"apns": ApnsOptions(), "twilio": TwilioOptions(), "smtp": SmtpOptions()} if others else {}
    given = ProviderOptions(**real, webhook=WebhookOptions(secret="s" * 32) if webhook else None)
    settings = replace(settings, providers=given, egress=EgressOptions(**egress))
    assert kind_reached(served(settings), "webhook", None) == kind
    assert kind_reached(served(settings), "chat", None) == (None if others else "web_sandbox")
    assert needs_sandbox(settings) is not others


def test_flows_need_no_sandbox_where_every_channel_has_a_provider(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path, environment={})
    others = {"twilio": TwilioOptions(), "smtp": SmtpOptions()}
    for push in ({"apns": ApnsOptions()}, {"fcm": FcmOptions()}, {"webpush": WebPushOptions()}):
        given = replace(settings, providers=ProviderOptions(**push, **others))  # type: ignore[arg-type]  # by name
        assert not needs_sandbox(given)
        in_force = providers_in_force(given)
        assert {name: each.options for name, each in in_force.items()} == push | others
    for mail in ({"ses": SesOptions()}, {"smtp": SmtpOptions(standby=True), "ses": SesOptions()}):
        given = replace(settings, providers=ProviderOptions(apns=ApnsOptions(), twilio=TwilioOptions(), **mail))
        assert not needs_sandbox(given)
        assert providers_in_force(given).keys() == {"apns", "twilio"} | mail.keys()
        assert not list(kind_faults(given))
    for texts in ({"smpp": SmppOptions()}, {"twilio": TwilioOptions(standby=True), "smpp": SmppOptions()}):
        given = replace(settings, providers=ProviderOptions(apns=ApnsOptions(), smtp=SmtpOptions(), **texts))
        assert not needs_sandbox(given)
        assert providers_in_force(given).keys() == {"apns", "smtp"} | texts.keys()
    only_push = replace(settings, providers=ProviderOptions(apns=ApnsOptions()))
    assert needs_sandbox(only_push)
    with pytest.raises(ConfigurationError, match="providers: email, sms: no provider is configured"):
        providers_in_force(only_push)


def test_up_names_what_simulators_stand_in_for_beside_real_providers(tmp_path: Path) -> None:
    push = ProviderOptions(fcm=FcmOptions(service_account=tmp_path / "firebase.json"))
    line = simulated_line(Settings(data_dir=tmp_path, providers=push))
    assert line == "  Simulated sms, email, webhook, chat: what goes there reaches nobody\n"
    real = replace(push, twilio=TwilioOptions(), smtp=SmtpOptions(host="relay", sender="a@example.com"))
    assert simulated_line(Settings(data_dir=tmp_path, providers=real)) == ""
