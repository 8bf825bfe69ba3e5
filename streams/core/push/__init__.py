"""Which interest changes become a notification, as pure functions of plain values (docs/push.md)."""
