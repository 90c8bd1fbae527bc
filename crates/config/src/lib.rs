//! Every config key: its type, default, bounds and documentation; server.properties files.
