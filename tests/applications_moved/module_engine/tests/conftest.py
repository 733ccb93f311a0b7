"""The fixtures of the harness will do."""
