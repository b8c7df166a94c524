"""The checks, with one module for each subject. `catalogue` lists all of them in order."""
