"""Enumerations of OCPP 2.0.1, generated from the specs."""

from evproto._generated.ocpp.v201.enums import *
from evproto._generated.ocpp.v201.enums import __all__ as __all__
