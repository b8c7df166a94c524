"""Tests of the simulator of Genesys Cloud."""
