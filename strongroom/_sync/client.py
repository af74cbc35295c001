# Made of strongroom/_async by `make schema`: change it there.
"""The client itself: where it sends its calls, and its resources."""

import ssl
from types import TracebackType
from typing import Self

import httpx

from strongroom._options import (
    DEFAULT_LIMITS,
    DEFAULT_RETRIES,
    DEFAULT_TIMEOUT,
    no_cookies,
    options,
    tls,
)
from strongroom._sync.agent_runs import AgentRuns
from strongroom._sync.audit import Audit
from strongroom._sync.backups import Backups
from strongroom._sync.configuration import Configuration
from strongroom._sync.events import Events
from strongroom._sync.keys import Keys
from strongroom._sync.logs import Logs
from strongroom._sync.messages import Messages
from strongroom._sync.pipeline_states import PipelineStates
from strongroom._sync.projects import Projects
from strongroom._sync.secrets import Secrets
from strongroom._sync.snapshots import Snapshots
from strongroom._sync.system import System
from strongroom._sync.test_results import TestResults
from strongroom._sync.tokens import Tokens
from strongroom._sync.transport import Transport
from strongroom._sync.webhooks import Webhooks


class Client:
    """The synchronous client of a service.

    `url` and `token` are by default those in `STRONGROOM_URL` and `STRONGROOM_TOKEN`. `timeout` is
    the seconds of a call, with all that it is sent again; None for no limit. `max_retries` is how
    often a request is sent again. `limits` are those of connections. `verify` is False or a context
    for certificates that the system does not know. `transport` replaces the network, as in httpx.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        max_retries: int = DEFAULT_RETRIES,
        limits: httpx.Limits = DEFAULT_LIMITS,
        verify: ssl.SSLContext | bool = True,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        given = options(url, token, timeout=timeout, max_retries=max_retries)
        self._http = httpx.Client(
            headers=given.headers,
            limits=limits,
            verify=tls(given.url, verify),
            transport=transport,
            timeout=timeout,
            cookies=no_cookies(),
        )
        self._transport = Transport(self._http, given)
        self.projects = Projects(self._transport)
        self.configuration = Configuration(self._transport)
        self.secrets = Secrets(self._transport)
        self.agent_runs = AgentRuns(self._transport)
        self.pipeline_states = PipelineStates(self._transport)
        self.messages = Messages(self._transport)
        self.test_results = TestResults(self._transport)
        self.snapshots = Snapshots(self._transport)
        self.webhooks = Webhooks(self._transport)
        self.logs = Logs(self._transport)
        self.events = Events(self._transport)
        self.tokens = Tokens(self._transport)
        self.audit = Audit(self._transport)
        self.keys = Keys(self._transport)
        self.backups = Backups(self._transport)
        self.system = System(self._transport)

    @property
    def url(self) -> str:
        """The base URL, without a slash at the end."""
        return self._transport.options.url

    def close(self) -> None:
        """Close all connections. The client can't be used any more."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        # The token is shown nowhere.
        return f"{type(self).__name__}({self.url!r})"
