//! Commands: the shape of a row, the families, and the table that joins them.

pub mod docs;
pub mod row;
