//! The one-machine stack: run and demo.
