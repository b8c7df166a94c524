"""Load tests: the simulator's calls against several servers on one core. See README.md."""

SERVERS = (
    "documented",
    "tuned",
    "tuned-200ms",
    "tuned-lean",
    "ours-stock",
    "ours-transport",
)
"""Names of the servers, as in `configurations.CONFIGURATIONS`."""

SERVERS_ON_UVLOOP = tuple(f"{server}+uvloop" for server in SERVERS)
"""Names of the same servers on uvloop's event loop."""

ECHO_START_SECONDS = 2.0
"""Caller audio that the bot receives before it starts to echo, in seconds."""

API_KEY = "load"
CLIENT_SECRET = "YW4gb3JkaW5hcnkgY2xpZW50IHNlY3JldA=="
"""Credentials of the soak: its callers sign their requests with them."""
