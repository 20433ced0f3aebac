"""Frames that are malformed or at the edge, and what each version does with them, typed by hand.

The sources are the OCPP-J documents (1.6-J chapter 4, with errata; 2.0.1 and
2.1 part 4, chapter 4) and, for ntxcp, OCPP 1.6, which it was derived from.
Nothing in here was taken from what the package does, and nothing in here
imports it, so that the table serves for sessions and for sockets alike.

A frame goes to one end, in a situation:

``idle``     nothing is under way
``asked``    this end has sent the CALL ``ASKED`` and waits for the answer
``late``     that call has timed out
``serving``  this end has got the CALL ``SERVED``, which nobody has answered yet

and the reaction is what comes back, what the application learns, and whether
the call that was outstanding (``asked``) still is.

In the frames, ``OURS`` stands for the message id of the outstanding call (a
socket test learns it from the frame it gets), ``PING`` for an action without
members, which each role gets another of.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Literal

VERSIONS = ("1.6", "2.0.1", "2.1", "ntxcp")
ROLES = ("server", "client")
MAX_SIZE = 400_000
"""Bytes a message may have in these tests."""

ASKED = ("DataTransfer", {"vendorId": "acme"})
"""Action and payload of the outstanding call: the same in all versions and roles."""
SERVED = b'[2,"t0","DataTransfer",{"vendorId":"acme"}]'

PING = {"server": "Heartbeat", "client": "ClearCache"}
"""An action whose request has no member that must be there, by the role of the end that gets it."""
ENUM = {"server": ("FirmwareStatusNotification", "status"), "client": ("Reset", "type")}
"""An action with an enumeration for its only required member."""

Learns = Literal[
    "call",  # a CALL it has to answer
    "send",  # a message it has not
    "nothing",  # the frame was rejected; the application may log it
    "result",  # its call ended with a CALLRESULT
    "error",  # its call ended with a CALLERROR
    "invalid",  # its call ended with an answer that is none
    "unexpected",  # an answer nobody waits for
    "refused",  # an answer of its own was refused
    "declined",  # a CALL it will not see
    "later",  # a CALL it will see when it has answered the one before
]


@dataclasses.dataclass(frozen=True)
class Reaction:
    learns: Learns
    back: tuple[int, str, str] | None = None
    """Message type, message id and error code of what goes back at once; None: nothing does.

    A call that reaches the application is answered by that, not here."""
    code: str = ""
    """The error code the outstanding call ended with."""


@dataclasses.dataclass(frozen=True)
class Edge:
    name: str
    frame: str | bytes
    reactions: dict[str, Reaction]
    situation: str = "idle"
    too_big: bool = False
    """The frame is larger than MAX_SIZE; a transport may close the connection over it first."""

    def data(self, role: str, ours: str) -> bytes:
        """The bytes to send to an end of ``role`` whose outstanding call is ``ours``."""
        frame = self.frame if isinstance(self.frame, bytes) else self.frame.encode("utf-8", "surrogatepass")
        action, member = ENUM[role]
        for word, instead in (
            (b"OURS", json.dumps(ours)[1:-1]),
            (b"PING", PING[role]),
            (b"ENUM", action),
            (b"MEMBER", member),
        ):
            frame = frame.replace(word, instead.encode())
        return frame

    @property
    def still_outstanding(self) -> bool:
        """Whether the outstanding call of situation ``asked`` is so afterwards, in every version."""
        return self.situation == "asked" and not any(
            reaction.learns in ("result", "error", "invalid") for reaction in self.reactions.values()
        )


# The error codes, by version. 1.6-J table 7 (its two misspellings stay, errata 5.1 and 5.2); part 4,
# table 8 (2.0.1) and 9 (2.1). ntxcp has the codes of 1.6, but for "Occurrence".

FRAME = {
    # "Content of the call is not a valid RPC Request, for example: MessageId could not be read"; 1.6 has
    # no such code, "syntactically incorrect" is nearest.
    "1.6": "FormationViolation",
    "2.0.1": "RpcFrameworkError",
    "2.1": "RpcFrameworkError",
    "ntxcp": "FormationViolation",
}
FORM = {
    # "Payload for Action is syntactically incorrect"
    "1.6": "FormationViolation",
    "2.0.1": "FormatViolation",
    "2.1": "FormatViolation",
    "ntxcp": "FormationViolation",
}
OCCURRENCE = {
    "1.6": "OccurenceConstraintViolation",
    "2.0.1": "OccurrenceConstraintViolation",
    "2.1": "OccurrenceConstraintViolation",
    "ntxcp": "OccurrenceConstraintViolation",
}
TYPE = dict.fromkeys(VERSIONS, "TypeConstraintViolation")
PROPERTY = dict.fromkeys(VERSIONS, "PropertyConstraintViolation")
UNKNOWN_ACTION = dict.fromkeys(VERSIONS, "NotImplemented")

Reactions = dict[str, Reaction]


def same(learns: Learns, code: str = "") -> Reactions:
    """Nothing goes back, in any version."""
    return dict.fromkeys(VERSIONS, Reaction(learns, None, code))


def refused(codes: dict[str, str], unique_id: str = "t1", **others: Reaction) -> Reactions:
    """A CALLERROR goes back, except where ``others`` says otherwise."""
    found = {version: Reaction("nothing", (4, unique_id, codes[version])) for version in VERSIONS}
    return found | {_VERSION[name]: reaction for name, reaction in others.items()}


def invalid(codes: dict[str, str], **others: Reaction) -> Reactions:
    """The outstanding call ends; OCPP 2.1 tells the sender of the answer with a CALLRESULTERROR."""
    found = same("invalid") | {"2.1": Reaction("invalid", (5, "OURS", codes["2.1"]))}
    return found | {_VERSION[name]: reaction for name, reaction in others.items()}


_VERSION = {"v16": "1.6", "v201": "2.0.1", "v21": "2.1", "ntxcp": "ntxcp"}
CALL = Reaction("call")
NOTHING = Reaction("nothing")
# 1.6-J section 4.1.3 and 2.1 part 4 sections 4.1.3, 4.4: "SHALL ignore the message payload"; 2.0.1 part 4
# section 4.4 wants a CALLERROR, and ntxcp has the code for one.
UNKNOWN_TYPE: Reactions = {
    "1.6": NOTHING,
    "2.0.1": Reaction("nothing", (4, "t1", "MessageTypeNotSupported")),
    "2.1": NOTHING,
    "ntxcp": Reaction("nothing", (4, "t1", "MessageTypeNotSupported")),
}


def _unknown_type(unique_id: str) -> Reactions:
    return {
        version: Reaction("nothing", reaction.back and (4, unique_id, reaction.back[2]))
        for version, reaction in UNKNOWN_TYPE.items()
    }


_ID36 = "0123456789abcdef0123456789abcdef0123"
_ID37 = _ID36 + "4"
_STREAM = '{"id":1,"pending":0,"basetime":"2026-11-20T10:00:00Z","data":[{"t":1,"v":"230.4"}]}'

EDGES = [
    # Not JSON, or not enough of it. The id is "-1" where it cannot be read (part 4, section 4.2.3).
    Edge("nothing at all", "", refused(FRAME, "-1")),
    Edge("white space", " \r\n\t", refused(FRAME, "-1")),
    Edge("plain text", "hello", refused(FRAME, "-1")),
    Edge("cut off in the payload", '[2,"t1","PING",{', refused(FRAME)),
    Edge("cut off in the action", '[2,"t1","PI', refused(FRAME)),
    Edge("cut off in the id", '[2,"t1', refused(FRAME, "-1")),
    Edge("something after the end", '[2,"t1","PING",{}]x', refused(FRAME)),
    Edge("two frames in one message", '[2,"t1","PING",{}][2,"t2","PING",{}]', refused(FRAME)),
    Edge("a comma too many", '[2,"t1","PING",{},]', refused(FRAME)),
    Edge("single quotes", "[2,'t1','PING',{}]", refused(FRAME, "-1")),
    Edge("a byte order mark", b'\xef\xbb\xbf[2,"t1","PING",{}]', refused(FRAME, "-1")),
    Edge("UTF-16", '[2,"t1","Heartbeat",{}]'.encode("utf-16"), refused(FRAME, "-1")),
    Edge("not UTF-8 in the payload", b'[2,"t1","DataTransfer",{"vendorId":"\xff"}]', refused(FRAME)),
    Edge("not UTF-8 in the id", b'[2,"\xff","PING",{}]', refused(FRAME, "-1")),
    Edge("half a character in the id", '[2,"\\ud800","PING",{}]', refused(FRAME, "-1")),
    Edge("half a character in the payload", '[2,"t1","DataTransfer",{"vendorId":"\\udfff"}]', refused(FRAME)),
    Edge("a control character in a text", '[2,"t1","DataTransfer",{"vendorId":"a\nb"}]', refused(FRAME)),
    Edge("NaN", '[2,"t1","DataTransfer",{"vendorId":"a","data":NaN}]', refused(FRAME)),
    Edge("minus infinity", '[2,"t1","DataTransfer",{"vendorId":"a","data":-Infinity}]', refused(FRAME)),
    Edge("a number out of range", '[2,"t1","DataTransfer",{"vendorId":"a","data":1e999}]', refused(FRAME)),
    Edge("100,000 brackets", "[" * 100_000, refused(FRAME, "-1")),
    Edge(
        "100,000 brackets in the payload",
        '[2,"t1","DataTransfer",{"vendorId":"a","data":' + "[" * 100_000 + "]" * 100_000 + "}]",
        refused(FRAME),
    ),
    Edge(
        "larger than allowed",
        '[2,"t1","DataTransfer",{"vendorId":"a","data":"' + "x" * MAX_SIZE + '"}]',
        refused(FRAME),
        too_big=True,
    ),
    # JSON, but no frame.
    Edge("an object", '{"2":"t1"}', refused(FRAME, "-1")),
    Edge("a text", '"t1"', refused(FRAME, "-1")),
    Edge("a number", "2", refused(FRAME, "-1")),
    Edge("null", "null", refused(FRAME, "-1")),
    Edge("an empty array", "[]", refused(FRAME, "-1")),
    Edge("a frame in an array", '[[2,"t1","PING",{}]]', refused(FRAME, "-1")),
    Edge("the type as text", '["2","t1","PING",{}]', refused(FRAME, "-1")),
    Edge("the type as true", '[true,"t1","PING",{}]', refused(FRAME, "-1")),
    Edge("the type as null", '[null,"t1","PING",{}]', refused(FRAME, "-1")),
    Edge("the type with a fraction", '[2.5,"t1","PING",{}]', refused(FRAME, "-1")),
    # Message types a version does not have.
    Edge("type 0", '[0,"t1","PING",{}]', UNKNOWN_TYPE),
    Edge("type 1", '[1,"t1","PING",{}]', UNKNOWN_TYPE),
    Edge("type 7", '[7,"t1","PING",{}]', UNKNOWN_TYPE),
    Edge("type -1", '[-1,"t1","PING",{}]', UNKNOWN_TYPE),
    Edge("type 99999999999999999999", '[99999999999999999999,"t1"]', UNKNOWN_TYPE),
    Edge("an unknown type and no id", "[7]", _unknown_type("-1")),
    Edge("an unknown type and a number for its id", '[7,8,"PING",{}]', _unknown_type("-1")),
    Edge(
        "type 5",
        '[5,"t1","FormatViolation","",{}]',
        UNKNOWN_TYPE | {"2.1": Reaction("refused")},
    ),
    Edge(
        "type 6", f'[6,"t1","NotifyPeriodicEventStream",{_STREAM}]', UNKNOWN_TYPE | {"2.1": Reaction("send")}
    ),
    # "The receiver SHALL NOT respond to a SEND message" (2.1 part 4, section 4.2.4), whatever is in it.
    Edge("a SEND that lacks members", '[6,"t1","NotifyPeriodicEventStream",{}]', UNKNOWN_TYPE),
    Edge("a SEND of an unknown action", '[6,"t1","Nope",{}]', UNKNOWN_TYPE),
    Edge("a SEND of what is a CALL", '[6,"t1","PING",{}]', UNKNOWN_TYPE),
    Edge("a SEND without payload", '[6,"t1","NotifyPeriodicEventStream"]', UNKNOWN_TYPE),
    Edge(
        "a CALL of what is a SEND",
        f'[2,"t1","NotifyPeriodicEventStream",{_STREAM}]',
        refused(UNKNOWN_ACTION | {"2.1": "NotSupported"}, ntxcp=CALL),
    ),
    # The elements of a CALL.
    Edge("a CALL of one element", "[2]", refused(FRAME, "-1")),
    Edge("a CALL of two elements", '[2,"t1"]', refused(FRAME)),
    Edge("a CALL of three elements", '[2,"t1","PING"]', refused(FRAME)),
    Edge("a CALL of five elements", '[2,"t1","PING",{},{}]', refused(FRAME, ntxcp=CALL)),
    Edge("a number for the id", '[2,1,"PING",{}]', refused(FRAME, "-1")),
    Edge("null for the id", '[2,null,"PING",{}]', refused(FRAME, "-1")),
    Edge("an object for the id", '[2,{},"PING",{}]', refused(FRAME, "-1")),
    Edge("an empty id", '[2,"","PING",{}]', refused(FRAME, "", ntxcp=CALL)),
    Edge("an id of 36 characters", f'[2,"{_ID36}","PING",{{}}]', same("call")),
    # "unique identifier too long" is a case for a CALLERROR (1.6-J section 4.2.3), with the very same id.
    Edge("an id of 37 characters", f'[2,"{_ID37}","PING",{{}}]', refused(FRAME, _ID37, ntxcp=CALL)),
    Edge("an id not in ASCII", '[2,"\u20acé\U0001f50c","PING",{}]', same("call")),
    Edge("an id with escapes", '[2,"\\u20ac\\n\\"\\\\","PING",{}]', same("call")),
    Edge("the id -1", '[2,"-1","PING",{}]', same("call")),
    Edge("white space everywhere", ' \n[ 2 ,\t"t1" , "PING" , { } ]\r\n', same("call")),
    Edge("a number for the action", '[2,"t1",5,{}]', refused(FRAME)),
    Edge("null for the action", '[2,"t1",null,{}]', refused(FRAME)),
    Edge("an empty action", '[2,"t1","",{}]', refused(UNKNOWN_ACTION, ntxcp=CALL)),
    Edge("an unknown action", '[2,"t1","Nope",{}]', refused(UNKNOWN_ACTION, ntxcp=CALL)),
    Edge(
        "an action in lower case",
        '[2,"t1","datatransfer",{"vendorId":"a"}]',
        refused(UNKNOWN_ACTION, ntxcp=CALL),
    ),
    Edge("an action named Request", '[2,"t1","PINGRequest",{}]', refused(UNKNOWN_ACTION, ntxcp=CALL)),
    Edge(
        "an action of WAMP", '[2,"t1","http://example.org/Heartbeat",{}]', refused(UNKNOWN_ACTION, ntxcp=CALL)
    ),
    # (ntxcp: not all of its actions are known, so the application sees what it is. It decides.)
    # The payload. null: "If there is no payload JSON allows for two different notations: null or an empty
    # object" (1.6-J section 4.2.1; part 4, section 4.1.5).
    Edge("null for an empty payload", '[2,"t1","PING",null]', same("call")),
    Edge("null for a payload with members", '[2,"t1","DataTransfer",null]', refused(OCCURRENCE)),
    Edge("an array for the payload", '[2,"t1","PING",[]]', refused(FORM)),
    Edge("a text for the payload", '[2,"t1","PING","{}"]', refused(FORM)),
    Edge("a number for the payload", '[2,"t1","PING",0]', refused(FORM)),
    Edge("a required member missing", '[2,"t1","DataTransfer",{}]', refused(OCCURRENCE)),
    Edge("a number for a text", '[2,"t1","DataTransfer",{"vendorId":12}]', refused(TYPE)),
    Edge("a null for a text that must be", '[2,"t1","DataTransfer",{"vendorId":null}]', refused(TYPE)),
    Edge(
        "a text too long",
        '[2,"t1","DataTransfer",{"vendorId":"a","messageId":"%s"}]' % ("x" * 51),
        refused(PROPERTY, ntxcp=CALL),
    ),
    Edge(
        "a word that is not in the list",
        '[2,"t1","ENUM",{"MEMBER":"Lukewarm"}]',
        refused(PROPERTY, ntxcp=CALL),
    ),
    Edge("a member nobody knows", '[2,"t1","PING",{"fanSpeed":3}]', refused(FORM, ntxcp=CALL)),
    Edge("a member in the wrong case", '[2,"t1","DataTransfer",{"VendorId":"a"}]', refused(OCCURRENCE)),
    Edge("a member twice", '[2,"t1","DataTransfer",{"vendorId":"a","vendorId":"b"}]', same("call")),
    Edge("an escape in a member", '[2,"t1","DataTransfer",{"vendor\\u0049d":"a"}]', same("call")),
    # Answers nobody waits for: nothing goes back, in any version.
    Edge("an answer to nothing", '[3,"x",{"status":"Accepted"}]', same("unexpected")),
    Edge("an error to nothing", '[4,"x","InternalError","",{}]', same("unexpected")),
    Edge("an error with the id -1", '[4,"-1","FormationViolation","",{}]', same("unexpected")),
    Edge("an answer without id", "[3]", same("nothing")),
    Edge("an answer without payload", '[3,"x"]', same("nothing")),
    Edge("an answer with a number for its id", "[3,5,{}]", same("nothing")),
    Edge("an answer cut off", '[3,"x",{"status":', same("nothing")),
    Edge("an error without code", '[4,"x"]', same("nothing")),
    Edge("an error with a number for its id", '[4,5,"InternalError","",{}]', same("nothing")),
    # Answers to the outstanding call.
    Edge("the answer", '[3,"OURS",{"status":"Accepted"}]', same("result"), "asked"),
    Edge(
        "the answer with a word that is not in the list",
        '[3,"OURS",{"status":"Perhaps"}]',
        invalid(PROPERTY, ntxcp=Reaction("result")),
        "asked",
    ),
    Edge("the answer without what must be", '[3,"OURS",{}]', invalid(OCCURRENCE), "asked"),
    Edge("the answer with null", '[3,"OURS",null]', invalid(OCCURRENCE), "asked"),
    Edge("the answer with an array", '[3,"OURS",[]]', invalid(FORM), "asked"),
    Edge("the answer with a number for a text", '[3,"OURS",{"status":1}]', invalid(TYPE), "asked"),
    Edge(
        "the answer with a member nobody knows",
        '[3,"OURS",{"status":"Accepted","fanSpeed":3}]',
        invalid(FORM, ntxcp=Reaction("result")),
        "asked",
    ),
    Edge("the answer without payload", '[3,"OURS"]', invalid(FRAME), "asked"),
    Edge(
        "the answer with an element too many",
        '[3,"OURS",{"status":"Accepted"},{}]',
        invalid(FRAME, ntxcp=Reaction("result")),
        "asked",
    ),
    Edge("the answer cut off", '[3,"OURS",{"status":"Acc', invalid(FRAME), "asked"),
    Edge(
        "the answer larger than allowed",
        '[3,"OURS",{"status":"Accepted","data":"' + "x" * MAX_SIZE + '"}]',
        invalid(FRAME),
        "asked",
        too_big=True,
    ),
    Edge("another answer", '[3,"x",{"status":"Accepted"}]', same("unexpected"), "asked"),
    Edge("the error", '[4,"OURS","NotSupported","no",{"a":1}]', same("error", "NotSupported"), "asked"),
    Edge("an error code nobody knows", '[4,"OURS","Whatever","",{}]', same("error", "Whatever"), "asked"),
    Edge(
        "the code as 1.6 spells it",
        '[4,"OURS","FormationViolation","",{}]',
        same("error", "FormationViolation"),
        "asked",
    ),
    Edge(
        "the code as 2.0.1 spells it",
        '[4,"OURS","FormatViolation","",{}]',
        same("error", "FormatViolation"),
        "asked",
    ),
    # Whatever an error looks like in detail: the peer refused.
    Edge("an error of three elements", '[4,"OURS","InternalError"]', same("error", "InternalError"), "asked"),
    Edge(
        "an error of four elements", '[4,"OURS","InternalError",""]', same("error", "InternalError"), "asked"
    ),
    Edge(
        "an error of six elements",
        '[4,"OURS","InternalError","",{},1]',
        same("error", "InternalError"),
        "asked",
    ),
    Edge(
        "null for the details", '[4,"OURS","InternalError","",null]', same("error", "InternalError"), "asked"
    ),
    Edge(
        "a text for the details", '[4,"OURS","InternalError","","x"]', same("error", "InternalError"), "asked"
    ),
    Edge(
        "a description too long",
        '[4,"OURS","InternalError","%s",{}]' % ("x" * 300),
        same("error", "InternalError"),
        "asked",
    ),
    Edge("an error without a code", '[4,"OURS"]', same("invalid"), "asked"),
    Edge("a number for the code", '[4,"OURS",500,"",{}]', same("invalid"), "asked"),
    Edge("a number for the description", '[4,"OURS","InternalError",5,{}]', same("invalid"), "asked"),
    Edge("the error cut off", '[4,"OURS","InternalError","', same("invalid"), "asked"),
    Edge("an error with the id -1 while asked", '[4,"-1","GenericError","",{}]', same("unexpected"), "asked"),
    Edge(
        "a CALLRESULTERROR with the id of a call",
        '[5,"OURS","FormatViolation","",{}]',
        _unknown_type("OURS") | {"2.1": Reaction("refused")},
        "asked",
    ),
    Edge("a CALL with the id of ours", '[2,"OURS","PING",{}]', same("call"), "asked"),
    Edge("a CALL that crosses ours", '[2,"t1","PING",{}]', same("call"), "asked"),
    Edge("a bad CALL that crosses ours", '[2,"t1","Nope",{}]', refused(UNKNOWN_ACTION, ntxcp=CALL), "asked"),
    # Too late.
    Edge("the answer too late", '[3,"OURS",{"status":"Accepted"}]', same("unexpected"), "late"),
    Edge("the error too late", '[4,"OURS","InternalError","",{}]', same("unexpected"), "late"),
    Edge("an invalid answer too late", '[3,"OURS",{}]', same("unexpected"), "late"),
    # While a CALL is being served: "an existing call with the same unique identifier is being handled
    # already" is a case for a CALLERROR (1.6-J and part 4, section 4.2.3); but "the message ID for a
    # retried message MAY be identical" (2.1 part 4, section 4.1.4), and then one answer does.
    Edge("another CALL", '[2,"t1","PING",{}]', same("later"), "serving"),
    Edge("the same CALL again", '[2,"t0","DataTransfer",{"vendorId":"acme"}]', same("declined"), "serving"),
    Edge(
        "another CALL with the same id",
        '[2,"t0","PING",{}]',
        {version: Reaction("declined", (4, "t0", FRAME[version])) for version in VERSIONS},
        "serving",
    ),
    Edge("a bad CALL", '[2,"t1","Nope",{}]', refused(UNKNOWN_ACTION, ntxcp=Reaction("later")), "serving"),
]


def cases(**wanted: Any) -> list[tuple[Edge, str, str]]:
    """Every frame with every version and role; ``wanted`` are attributes of :class:`Edge`."""
    return [
        (edge, version, role)
        for edge in EDGES
        if all(getattr(edge, name) == value for name, value in wanted.items())
        for version in VERSIONS
        for role in ROLES
    ]
