"""Every code table of YKC (generated)."""

from evproto._generated.ykc.enums import *
from evproto._generated.ykc.enums import __all__ as __all__
