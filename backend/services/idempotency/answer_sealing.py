"""Seals the stored answers to requests with an idempotency key, and opens them.

An answer is sealed like a secret's value, under a key for answers. Such a key is wrapped under a
master key as if it were the key of a project with the id 0, which no project has. The additional
data are those of a secret but for the name and version: the purpose is `answer`, and one field has
the MAC that the answer is stored under, and the time at which it was stored.

What is sealed are lines that end with LF: the status, the hash of the request in hexadecimal, what
the token was allowed to do as JSON, the headers, and an empty line; after them comes the body.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Self

from backend.crypto.envelope import StoredProjectKey
from backend.crypto.project_cipher import ProjectCipher
from backend.crypto.vault import Vault
from backend.errors import SecretUnreadable
from backend.repositories import Repositories
from backend.repositories.stored_answer_repository import AnswerKey, StoredAnswer

OWN_PROJECT = 0
"""The id that stands for the installation itself, in the place of a project's."""
PURPOSE = "answer"


class Answer(NamedTuple):
    """What a client gets for a request."""

    status: int
    headers: list[tuple[bytes, bytes]]
    """All but those that every answer has, such as the length and the request's id."""
    body: bytes


@dataclass(frozen=True, slots=True)
class Rights:
    """What a request's token was allowed to do."""

    scopes: frozenset[str]
    project_ids: frozenset[int] | None
    """The projects that it was bound to; `None` for all."""
    text: bytes
    """Both as JSON."""

    @classmethod
    def of_text(cls, text: bytes) -> Self:
        """The rights with this text."""
        scopes, project_ids = json.loads(text)
        bound = frozenset(project_ids) if project_ids is not None else None
        return cls(frozenset(scopes), bound, text)


@lru_cache(maxsize=1024)
def rights_of(scopes: frozenset[str], project_ids: frozenset[int] | None) -> Rights:
    """The rights of a token."""
    bound = sorted(project_ids) if project_ids is not None else None
    text = json.dumps([sorted(scopes), bound], separators=(",", ":")).encode()
    return Rights(scopes, project_ids, text)


class SealedAnswer(NamedTuple):
    """What is sealed of an answer."""

    answer: Answer
    request: bytes
    """The hash of the request."""
    rights: Rights


class AnswerSealing:
    """Seals and opens answers inside transactions."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def current_key(self, repositories: Repositories) -> AnswerKey:
        """The key for new answers, created if there is none that can be used."""
        key = await repositories.answers.current_key()
        if key is not None:
            if self._vault.can_unwrap(as_project_key(key)):
                return key
            # Another program has changed it.
            await repositories.answers.retire(key.id)
        return await self.new_key(repositories)

    async def new_key(self, repositories: Repositories) -> AnswerKey:
        """Create the current key. The one before must be retired."""
        id = await repositories.answers.next_key_id()
        key = AnswerKey(id, self._vault.new_project_key(OWN_PROJECT, id).wrapped)
        await repositories.answers.add_key(key, self._vault.current_master_key_id)
        return key

    def seal(self, key: AnswerKey, key_mac: bytes, now: str, sealed: SealedAnswer) -> bytes:
        """The bytes to store for an answer. Raises `SecretUnreadable` when the key can't be
        unwrapped."""
        status, headers, body = sealed.answer
        data = b"%d\n%b\n%b\n%b\n%b" % (
            status,
            sealed.request.hex().encode(),
            sealed.rights.text,
            b"".join([b"%b:%b\n" % header for header in headers]),
            body,
        )
        return self._cipher(key).seal_bytes(_bound(key_mac, now), data, PURPOSE)

    def open(self, stored: StoredAnswer) -> SealedAnswer:
        """What is sealed in a row. Raises `SecretUnreadable`."""
        head, _, body = self._data(stored).partition(b"\n\n")
        status, request, rights, *lines = head.split(b"\n")
        headers = [(name, value) for name, _, value in (line.partition(b":") for line in lines)]
        answer = Answer(int(status), headers, body)
        return SealedAnswer(answer, bytes.fromhex(request.decode()), Rights.of_text(rights))

    def is_readable(self, stored: StoredAnswer) -> bool:
        """Whether `open` would return an answer."""
        try:
            self._data(stored)
        except SecretUnreadable:
            return False
        return True

    def sealed_anew(self, stored: StoredAnswer, key: AnswerKey) -> bytes | None:
        """The same answer sealed under another key; `None` when it can't be read."""
        try:
            data = self._data(stored)
        except SecretUnreadable:
            return None
        bound = _bound(stored.key_mac, stored.created_at)
        return self._cipher(key).seal_bytes(bound, data, PURPOSE)

    def _data(self, stored: StoredAnswer) -> bytes:
        bound = _bound(stored.key_mac, stored.created_at)
        return self._cipher(stored.key).open_bytes(bound, stored.sealed, PURPOSE)

    def _cipher(self, key: AnswerKey) -> ProjectCipher:
        return self._vault.project(as_project_key(key))


def as_project_key(key: AnswerKey) -> StoredProjectKey:
    """The vault's view of a key's row."""
    return StoredProjectKey(key.id, OWN_PROJECT, key.wrapped)


def _bound(key_mac: bytes, created_at: str) -> bytes:
    return key_mac + created_at.encode()
