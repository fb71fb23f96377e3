"""Name -> class, as text, so that what an unused backend needs is never imported."""

from importlib import import_module
from typing import cast

from controlplane.backends.backend import Backend
from controlplane.settings import Settings

BACKENDS = {"process": "controlplane.backends.process:ProcessBackend"}


class UnknownBackend(ValueError):
    """No backend has that name."""


def load_backend(settings: Settings) -> Backend:
    """The backend the settings name. Raises `UnknownBackend`."""
    try:
        module, _, name = BACKENDS[settings.backend].partition(":")
    except KeyError:
        raise UnknownBackend(f"no backend is called {settings.backend!r}; known: {', '.join(BACKENDS)}") from None
    return cast(Backend, getattr(import_module(module), name)(settings))
