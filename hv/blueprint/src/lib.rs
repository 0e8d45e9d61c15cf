//! The compiled system description that EL2 indexes.
