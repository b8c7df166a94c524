"""The Genesys client without I/O: no socket and no clock.

`GenesysClientSession` is one call. Server messages and the time go in; client messages and events
come out. This package may import `protocol.types`, and nothing else of `simulator`: the modules
beside it drive a session and depend on it.
"""

from .session import GenesysClientSession

__all__ = ["GenesysClientSession"]
