"""What is in deploy/, run for real or rendered. `cluster` is a small installation of it."""
