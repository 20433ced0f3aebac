"""Records in the stream once, whichever node they come from.

A charger that got no confirmation sends its record again, to another node
perhaps, which cannot know that the first one had it. The stream does: what it
recognises a repetition by is the record here, not the event.
"""

from __future__ import annotations

from evproto.aio.nats import escape
from evproto.gateway.events import Event
from evproto.gateway.nats_sink import NatsMessage, NatsShape
from evproto.gateway.neutral import family

__all__ = ["same_from_all_nodes"]


def same_from_all_nodes(shape: NatsShape) -> NatsShape:
    """A shape whose messages of one record have one ``Nats-Msg-Id``, on all nodes."""

    def shaped(event: Event) -> NatsMessage | None:
        message = shape(event)
        if message is None or not event.is_record or not event.key:
            return message
        parts = (family(event.protocol), event.charger, event.key, event.digest or "")
        identity = ".".join(escape(part) for part in parts)
        return message._replace(headers={**message.headers, "Nats-Msg-Id": identity})

    return shaped
