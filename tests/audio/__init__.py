"""The native audio core, against models that share nothing with it."""
