"""The secret that a receiver is given is the one that its messages are signed by."""

from pathlib import Path

from helpers.up import carillon

from connectors.providers.web.signature import endpoint_secret

NEW, OLD = "n" * 32, "o" * 32


def test_a_receiver_is_told_its_own_secrets_and_not_those_they_are_made_of(tmp_path: Path) -> None:
    table = {"CARILLON_PROVIDERS__WEBHOOK__SECRET": NEW}
    one = carillon("webhook-secret", "ann", "main", "--data", str(tmp_path), environment=table)
    assert one.stdout.split() == [endpoint_secret(NEW, "ann", "main")]
    table["CARILLON_PROVIDERS__WEBHOOK__SECRET_BEFORE"] = OLD
    both = carillon("webhook-secret", "ann", "main", "--data", str(tmp_path), environment=table)
    assert both.stdout.split() == [endpoint_secret(secret, "ann", "main") for secret in (NEW, OLD)]
    assert NEW not in both.stdout + both.stderr


def test_without_webhooks_there_is_no_secret(tmp_path: Path) -> None:
    done = carillon("webhook-secret", "ann", "main", "--data", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert "providers.webhook" in done.stderr
