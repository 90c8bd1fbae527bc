//! The node: listeners, handlers, fetchers, the controller loop.
