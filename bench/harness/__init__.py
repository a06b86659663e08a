"""The parts of ./dev bench: what is measured, against what, how, and how it is told."""
