# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, auto_pickle=False
"""The compiled engine: envelope and dispatch.

The twin of ``evproto.wire.pure``. Here stands only the straight case. Anything
out of the common (a body of the wrong length, an encrypted frame, an unknown
type, counts that do not agree) goes to a pure engine, which either knows what
to do or raises the error. No error is composed in compiled code.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t
from libc.string cimport memcpy

from evproto._speedups._checksum cimport crc16
from evproto._speedups._plan cimport TO_THE_END, Plan, find_slots, plan_of
from evproto._speedups._reader cimport Reader, load
from evproto._speedups._writer cimport DONE, Sheet, Writer

from evproto._speedups._checksum import crc16_modbus
from evproto._speedups._splitter import Splitter

__all__ = ["Engine", "Splitter", "crc16_modbus"]

cdef extern from *:
    """
    static inline PyObject *evproto_allocate(PyObject *type)
    {
        return ((PyTypeObject *)type)->tp_alloc((PyTypeObject *)type, 0);
    }
    """
    object evproto_allocate(object)

cdef extern from "Python.h":
    bint is_int "PyLong_CheckExact"(object)
    long long int_value "PyLong_AsLongLongAndOverflow"(object, int *) noexcept

cdef enum:
    START = 0x68
    HEADER_SIZE = 6
    OVERHEAD = 4
    LEAST_FRAME = 8
    LONGEST_BODY = 251
    LONGEST_FRAME = 259

cdef enum Policy:
    STRICT
    EITHER
    IGNORE

cdef tuple FRAME_NAMES = ("message", "sequence", "encryption", "trailing", "checksum")
cdef Py_ssize_t frame_slots[5]
cdef bint frame_is_direct = False

cdef object BEIJING, Frame = None, Piece, as_bytes


cdef int load_vocabulary() except -1:
    # On first use: these modules are built upon this package.
    global BEIJING, Frame, Piece, as_bytes, frame_is_direct
    cdef int index
    if Frame is None:
        from evproto import messages
        from evproto.wire import frame, framing

        BEIJING = messages.BEIJING
        Piece, as_bytes = framing.Piece, framing.as_bytes
        slots = find_slots(frame.Frame, FRAME_NAMES)
        if slots is not None and getattr(frame.Frame, "__post_init__", None) is None:
            for index in range(5):
                frame_slots[index] = slots[index]
            frame_is_direct = True
        Frame = frame.Frame
    return 0


cdef inline void fill(object target, int index, object value) noexcept:
    Py_INCREF(value)
    (<PyObject **>(<char *><PyObject *>target + frame_slots[index]))[0] = <PyObject *>value


cdef object make_frame(object message, object sequence, object trailing, object checksum):
    if not frame_is_direct:
        return Frame(
            message=message, sequence=sequence, encryption=0, trailing=trailing, checksum=checksum
        )
    frame = evproto_allocate(Frame)
    fill(frame, 0, message)
    fill(frame, 1, sequence)
    fill(frame, 2, 0)
    fill(frame, 3, trailing)
    fill(frame, 4, checksum)
    return frame


cdef class Engine:
    """Bytes to frame and back, by table."""

    cdef object options
    cdef object pure_engine
    cdef Policy policy
    cdef bint keep_trailing
    cdef bint has_cipher
    cdef list by_type  # the plans of each frame type; None where not asked for yet
    cdef dict by_class
    cdef Reader reader
    cdef Writer writer
    cdef object __weakref__

    def __init__(self, options):
        load_vocabulary()
        self.options = options
        self.pure_engine = None
        self.policy = (
            IGNORE if options.checksum == "ignore" else EITHER if options.checksum == "either" else STRICT
        )
        self.keep_trailing = options.keep_trailing
        self.has_cipher = options.cipher is not None
        self.by_type = [None] * 256
        self.by_class = None
        tz = options.tz or BEIJING
        self.reader = Reader(tz)
        self.writer = Writer(tz)

    def decode(self, data, /):
        """Decode bytes that are one whole frame, checksum and all."""
        cdef const uint8_t *at
        cdef Py_ssize_t size
        cdef uint16_t right
        if type(data) is not bytes:
            data = as_bytes(data)
            if type(data) is not bytes:
                return self.pure().decode(data)
        at = <const uint8_t *>PyBytes_AS_STRING(data)
        size = PyBytes_GET_SIZE(data)
        if size < LEAST_FRAME or at[0] != START or at[1] + OVERHEAD != size:
            return self.pure().decode(data)
        right = crc16(at + 2, size - 4, 0xFFFF)
        if at[size - 2] == (right & 0xFF) and at[size - 1] == right >> 8:
            return self.open(data, "ok", None)
        if self.policy != STRICT and at[size - 1] == (right & 0xFF) and at[size - 2] == right >> 8:
            return self.open(data, "swapped", None)
        if self.policy == IGNORE:
            return self.open(data, "wrong", None)
        return self.pure().decode(data)

    def unpack(self, piece, /):
        """Decode a frame that a splitter has cut out and judged."""
        data = piece.data
        if type(data) is not bytes or not LEAST_FRAME <= PyBytes_GET_SIZE(data) <= LONGEST_FRAME:
            return self.pure().unpack(piece)
        return self.open(data, piece.checksum, piece)

    def encode(self, message, sequence=0, /):
        """Encode a frame, or a message under a sequence number."""
        cdef uint8_t frame[LONGEST_FRAME]
        cdef Sheet sheet
        cdef Plan plan
        cdef Py_ssize_t size
        cdef long long number
        cdef int overflow = 0
        cdef uint16_t checksum
        asked = message
        given = sequence
        trailing = b""
        if type(message) is Frame:
            sequence, trailing = message.sequence, message.trailing
            encryption = message.encryption
            message = message.message
            if type(trailing) is not bytes or not is_int(encryption) or encryption != 0:
                return self.pure().encode(asked, given)
        elif self.has_cipher:
            return self.pure().encode(asked, given)
        if not is_int(sequence):
            return self.pure().encode(asked, given)
        number = int_value(sequence, &overflow)
        if self.by_class is None:
            self.by_class = self.plan_classes()
        plan = self.by_class.get(type(message))
        if overflow or not 0 <= number <= 0xFFFF or plan is None or not plan.plain:
            return self.pure().encode(asked, given)
        sheet.at = frame + HEADER_SIZE
        sheet.end = frame + HEADER_SIZE + LONGEST_BODY
        if self.writer.message(plan, message, &sheet) != DONE:
            return self.pure().encode(asked, given)
        size = PyBytes_GET_SIZE(trailing)
        if size:
            if size > sheet.end - sheet.at:
                return self.pure().encode(asked, given)
            memcpy(sheet.at, PyBytes_AS_STRING(trailing), size)
            sheet.at += size
        size = sheet.at - frame
        frame[0] = START
        frame[1] = <uint8_t>(size - 2)
        frame[2] = <uint8_t>(number & 0xFF)
        frame[3] = <uint8_t>(number >> 8)
        frame[4] = 0
        frame[5] = <uint8_t>plan.frame_type
        checksum = crc16(frame + 2, size - 2, 0xFFFF)
        frame[size] = checksum & 0xFF
        frame[size + 1] = checksum >> 8
        return PyBytes_FromStringAndSize(<const char *>frame, size + 2)

    cdef object open(self, bytes data, object checksum, object piece):
        """The frame of bytes whose envelope is in order."""
        cdef const uint8_t *at = <const uint8_t *>PyBytes_AS_STRING(data)
        cdef Py_ssize_t length = PyBytes_GET_SIZE(data) - LEAST_FRAME
        cdef Py_ssize_t used, entries = 0
        cdef Plan plan
        if at[4] == 0:
            plan = self.choose(at[5], length)
            if plan is not None and plan.plain and plan.base_size <= length:
                used = plan.base_size
                if plan.variable >= 0:
                    entries = (length - used) // plan.stride
                    if plan.shape.ops[plan.variable].count != TO_THE_END:
                        used += load(at + HEADER_SIZE + plan.count_at, plan.count_size) * plan.stride
                        entries = (used - plan.base_size) // plan.stride
                    else:
                        used += entries * plan.stride
                if used == length or used < length and self.keep_trailing:
                    return make_frame(
                        self.reader.shape(plan.shape, at + HEADER_SIZE, entries),
                        at[2] | at[3] << 8,
                        PyBytes_FromStringAndSize(<const char *>at + HEADER_SIZE + used, length - used),
                        checksum,
                    )
        return self.pure().unpack(Piece(0, data, checksum) if piece is None else piece)

    cdef Plan choose(self, int frame_type, Py_ssize_t length):
        """As ``evproto.wire.body.choose_layout``; None for an unknown frame type."""
        cdef Plan plan
        cdef Py_ssize_t index
        cdef object plans = self.by_type[frame_type]
        if plans is None:
            layouts = self.options.layouts.get(frame_type)
            plans = () if layouts is None else tuple([plan_of(layout) for layout in layouts])
            self.by_type[frame_type] = plans
        for index in range(PyTuple_GET_SIZE(plans)):
            plan = <Plan>PyTuple_GET_ITEM(plans, index)
            if plan.fits(length):
                return plan
        return <Plan>PyTuple_GET_ITEM(plans, 0) if PyTuple_GET_SIZE(plans) else None

    cdef dict plan_classes(self):
        return {
            layout.message: plan_of(layout)
            for layouts in self.options.layouts.values()
            for layout in layouts
        }

    cdef object pure(self):
        if self.pure_engine is None:
            from evproto.wire.pure import PureEngine

            self.pure_engine = PureEngine(self.options)
        return self.pure_engine
