"""The Genesys client without I/O: no socket and no clock.

`GenesysClientSession` is one call. It takes server messages and the time, and returns client
messages and events. This package imports no other module of `simulator`, because the other modules
depend on this package.
"""

from .session import GenesysClientSession

__all__ = ["GenesysClientSession"]
