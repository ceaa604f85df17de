"""Secret: a string that will not print."""

MASK = "[secret]"


class Secret:
    """A string that will not print; `reveal` is the only way to it."""

    __slots__ = ("_value", "origin")

    def __init__(self, value: str, origin: str = "") -> None:
        self._value = value
        self.origin = origin
        """What it was computed from, as expressions name it: `secrets.token`."""

    def reveal(self) -> str:
        """The string itself: only at the very edge where it is used."""
        return self._value

    def __repr__(self) -> str:
        return MASK

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a secret is never pickled")
