"""Enumerations of ntxcp 1.0, generated from the specs."""

from evproto._generated.ntxcp.v10.enums import *
from evproto._generated.ntxcp.v10.enums import __all__ as __all__
