"""The layouts of the messages, as data (generated)."""

from evproto._generated.ykc.tables import *
from evproto._generated.ykc.tables import __all__ as __all__
