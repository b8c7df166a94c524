"""How many calls a core holds: the simulator's calls against several servers. See the README."""

KINDS = (
    "documented",
    "tuned",
    "tuned-200ms",
    "tuned-lean",
    "ours-stock",
    "ours-transport",
)
"""The servers, as in `bots.SERVERS`."""

ON_UVLOOP = tuple(f"{kind}+uvloop" for kind in KINDS)
"""The same on another event loop."""

ECHO_FROM = 2.0
"""How much of the caller the bot hears before it says what it hears, in seconds."""

API_KEY = "load"
CLIENT_SECRET = "YW4gb3JkaW5hcnkgY2xpZW50IHNlY3JldA=="
"""What the soak's callers sign with."""
