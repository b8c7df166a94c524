"""The Genesys side, tested without any server of ours."""
