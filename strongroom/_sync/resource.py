# Made of strongroom/_async by `make schema`: change it there.
"""What all resources are built on."""

from strongroom._sync.transport import Transport


class Resource:
    """The calls of one kind of resource."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
