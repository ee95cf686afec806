"""Reads the file with the credential of a push provider."""

from __future__ import annotations

from pathlib import Path

from connectors.providers.options import ApnsOptions, FcmOptions, WebPushOptions
from state.model.errors import ConfigurationError


def credential(options: ApnsOptions | FcmOptions | WebPushOptions, name: str) -> bytes:
    """The content of the file that an option names.

    :raises ConfigurationError: an option is missing or does not fit, or the file cannot be read.
    """
    if faults := list(options.faults()):
        raise ConfigurationError("; ".join(faults))
    path: Path = getattr(options, name)  # `faults` names one that is missing
    try:
        return path.read_bytes()
    except OSError as error:
        provider = {ApnsOptions: "apns", FcmOptions: "fcm", WebPushOptions: "webpush"}[type(options)]
        raise ConfigurationError(f"providers.{provider}.{name}: {path} cannot be read ({error.strerror})") from error
