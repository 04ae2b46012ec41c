//! Pure functions over bytes and numbers: hashes, checksums, patterns, number texts.
