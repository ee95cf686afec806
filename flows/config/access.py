"""Who may call the system, from the configuration or, where it names nobody, by development credentials in DIR."""

from __future__ import annotations

from typing import Literal

from connectors.gateway.cursor import kept_secret
from connectors.gateway.options import CallbackOptions, GatewayOptions, Role, ServiceKey, UserTokens, hash_key
from flows.config.credentials import development_credentials
from flows.config.settings import SenderOptions, Settings
from state.model.secret import Secret

LINK_KEY_FILE = "unsubscribe.key"
"""In the data directory."""
DEVELOPMENT_LIMIT_PER_S = 20_000
"""Raised for the development senders: they are for trying, measuring and tests. A configured sender begins with 100."""
_DEVELOPMENT_ROLES: dict[str, Role] = {
    "producer": "producer",
    "p0_producer": "p0",
    "ops": "ops",
    "marketing": "marketing",
    "support": "support",
    "admin": "admin",
}


def senders_in_force(settings: Settings) -> dict[str, SenderOptions]:
    """The configured senders, or those of the development credentials."""
    if settings.senders:
        return dict(settings.senders)
    credentials = development_credentials(settings.data_dir)
    return {
        name: SenderOptions(key=credentials.key(name), role=role, limit_per_s=DEVELOPMENT_LIMIT_PER_S)
        for name, role in _DEVELOPMENT_ROLES.items()
        if name in credentials.keys
    }


def service_keys(settings: Settings) -> tuple[ServiceKey, ...]:
    """The senders as the gateway knows them: by the hash of their key, and of the one before."""
    return tuple(
        ServiceKey(
            key_sha256=hash_key(key.reveal()),
            role=sender.role,
            sender_id=name,
            classes=sender.classes or (("P0",) if sender.role == "p0" else ("P1", "P2")),
            types=sender.types,
            limit_per_s=sender.limit_per_s,
        )
        for name, sender in senders_in_force(settings).items()
        for key in (sender.key_before, sender.key)
        if key is not None
    )


def user_secret(settings: Settings) -> Secret:
    """What checks users' JWTs."""
    if settings.gateway.user_secret is not None:
        return settings.gateway.user_secret
    return Secret(development_credentials(settings.data_dir).user_secret)


def link_keys(settings: Settings) -> tuple[bytes, ...]:
    """What signs links to unsubscribe, the present key first, and what signed those that are in mailboxes already.

    Without a configured secret it is one kept in the data directory, which then all processes must share.
    """
    kept = settings.data_dir / LINK_KEY_FILE
    given = [
        secret.reveal().encode()
        for secret in (settings.gateway.unsubscribe_secret, settings.gateway.unsubscribe_secret_before)
        if secret is not None
    ]
    return (*given, kept_secret(kept)) if kept.exists() or not given else tuple(given)


def user_tokens(settings: Settings) -> UserTokens:
    """How users' JWTs are checked."""
    table = settings.gateway
    before = table.user_secret_before
    return UserTokens(
        user_secret(settings).reveal(),
        "" if before is None else before.reveal(),
        table.user_algorithms,
        table.user_audience,
        table.user_expiry_required,
    )


def callback_url(settings: Settings, provider: str) -> str:
    """Where a provider reports of what it took; empty: the gateway has no address that is known outside."""
    origin = settings.gateway.public_url.rstrip("/")
    return f"{origin}/v1/callbacks/{provider}" if origin else ""


def callback_options(settings: Settings) -> CallbackOptions:
    """Whose word on sent messages is taken."""
    twilio, ses = settings.providers.twilio, settings.providers.ses
    return CallbackOptions(
        twilio_auth_token="" if twilio is None else twilio.auth_token,
        twilio_url="" if twilio is None else twilio.status_callback or callback_url(settings, "twilio"),
        ses_topic="" if ses is None else ses.events_topic,
        egress=settings.egress,
        gone_per_h=settings.limits.gone_per_h,
    )


def _revealed(secret: Secret | None) -> bytes:
    return b"" if secret is None else secret.reveal().encode()


def gateway_options(settings: Settings, kind: Literal["ordinary", "p0"]) -> GatewayOptions:
    """What one gateway process needs."""
    table = settings.gateway
    return GatewayOptions(
        directory=settings.data_dir,
        keys=service_keys(settings),
        users=user_tokens(settings),
        kind=kind,
        port=table.p0_port if kind == "p0" else table.port,
        redis=settings.redis,
        fallback_limit_per_s=settings.limits.fallback_per_s,
        serving=table,
        devices_max=settings.limits.devices_max,
        token_age_max=settings.limits.token_age_max,
        link_keys=() if kind == "p0" else link_keys(settings),
        secret_of_all=_revealed(table.unsubscribe_secret),
        secret_of_all_before=_revealed(table.unsubscribe_secret_before),
        public_url=table.public_url,
        openid=settings.openid,
        allowed_origins=table.allowed_origins,
        callbacks=CallbackOptions() if kind == "p0" else callback_options(settings),
        user_writes_per_s=settings.limits.user_writes_per_s,
        fan_outs_per_h=settings.limits.fan_outs_per_h,
    )
