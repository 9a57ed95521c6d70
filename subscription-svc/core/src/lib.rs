//! The access decision, the tier rules and the tier-change machine; no I/O.
