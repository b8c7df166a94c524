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
"""The client secret with which the callers of the soak sign their requests."""


def is_tested(server: str, bot: str) -> bool:
    """Return whether a server is tested with a bot.

    A server that differs only in voice activity detection is not tested with the echo bot.
    """
    return bot == "working" or server != "ours-transport-telephone-vad"
