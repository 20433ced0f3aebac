"""Field types, scaling and framing: what lies between bytes and messages.

Nothing here knows a message by name; generated tables (:mod:`evproto.wire.table`)
say what there is, and two engines that behave alike carry it out: the one on
construct (:mod:`evproto.wire.pure`) and the compiled one.
"""
