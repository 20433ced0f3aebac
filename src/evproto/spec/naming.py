"""From names on the wire to names in Python.

The other way is never computed: generated code carries each wire name.
"""

from __future__ import annotations

import keyword
import re

__all__ = ["attribute_name", "enum_member_name"]

# Where capitals do not mark the words.
_RESPELLED = (
    ("EMAIDs", "Emaids"),
    ("eMAID", "Emaid"),
    ("SoC", "Soc"),
    ("soC", "soc"),
    ("soH", "soh"),
    ("RoCoF", "Rocof"),
    ("V2X", "V2x"),
    ("V2G20", "V2g20"),
    ("V2G", "V2g"),
    ("VRef", "Vref"),
    ("IPSec", "Ipsec"),
    ("IKEv2", "Ikev2"),
    ("IdleTIme", "IdleTime"),
    ("kWh", "Kwh"),
    ("kVA", "Kva"),
    ("kW", "Kw"),
)

_WORDS = re.compile(
    r"""
      [A-Z]{2,}[0-9]+                      # SHA256
    | [A-Z][0-9]+[A-Z]+(?=$|[-._])         # L2TP
    | [A-Z]+(?=[A-Z][a-z])                 # DC in DCInjection
    | [A-Z]+(?![a-z0-9])                   # URL
    | [A-Z]?[a-z0-9]+(?:(?<=[0-9])[A-Z]+(?=$|[-._]))?  # Vendor, v2x, 16A
    | [A-Z]
    """,
    re.VERBOSE,
)


def _words(name: str) -> list[str]:
    for old, new in _RESPELLED:
        name = name.replace(old, new)
    return _WORDS.findall(name)


def attribute_name(wire: str) -> str:
    """``chargePointVendor`` as ``chargePointVendor`` is read aloud: ``charge_point_vendor``."""
    name = "_".join(_words(wire)).lower()
    return f"{name}_" if keyword.iskeyword(name) else name


def enum_member_name(value: str) -> str:
    """``Energy.Active.Import.Register`` as ``ENERGY_ACTIVE_IMPORT_REGISTER``."""
    name = "_".join(_words(value)).upper()
    return name if not name[:1].isdigit() else f"N{name}"
