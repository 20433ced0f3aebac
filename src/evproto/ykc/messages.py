"""Every YKC message, and the pieces they are made of (generated)."""

from evproto._generated.ykc.messages import *
from evproto._generated.ykc.messages import __all__ as __all__
