"""The checks, by subject. Each module defines some; `catalogue` puts them in order."""
