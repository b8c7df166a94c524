"""Tests of `pipecat_genesys.auth`; requests are signed by hand here, as RFC 9421 says."""
