"""Payload classes of ntxcp 1.0, generated from the specs."""

from evproto._generated.ntxcp.v10.messages import *
from evproto._generated.ntxcp.v10.messages import __all__ as __all__
