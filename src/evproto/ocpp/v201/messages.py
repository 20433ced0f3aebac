"""Payload classes of OCPP 2.0.1, generated from the specs."""

from evproto._generated.ocpp.v201.messages import *
from evproto._generated.ocpp.v201.messages import __all__ as __all__
