"""Tests of `pipecat_genesys.auth`. `signing.py` signs the requests according to RFC 9421."""
