//! The cases in `tests/ui` need no code but what they use.
