"""Carillon's HTTP API: `Client` for programs that wait, `AsyncClient` for asyncio."""

from .clients import AsyncClient, Client
from .core import CarillonError, keyed

__all__ = ["AsyncClient", "CarillonError", "Client", "keyed"]
