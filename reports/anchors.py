"""Where the row of a cell stands in the page, so that charts and the first screen can lead to it."""

import hashlib


def cell_anchor(table: str, run: str, cell: str) -> str:
    """An id of that row: short, since a page has many, and of letters that an address can have."""
    digest = hashlib.blake2s(f"{run}\n{cell}".encode("utf-8", errors="replace"), digest_size=5)
    return f"{table}-{digest.hexdigest()}"
