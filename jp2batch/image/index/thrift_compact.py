"""Structs in thrift's compact protocol, as in Parquet's footers and page headers.

pyarrow reads them as well, but takes any amount of memory for pages, and ends the process at some damaged footers.
"""

from typing import Any

_DEEPEST = 12  # nested values
_LONGEST_NUMBER = 10  # bytes


class ThriftReader:
    """Reader of structs: dicts by the numbers of their fields.

    Parameters
    ----------
    data : bytes
        Bytes with structs.
    position : int
        Where the first begins.
    most : int
        Largest number of values.
    """

    def __init__(self, data: bytes, position: int, most: int) -> None:
        self._data, self.position, self._left = data, position, most

    def read_struct(self, depth: int = 0) -> dict[int, Any]:
        """Return the fields of the next struct.

        Raises
        ------
        ValueError
            It is malformed, or has too many values.
        """
        fields: dict[int, Any] = {}
        number = 0
        while header := self._byte():
            step, kind = header >> 4, header & 0xF
            number = number + step if step else self._signed()
            fields[number] = kind == 1 if kind in (1, 2) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        self._left -= 1
        if self._left < 0 or depth > _DEEPEST:
            raise ValueError("it has too many values")
        match kind:
            case 3:
                return self._byte()
            case 4 | 5 | 6:
                return self._signed()
            case 7:
                return self._bytes(8)
            case 8:
                return self._bytes(self._number())
            case 9 | 10:
                return self._list(depth)
            case 12:
                return self.read_struct(depth + 1)
        raise ValueError(f"it has a field of type {kind}")

    def _list(self, depth: int) -> list[Any]:
        header = self._byte()
        count, kind = header >> 4, header & 0xF
        count = self._number() if count == 0xF else count
        if count > self._left:
            raise ValueError("it has too many values")
        return [self._value(3 if kind in (1, 2) else kind, depth + 1) for _ in range(count)]

    def _byte(self) -> int:
        if self.position >= len(self._data):
            raise ValueError("it is cut short")
        byte = self._data[self.position]
        self.position += 1
        return byte

    def _bytes(self, size: int) -> bytes:
        self.position += size
        if self.position > len(self._data):
            raise ValueError("it is cut short")
        return self._data[self.position - size : self.position]

    def _number(self) -> int:
        number = 0
        for place in range(_LONGEST_NUMBER):
            byte = self._byte()
            number |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                return number
        raise ValueError("it has too long a number")

    def _signed(self) -> int:
        number = self._number()
        return number >> 1 ^ -(number & 1)
