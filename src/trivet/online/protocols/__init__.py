"""The protocols of other servers: each module of this folder adds one.

They may import what the online leg may; nothing imports them. To drop one, delete its module.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from trivet.online.service import Service


def add_protocols(service: Service) -> None:
    """Call ``add_to(service)`` of each module in this folder."""
    for module in iter_modules(__path__):
        import_module(f"{__name__}.{module.name}").add_to(service)
