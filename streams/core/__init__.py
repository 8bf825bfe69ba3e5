"""Pure: plain values in, plain values out. No I/O, no clock, no randomness, no Settings; the linter enforces it."""
