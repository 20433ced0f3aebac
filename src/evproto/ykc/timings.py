"""What the document says about time (generated)."""

from evproto._generated.ykc.timings import *
from evproto._generated.ykc.timings import __all__ as __all__
