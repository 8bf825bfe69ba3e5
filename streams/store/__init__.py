"""The only code that knows Redis: keys, the store protocol and its two implementations."""
