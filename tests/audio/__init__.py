"""Tests of the native audio core against models that share no code with it."""
