# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, auto_pickle=False
"""Messages to bodies: the loop that runs a plan's operations over attributes.

A value of its field's plain type is written here. Any other value, and any
that does not fit, goes to ``evproto.wire.values``, which writes it or says
what is wrong with it; where fields do not agree with each other, the whole
message goes to a pure engine.

Values are borrowed from the message as long as only C code runs; before
anything of Python is called they are counted.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.datetime cimport (
    PyDateTime_CheckExact, PyDateTime_DATE_GET_HOUR, PyDateTime_DATE_GET_MICROSECOND,
    PyDateTime_DATE_GET_MINUTE, PyDateTime_DATE_GET_SECOND, PyDateTime_GET_DAY,
    PyDateTime_GET_MONTH, PyDateTime_GET_YEAR, datetime_tzinfo, import_datetime
)
from cpython.list cimport PyList_AsTuple, PyList_CheckExact
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.math cimport fabs, rint
from libc.stdint cimport int64_t, int8_t, uint8_t, uint64_t
from libc.string cimport memcpy, memset

import datetime as dt

from evproto._speedups._plan cimport (
    BCD, BITS, BY_FIELD, BYTES, CODE, COUNTED_TEXT, FLOAT, GROUP, INT, ODD, TEXT, TIME, TO_THE_END,
    Op, Plan, Shape
)

import_datetime()

cdef extern from "Python.h":
    PyObject *type_of "(PyObject *)Py_TYPE"(PyObject *)
    PyObject *true "Py_True"
    PyObject *false "Py_False"
    bint is_int "PyLong_CheckExact"(PyObject *)
    bint is_float "PyFloat_CheckExact"(PyObject *)
    bint is_str "PyUnicode_CheckExact"(PyObject *)
    bint is_bytes "PyBytes_CheckExact"(PyObject *)
    bint is_ascii "PyUnicode_IS_ASCII"(PyObject *)
    int kind_of_str "PyUnicode_KIND"(PyObject *)
    int one_byte "PyUnicode_1BYTE_KIND"
    Py_ssize_t str_size "PyUnicode_GET_LENGTH"(PyObject *)
    uint8_t *str_data "PyUnicode_1BYTE_DATA"(PyObject *)
    Py_ssize_t bytes_size "PyBytes_GET_SIZE"(PyObject *)
    char *bytes_data "PyBytes_AS_STRING"(PyObject *)
    double float_value "PyFloat_AS_DOUBLE"(PyObject *)
    # Of an exact int or an enumeration's member it cannot fail.
    long long int_value "PyLong_AsLongLongAndOverflow"(PyObject *, int *) noexcept

cdef enum:
    FLAGS = 1 << 13

# As in evproto.wire.values, whose decisions must be the very same.
cdef double STEP_NOISE = 1e-6
cdef double ROUNDING = 2.0 ** -50
cdef double EXACT = 2.0 ** 53

cdef int8_t nibbles[256]  # value of a hex digit, -1 of anything else


cdef int fill_tables() except -1:
    cdef int index
    memset(nibbles, 0xFF, sizeof(nibbles))
    for character in "0123456789abcdefABCDEF":
        index = ord(character)
        nibbles[index] = <int8_t>int(character, 16)
    return 0


fill_tables()

cdef object EncodeError, FlaggedZone, RawTime, encode_value = None
cdef object Timezone = dt.timezone


cdef int load_vocabulary() except -1:
    # On first use: these modules are built upon this package.
    global EncodeError, FlaggedZone, RawTime, encode_value
    if encode_value is None:
        from evproto import errors, messages
        from evproto.wire import values

        EncodeError = errors.EncodeError
        FlaggedZone, RawTime = messages.FlaggedZone, messages.RawTime
        encode_value = values.encode_value
    return 0


cdef Zone judge_zone(object tz):
    """How far ``tz`` can be trusted to have an offset at every moment."""
    if type(tz) is Timezone:
        return FIXED
    import zoneinfo

    return REGION if type(tz) is zoneinfo.ZoneInfo else FOREIGN


cdef inline bint raw_number(Op *op, PyObject *value, uint64_t *raw) noexcept:
    """The integer on the wire; false if ``evproto.wire.values`` has to see to it."""
    cdef int overflow = 0
    cdef long long given
    cdef int64_t total
    cdef double steps, nearest, noise
    if is_float(value):
        # The operations of values._steps, in their order.
        steps = (float_value(value) * op.by - op.minus) / op.over
        nearest = rint(steps)
        noise = fabs(steps) * ROUNDING
        if noise < STEP_NOISE:
            noise = STEP_NOISE
        # Written so that NaN and infinity fail.
        if not (fabs(steps - nearest) <= noise and 0 <= nearest <= EXACT):
            return False
        raw[0] = <uint64_t>nearest
        return raw[0] <= op.top
    if not (is_int(value) or op.kind == CODE and type_of(value) == op.enum or value == true or value == false):
        return False
    given = int_value(value, &overflow)
    if overflow or not -op.most <= given <= op.most:
        return False
    total = given * op.divisor - op.offset
    if total < 0:
        return False
    raw[0] = <uint64_t>total
    if op.scale != 1:
        raw[0] = <uint64_t>(total // op.scale)
        if <int64_t>raw[0] * op.scale != total:
            return False
    return raw[0] <= op.top


cdef inline void store(uint8_t *at, uint64_t value, int size) noexcept:
    cdef int index
    for index in range(size):
        at[index] = <uint8_t>(value >> 8 * index)


cdef inline void turn(uint8_t *at, int size) noexcept:
    cdef int low = 0, high = size - 1
    cdef uint8_t byte
    while low < high:
        byte = at[low]
        at[low] = at[high]
        at[high] = byte
        low += 1
        high -= 1


cdef inline bint write_bcd(Op *op, PyObject *value, uint8_t *at) noexcept:
    cdef const uint8_t *digits
    cdef Py_ssize_t missing, place
    cdef int high, low, seen = 0
    if not (is_str(value) and is_ascii(value)):
        return False
    missing = 2 * op.size - str_size(value)
    if missing and (missing < 0 or not op.pad_left):
        return False
    memset(at, 0, missing // 2)
    at += missing // 2
    digits = str_data(value)
    if missing & 1:
        low = nibbles[digits[0]]
        seen |= low
        at[0] = <uint8_t>low
        at += 1
        digits += 1
    for place in range((2 * op.size - missing) // 2):
        high = nibbles[digits[2 * place]]
        low = nibbles[digits[2 * place + 1]]
        seen |= high | low
        at[place] = <uint8_t>(high << 4 | low)
    return seen >= 0


cdef inline bint write_text(Op *op, PyObject *value, uint8_t *at) noexcept:
    cdef Py_ssize_t size
    # Strings are stored as latin-1 wherever they can be.
    if not (is_str(value) and kind_of_str(value) == one_byte):
        return False
    size = str_size(value)
    if size > op.size:
        return False
    memcpy(at, str_data(value), size)
    memset(at + size, 0, op.size - size)
    return True


cdef inline bint write_bytes(Op *op, PyObject *value, uint8_t *at) noexcept:
    cdef Py_ssize_t missing
    if not is_bytes(value):
        return False
    missing = op.size - bytes_size(value)
    if missing and (missing < 0 or not op.pad_left):
        return False
    memset(at, 0, missing)
    memcpy(at + missing, bytes_data(value), op.size - missing)
    return True


cdef inline PyObject *slot(Op *op, object source) noexcept:
    return (<PyObject **>(<char *><PyObject *>source + op.slot))[0]


@cython.final
cdef class Writer:
    def __cinit__(self, tz):
        load_vocabulary()
        self.tz = tz
        self.zone = judge_zone(tz)

    cdef int message(self, Plan plan, object message, Sheet *sheet) except -1:
        sheet.frame_type = plan.frame_type
        sheet.counted = -1
        return self.shape(plan.shape, message, sheet, NULL, 0)

    cdef int shape(self, Shape shape, object source, Sheet *sheet, Op *group, Py_ssize_t index) except -1:
        """``group`` and ``index`` say which entry ``source`` is, for the path in errors."""
        cdef Op *op = shape.ops
        cdef Op *end = op + shape.count
        cdef PyObject *value
        cdef uint64_t raw
        cdef int answer
        cdef bint written
        held = None
        while op < end:
            if shape.readable:
                value = slot(op, source)
                if value is NULL:
                    return ASK_PURE
            else:
                try:
                    held = getattr(source, <object>op.name)
                except Exception:
                    return ASK_PURE
                value = <PyObject *>held
            if op.kind == GROUP or op.kind == COUNTED_TEXT:
                if op.kind == GROUP:
                    answer = self.group(op, <object>value, sheet)
                else:
                    answer = self.counted_text(value, sheet)
                if answer != DONE:
                    return answer
                op += 1
                continue
            if sheet.end - sheet.at < op.size:
                return ASK_PURE
            if op.kind == INT or op.kind == FLOAT or op.kind == CODE:
                written = raw_number(op, value, &raw)
                if written:
                    store(sheet.at, raw, op.size)
                    if op.counts:
                        if not is_int(value):
                            return ASK_PURE
                        sheet.counted = <long long>raw
            elif op.kind == BCD:
                written = write_bcd(op, value, sheet.at)
            elif op.kind == TEXT:
                written = write_text(op, value, sheet.at)
            elif op.kind == BYTES:
                written = write_bytes(op, value, sheet.at)
            elif op.kind == TIME:
                written = self.time(value, sheet.at)
            elif op.kind == BITS:
                written = self.word(op, <object>value, sheet.at)
            else:
                written = False
            if written:
                if op.reversed:
                    turn(sheet.at, op.size)
                sheet.at += op.size
            else:
                if op.counts:
                    return ASK_PURE
                answer = self.odd(op, <object>value, sheet, group, index)
                if answer != DONE:
                    return answer
            op += 1
        return DONE

    cdef bint time(self, PyObject *value, uint8_t *at):
        cdef int overflow = 0, millis, year, flags = 0
        if not PyDateTime_CheckExact(<object>value):
            if type_of(value) != <PyObject *>RawTime:
                return False
            raw = (<object>value).raw
            if not PyBytes_CheckExact(raw) or PyBytes_GET_SIZE(raw) != 7:
                return False
            memcpy(at, PyBytes_AS_STRING(raw), 7)
            return True
        if self.zone == FOREIGN:
            return False
        moment = <object>value
        zone = datetime_tzinfo(moment)
        if type(zone) is FlaggedZone:
            try:
                base, carried = zone.base, zone.flags
            except AttributeError:  # made without __init__
                return False
            zone = base
            if type(carried) is not int or not 0 <= carried < FLAGS:
                return False
            flags = carried
        if zone is not self.tz and not (
            self.zone == FIXED and type(zone) is Timezone and zone == self.tz
        ):
            return False
        year = PyDateTime_GET_YEAR(moment) - 2000
        if not 0 <= year <= 127:
            return False
        millis = (
            PyDateTime_DATE_GET_SECOND(moment) * 1000 + PyDateTime_DATE_GET_MICROSECOND(moment) // 1000
        )
        at[0] = <uint8_t>(millis & 0xFF)
        at[1] = <uint8_t>(millis >> 8)
        at[2] = <uint8_t>(PyDateTime_DATE_GET_MINUTE(moment) | (flags & 1) << 7 | (flags >> 1 & 1) << 6)
        at[3] = <uint8_t>(PyDateTime_DATE_GET_HOUR(moment) | (flags >> 2 & 1) << 7 | (flags >> 3 & 3) << 5)
        at[4] = <uint8_t>(PyDateTime_GET_DAY(moment) | (flags >> 5 & 7) << 5)
        at[5] = <uint8_t>(PyDateTime_GET_MONTH(moment) | (flags >> 8 & 15) << 4)
        at[6] = <uint8_t>(year | (flags >> 12 & 1) << 7)
        return True

    cdef bint word(self, Op *op, object value, uint8_t *at):
        cdef Shape shape = <Shape>op.shape
        cdef Op *part = shape.ops
        cdef Op *end = part + shape.count
        cdef PyObject *given
        cdef uint64_t raw, word = 0
        if type(value) is not shape.type or not shape.readable:
            return False
        while part < end:
            given = slot(part, value)
            if given is NULL or not raw_number(part, given, &raw):
                return False
            word |= raw << part.bit
            part += 1
        store(at, word, op.size)
        return True

    cdef int group(self, Op *op, object value, Sheet *sheet) except -1:
        cdef Shape shape = <Shape>op.shape
        cdef tuple entries
        cdef Py_ssize_t index
        cdef int answer
        if PyTuple_CheckExact(value):
            entries = <tuple>value
        elif PyList_CheckExact(value):
            # What an entry's odd value does when asked may change the list.
            entries = PyList_AsTuple(value)
        else:
            return ASK_PURE
        if op.count != TO_THE_END:
            if PyTuple_GET_SIZE(entries) != (sheet.counted if op.count == BY_FIELD else op.count):
                return ASK_PURE
        for index in range(PyTuple_GET_SIZE(entries)):
            entry = <object>PyTuple_GET_ITEM(entries, index)
            if type(entry) is not shape.type:
                return ASK_PURE
            answer = self.shape(shape, entry, sheet, op, index)
            if answer != DONE:
                return answer
        return DONE

    cdef int counted_text(self, PyObject *value, Sheet *sheet) except -1:
        cdef Py_ssize_t size
        if not (is_str(value) and kind_of_str(value) == one_byte):
            return ASK_PURE
        size = str_size(value)
        if size != sheet.counted or sheet.end - sheet.at < size:
            return ASK_PURE
        memcpy(sheet.at, str_data(value), size)
        sheet.at += size
        return DONE

    cdef int odd(self, Op *op, object value, Sheet *sheet, Op *group, Py_ssize_t index) except -1:
        path = <object>op.name if group is NULL else f"{<object>group.name}[{index}].{<object>op.name}"
        try:
            data = encode_value(<object>op.field, value, path, self.tz)
        except EncodeError as error:
            error.frame_type = sheet.frame_type
            raise
        # An odd object may have given anything: a subclass that lies about its length, say.
        if not PyBytes_CheckExact(data) or PyBytes_GET_SIZE(data) != op.size:
            return ASK_PURE
        memcpy(sheet.at, PyBytes_AS_STRING(data), op.size)
        sheet.at += op.size
        return DONE
