"""Whom connections to providers trust: the machine's certificates, or those of a file that the configuration names."""

from __future__ import annotations

import ssl
from pathlib import Path

from state.model.errors import ConfigurationError


def client_tls(ca_file: Path | None, key: str) -> ssl.SSLContext:
    """`key` names the option in what is raised.

    :raises ConfigurationError: the file holds no certificates, or cannot be read.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise ConfigurationError(f"{key}: {ca_file} cannot be read; name a PEM file of certificates") from error


def readable_ca(ca_file: Path | None, key: str) -> Path | None:
    """The file, for clients that would not say what is wrong with it.

    :raises ConfigurationError: see `client_tls`.
    """
    if ca_file is not None:
        client_tls(ca_file, key)
    return ca_file
