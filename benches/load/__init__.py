"""Load tests: simulated calls against several servers on one core. See README.md."""

SERVERS = (
    "documented",
    "tuned",
    "tuned-200ms",
    "tuned-lean",
    "ours-stock",
    "ours-transport",
    "ours-transport-telephone-vad",
)
"""Names of the servers, as in `configurations.CONFIGURATIONS`."""

COMPARED_SERVERS = (
    "tuned",
    "tuned-200ms",
    "ours-stock",
    "ours-transport",
    "ours-transport-telephone-vad",
)
"""The servers that are tested by default."""

QUICK_ECHO_SERVERS = ("tuned-200ms", "ours-transport")
"""The servers that a quick load test tests with the echo bot."""

LOOPS = ("asyncio", "uvloop")
"""Names of the event loops."""

BOTS = ("echo", "working")
"""Names of the bots."""

API_KEY = "load"
CLIENT_SECRET = "YW4gb3JkaW5hcnkgY2xpZW50IHNlY3JldA=="
"""Credentials of the soak: its callers sign their requests with them."""


def is_tested(server: str, bot: str) -> bool:
    """Return whether a server differs from the others with a bot."""
    return bot == "working" or server != "ours-transport-telephone-vad"
