"""The push worker: interest changes in, at most a few explained notifications out, exactly once (docs/push.md)."""
