"""Payload classes of OCPP 1.6, generated from the specs."""

from evproto._generated.ocpp.v16.messages import *
from evproto._generated.ocpp.v16.messages import __all__ as __all__
