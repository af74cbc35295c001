"""What all resources are built on."""

from strongroom._async.transport import Transport


class Resource:
    """The calls of one kind of resource."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
