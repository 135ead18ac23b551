"""A slow, obvious reader of ClickHouse's Native format, written from its documentation.

Source: https://clickhouse.com/docs/interfaces/formats/Native, read 2026-11-20.
"""

import re
import struct

FIXED = {
    "UInt8": "B",
    "UInt16": "H",
    "UInt32": "I",
    "UInt64": "Q",
    "Int8": "b",
    "Int32": "i",
    "Int64": "q",
}


def read_block(data):
    """Return (column names, column types, rows as dicts) of one block that must fill `data`."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def text():
        nonlocal at
        size = varint()
        at += size
        return bytes(data[at - size : at]).decode()

    def plain(code, count):
        nonlocal at
        size = struct.calcsize("<" + code)
        values = [
            struct.unpack_from("<" + code, data, at + size * number)[0] for number in range(count)
        ]
        at += size * count
        return values

    def column(kind, count):
        if kind in FIXED:
            return plain(FIXED[kind], count)
        if kind.startswith("DateTime64(9"):
            return plain("q", count)
        if kind.startswith("Enum8("):
            names = {int(value): name for name, value in re.findall(r"'(\w+)' = (-?\d+)", kind)}
            return [names[value] for value in plain("b", count)]
        inner = re.fullmatch(r"Array\((\w+)\)", kind)
        ends = plain("Q", count)
        values = column(inner[1], ends[-1] if ends else 0)
        return [values[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    columns, rows = varint(), varint()
    names, kinds, values = [], [], []
    for _ in range(columns):
        names.append(text())
        kinds.append(text())
        values.append(column(kinds[-1], rows))
    assert at == len(data), f"{len(data) - at} bytes left over"
    return names, kinds, [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]
