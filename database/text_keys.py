"""Keys for comparing and searching texts, independent of case and Unicode normal form."""

from unicodedata import normalize


def text_key(text: str) -> str:
    """The same key for texts that differ only in case or in canonically equivalent characters.

    For example, `é` has two forms in Unicode, and macOS writes the less common one.
    """
    if text.isascii():
        return text.casefold()
    # Decomposed first, as Unicode's canonical caseless matching requires.
    return normalize("NFC", normalize("NFD", text).casefold())
