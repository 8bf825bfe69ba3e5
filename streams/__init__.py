"""The recommender: a pure core, the store, and the Faust topology around them (docs/architecture.md)."""
