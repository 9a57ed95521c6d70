//! The migration machine; no I/O.
