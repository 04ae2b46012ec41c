//! Directives: the table of rows, parsing, CONFIG GET, SET and REWRITE.
