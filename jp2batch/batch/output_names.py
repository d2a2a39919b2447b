"""Names of the results of items, kept as hashes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jp2batch.batch.deduplicate import ItemIds
from jp2batch.batch.key_table import GrowingArray, Keys, KeyTable, key_of
from jp2batch.core.errors import InvalidRequest
from jp2batch.core.request import Request


@dataclass(frozen=True, slots=True)
class Name:
    """Name of the result of an item, and its request."""

    name: str
    """Name of its file, group or line."""
    digest: str
    """Digest of its request."""
    is_own: bool
    """True if the id is the digest of the request."""


class OutputNames:
    """Names of the results of all items yet, as hashes.

    The name of a line is its id, which is in `ids`. Others are kept in lower case: some file systems ignore case.
    """

    def __init__(self, ids: ItemIds) -> None:
        self._ids = ids
        self._places, self._digests = KeyTable(), GrowingArray([("digest", np.int64)])

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self._ids or self._places.get(key_of(name.lower())) >= 0)

    def has_ids(self, ids: Keys) -> NDArray[np.bool_]:
        """Return whether items have these ids."""
        return self._ids.have(ids)

    def agree(self, records: NDArray[np.void]) -> NDArray[np.bool_]:
        """Return whether the outputs of records are of no other request."""
        places = self._places.find(records["folded"])
        is_free = places < 0
        return is_free | (self._digests.rows["digest"][places] == records["digest"]) if len(self._digests) else is_free

    def claim_recorded(self, records: NDArray[np.void]) -> NDArray[np.bool_]:
        """Keep the outputs of records; return which are of no other request."""
        keys, firsts = np.unique(records["folded"], return_index=True)
        is_new = self._places.find(keys) < 0
        new = records[firsts[is_new]]
        self._places.put(new["folded"], np.arange(len(new)) + len(self._digests))
        self._digests.extend(len(new))["digest"] = new["digest"]
        return self.agree(records)

    def claim(self, item: Request, name: Name) -> None:
        """Keep the name of an item.

        Raises
        ------
        InvalidRequest
            It is also the name of another request.
        """
        if name.name == item.id:
            return
        key, digest = key_of(name.name.lower()), key_of(name.digest)
        place = self._places.get(key)
        if place < 0:
            self._places.set(key, self._digests.append(digest))
        elif self._digests.rows["digest"][place] != digest:
            problem = f"its output {name.name} is also that of another request"
            raise InvalidRequest(item.shown_path, problem, "give it another id")
