"""The construct of every body, usable on its own (generated).

>>> from evproto.ykc import layouts
>>> body = bytes.fromhex("55031412782305 00")
>>> layouts.LoginResponse.parse(body).pile_id
'55031412782305'
"""

from evproto._generated.ykc.layouts import *
from evproto._generated.ykc.layouts import __all__ as __all__
