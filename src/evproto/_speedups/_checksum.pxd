from libc.stdint cimport uint8_t, uint16_t

cdef uint16_t crc16(const uint8_t *data, Py_ssize_t size, uint16_t crc) noexcept nogil
