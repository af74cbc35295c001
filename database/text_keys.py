"""Texts as they are compared and searched: without regard to case and to forms of Unicode."""

from unicodedata import normalize


def text_key(text: str) -> str:
    """The same key for texts that differ by case or by canonically equivalent characters only.

    `é` has two forms in Unicode, and macOS writes the one that others don't.
    """
    if text.isascii():
        return text.casefold()
    # Decomposed first, as Unicode's canonical caseless matching asks for.
    return normalize("NFC", normalize("NFD", text).casefold())
