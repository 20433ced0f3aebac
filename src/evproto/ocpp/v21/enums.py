"""Enumerations of OCPP 2.1, generated from the specs."""

from evproto._generated.ocpp.v21.enums import *
from evproto._generated.ocpp.v21.enums import __all__ as __all__
