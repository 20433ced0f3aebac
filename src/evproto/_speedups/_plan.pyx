# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, auto_pickle=False
"""Layouts flattened to arrays of operations, which the engine's loops run.

A plan has a fast form only of what has one meaning. A field that is out of
the common is an ODD operation, done by ``evproto.wire.values``; a layout whose
parts hang together in an uncommon way is not ``plain``, and left to the pure
engine altogether. So nothing that a spec can say is decided twice.
"""

cimport cython
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF, Py_XDECREF

import sys

import msgspec

cdef extern from *:
    """
    #include "structmember.h"

    /* Offset of the object that a slot descriptor stands for; -1 if it is
       another kind of member. */
    static Py_ssize_t evproto_slot(PyObject *descriptor, PyTypeObject *type)
    {
        PyMemberDef *member;
        if (!Py_IS_TYPE(descriptor, &PyMemberDescr_Type)
                || !PyType_IsSubtype(type, ((PyDescrObject *)descriptor)->d_type))
            return -1;
        member = ((PyMemberDescrObject *)descriptor)->d_member;
        if (member->type != T_OBJECT_EX || member->flags != 0 || member->offset <= 0
                || member->offset + (Py_ssize_t)sizeof(PyObject *) > type->tp_basicsize)
            return -1;
        return member->offset;
    }

    static int evproto_is_simple(PyTypeObject *type)
    {
        return !PyType_IS_GC(type) && type->tp_itemsize == 0
            && type->tp_alloc == PyType_GenericAlloc && type->tp_weaklistoffset == 0
            && type->tp_dictoffset == 0 && type->tp_finalize == NULL;
    }

    static PyObject *evproto_allocate(PyTypeObject *type)
    {
        return type->tp_alloc(type, 0);
    }
    """
    Py_ssize_t evproto_slot(object descriptor, PyTypeObject *type)
    bint evproto_is_simple(PyTypeObject *type)
    object evproto_allocate(PyTypeObject *type)

cdef enum:
    LONGEST_BODY = 251
    MOST_OPS = 256

cdef int64_t EXACT = 1 << 53
"""Up to here a double holds every integer."""
cdef int64_t WIDE = 1 << 61
"""What a 64-bit integer holds, with room for one more addition."""

cdef object UINT_KIND, BCD_KIND, ASCII_KIND, BYTES_KIND, TIME_KIND, BITS_KIND, GROUP_KIND
cdef object OpenIntEnum, CountedMessage, REMAINING, width = None


cdef int load_vocabulary() except -1:
    # On first use: these modules are built upon this package.
    global UINT_KIND, BCD_KIND, ASCII_KIND, BYTES_KIND, TIME_KIND, BITS_KIND, GROUP_KIND
    global OpenIntEnum, CountedMessage, REMAINING, width
    if width is None:
        from evproto import messages
        from evproto.wire import table

        UINT_KIND, BCD_KIND, ASCII_KIND = table.Kind.UINT, table.Kind.BCD, table.Kind.ASCII
        BYTES_KIND, TIME_KIND, BITS_KIND = table.Kind.BYTES, table.Kind.TIME, table.Kind.BITS
        GROUP_KIND, REMAINING = table.Kind.GROUP, table.REMAINING
        OpenIntEnum, CountedMessage = messages.OpenIntEnum, messages.CountedMessage
        width = table.width
    return 0


cdef class Members:
    def __cinit__(self, enum):
        self.enum = enum
        self.high = {}

    def __dealloc__(self):
        cdef int code
        for code in range(256):
            Py_XDECREF(self.low[code])

    cdef PyObject *of(self, uint64_t code) except NULL:
        """The member, owned by the caller."""
        cdef PyObject *found
        if code < 256:
            found = self.low[code]
            if found is NULL:
                member = self.enum(code)
                # Making the member ran Python code, which may have come here too.
                found = self.low[code]
                if found is NULL:
                    found = <PyObject *>member
                    Py_INCREF(member)
                    self.low[code] = found
            Py_INCREF(<object>found)
            return found
        member = self.high.get(code)
        if member is None:
            member = self.high[code] = self.enum(code)
        Py_INCREF(member)
        return <PyObject *>member


# Without tp_clear: the operations borrow what the object holds.
@cython.no_gc_clear
cdef class Shape:
    def __dealloc__(self):
        PyMem_Free(self.ops)


@cython.no_gc_clear
cdef class Plan:
    cdef bint fits(self, Py_ssize_t length) noexcept:
        """Whether a body of ``length`` bytes can be this layout and nothing more."""
        cdef Py_ssize_t beyond = length - self.base_size
        if self.stride == 0:
            return beyond == 0
        return beyond >= 0 and beyond % self.stride == 0


class _Uncommon(Exception):
    """A layout, or an entry, that the loops cannot run."""


cdef dict members_by_enum = {}
cdef dict plans = {}
"""By the layout's identity, which lasts: a plan holds its layout."""

cdef enum:
    # Dialects come and go in a process that reloads them; plans are quick to
    # make again.
    MOST_PLANS = 1024


cdef Plan plan_of(object layout):
    """The plan of a layout, shared by all engines."""
    cdef Plan plan = plans.get(id(layout))
    if plan is None:
        load_vocabulary()
        plan = make_plan(layout)
        if len(plans) >= MOST_PLANS:
            plans.clear()
            members_by_enum.clear()
        plans[id(layout)] = plan
    return plan


cdef Plan make_plan(object layout):
    cdef Plan plan = Plan.__new__(Plan)
    plan.layout = layout
    plan.message = layout.message
    plan.base_size = layout.base_size
    plan.stride = layout.stride
    plan.variable = -1
    try:
        flatten(plan, layout)
        plan.plain = True
    except _Uncommon:
        plan.plain = False
    return plan


cdef int flatten(Plan plan, object layout) except -1:
    cdef int index
    cdef Op *op
    cdef Shape shape
    fields = layout.fields
    if type(layout.frame_type) is not int or not 0 <= layout.frame_type <= 0xFF:
        raise _Uncommon("frame type")
    if plan.base_size > LONGEST_BODY:
        raise _Uncommon("length")
    plan.frame_type = layout.frame_type
    plan.shape = shape = make_shape(layout.message, fields, False)
    at = 0
    offsets = {}
    for index, field in enumerate(fields):
        op = &shape.ops[index]
        if isinstance(field.count, str):
            if plan.variable >= 0 or plan.stride <= 0:
                raise _Uncommon("two lengths")
            plan.variable = index
            if field.count == REMAINING:
                if field.kind is not GROUP_KIND or index != len(fields) - 1:
                    raise _Uncommon("open end")
            else:
                if field.count not in offsets:
                    raise _Uncommon("count that comes later")
                counter, plan.count_at = offsets[field.count]
                mark_counter(&shape.ops[counter])
                plan.count_size = shape.ops[counter].size
        offsets[field.name] = index, at
        at += width(field)
    if shape.readable and derives_nothing(layout):
        shape.direct = True
    return 0


cdef int mark_counter(Op *op) except -1:
    """A count field must mean the number it carries, and nothing else."""
    if op.kind != INT or op.scale != 1 or op.offset != 0 or op.reversed or op.size > 4:
        raise _Uncommon("count field")
    op.counts = True
    return 0


cdef bint derives_nothing(object layout):
    """Whether ``__post_init__`` does nothing to values read off the wire.

    A count read off the wire is never negative, so nothing is derived.
    """
    cls = layout.message
    if getattr(cls, "__post_init__", None) is not CountedMessage.__post_init__:
        return False
    counters = {field.count for field in layout.fields if isinstance(field.count, str)}
    return {name for name, _ in cls.__counts__} <= counters


cdef Shape make_shape(object cls, tuple fields, bint parts):
    """The operations for the attributes of ``cls``: fields, or parts of a word."""
    cdef Shape shape = Shape.__new__(Shape)
    cdef int index
    cdef Op *op
    if len(fields) > MOST_OPS:
        raise _Uncommon("number of fields")
    load_vocabulary()
    shape.type = cls
    # kwnames are compared by identity first.
    shape.names = tuple([sys.intern(field.name) for field in fields])
    shape.held = []
    shape.count = len(fields)
    shape.ops = <Op *>PyMem_Calloc(len(fields) + 1, sizeof(Op))
    if shape.ops is NULL:
        raise MemoryError
    slots = find_slots(cls, shape.names)
    shape.readable = slots is not None
    shape.direct = shape.readable and getattr(cls, "__post_init__", None) is None
    for index, field in enumerate(fields):
        op = &shape.ops[index]
        op.name = <PyObject *>shape.names[index]
        op.field = <PyObject *>field
        shape.held.append(field)
        if slots is not None:
            op.slot = slots[index]
        if parts:
            flatten_number(shape, op, field, field.size)
            op.size = field.size
            op.bit = field.bit
        else:
            flatten_field(shape, op, field)
    return shape


cdef int flatten_field(Shape shape, Op *op, object field) except -1:
    kind = field.kind
    if not isinstance(field.size, int) or not 0 <= field.size <= LONGEST_BODY:
        raise _Uncommon("size")
    op.kind = ODD
    op.size = field.size
    op.reversed = field.reversed
    op.pad_left = field.pad_left
    if kind is GROUP_KIND:
        flatten_group(shape, op, field)
    elif isinstance(field.count, str):
        if kind is not ASCII_KIND or field.reversed:
            raise _Uncommon("counted field")
        op.kind = COUNTED_TEXT
        op.count = BY_FIELD
    elif kind is UINT_KIND:
        flatten_number(shape, op, field, 8 * op.size)
    elif kind is BCD_KIND:
        op.kind = BCD
    elif kind is ASCII_KIND:
        op.kind = TEXT
    elif kind is BYTES_KIND:
        op.kind = BYTES
    elif kind is TIME_KIND and field.size == 7:
        op.kind = TIME
    elif kind is BITS_KIND:
        flatten_bits(shape, op, field)
    return 0


cdef int flatten_number(Shape shape, Op *op, object field, object bits) except -1:
    """Leaves the operation ODD where 64-bit arithmetic might not do."""
    cdef Members members
    op.kind = ODD
    scale, offset, divisor = field.scale, field.offset, field.divisor
    if not 0 < bits <= 64:
        return 0
    if not (0 < scale <= EXACT and 0 < divisor <= EXACT and abs(offset) <= EXACT):
        return 0
    top = (1 << bits) - 1
    most = top * scale + abs(offset)
    if most > WIDE:
        return 0
    op.scale, op.offset, op.divisor, op.top = scale, offset, divisor, top
    op.by, op.minus, op.over = divisor, offset, scale
    op.most = (WIDE - abs(offset)) // divisor
    op.small = most <= EXACT
    if field.enum is not None:
        # Of other enumerations nothing is known, not even whether equal
        # codes are one object.
        if not (
            isinstance(field.enum, type)
            and issubclass(field.enum, OpenIntEnum)
            and field.enum.__int__ is int.__int__
        ):
            return 0
        members = members_by_enum.get(field.enum)
        if members is None:
            members = members_by_enum[field.enum] = Members(field.enum)
        shape.held.append(members)
        op.members = <PyObject *>members
        op.enum = <PyObject *>members.enum
        op.kind = CODE
    elif divisor == 1:
        op.kind = INT
    else:
        op.kind = FLOAT
    return 0


cdef int flatten_bits(Shape shape, Op *op, object field) except -1:
    cdef Shape inner
    cdef int index
    if not 0 < field.size <= 8 or field.type is None or len(field.fields) > 64:
        return 0
    for part in field.fields:
        if part.bit < 0 or part.size <= 0 or part.bit + part.size > 8 * field.size or part.reversed:
            return 0
    inner = make_shape(field.type, field.fields, True)
    for index in range(inner.count):
        if inner.ops[index].kind == ODD:
            return 0
    shape.held.append(inner)
    op.shape = <PyObject *>inner
    op.kind = BITS
    return 0


cdef int flatten_group(Shape shape, Op *op, object field) except -1:
    cdef Shape inner
    if field.size == 0 or field.type is None or field.reversed:
        raise _Uncommon("empty entries")
    if any([part.kind is GROUP_KIND or isinstance(part.count, str) for part in field.fields]):
        raise _Uncommon("nested group")
    if sum([part.size for part in field.fields]) != field.size:
        raise _Uncommon("entries of another size")
    inner = make_shape(field.type, field.fields, False)
    shape.held.append(inner)
    op.shape = <PyObject *>inner
    op.kind = GROUP
    if isinstance(field.count, str):
        op.count = TO_THE_END if field.count == REMAINING else BY_FIELD
    else:
        if field.count < 0:
            raise _Uncommon("count")
        op.count = field.count
    return 0


cdef object find_slots(object cls, tuple names):
    """Where instances of ``cls`` have these attributes; None to go by the public calls.

    Filling slots is what the member descriptors of the class do one at a
    time; it is done only where it amounts to calling the class: a keyword-only
    Struct without garbage collection, all of whose fields are given. The
    answer is tried out before it is believed. What it gains is measured in
    benchmarks/README.md.
    """
    cdef PyTypeObject *type_
    if type(cls) is not type(msgspec.Struct) or len(set(names)) != len(names):
        return None
    if set(names) != set(cls.__struct_fields__) or not names:
        return None
    for special in ("__getattribute__", "__init__", "__new__"):
        if getattr(cls, special) is not getattr(msgspec.Struct, special):
            return None
    if getattr(cls, "__getattr__", None) is not None:
        return None
    type_ = <PyTypeObject *>cls
    if not evproto_is_simple(type_):
        return None
    slots = []
    for name in names:
        descriptor = None
        for base in cls.__mro__:
            if name in base.__dict__:
                descriptor = base.__dict__[name]
                break
        offset = evproto_slot(descriptor, type_)
        if offset < 0:
            return None
        slots.append(offset)
    probe = evproto_allocate(type_)
    marks = [object() for _ in names]
    for offset, mark in zip(slots, marks):
        put(probe, offset, mark)
    if all([getattr(probe, name) is mark for name, mark in zip(names, marks)]):
        return slots
    return None


cdef int put(object target, Py_ssize_t offset, object value) except -1:
    cdef PyObject **slot = <PyObject **>(<char *><PyObject *>target + offset)
    if slot[0] is not NULL:
        return 0
    Py_INCREF(value)
    slot[0] = <PyObject *>value
    return 0
