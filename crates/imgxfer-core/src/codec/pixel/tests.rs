//! Whole payloads: every shape of pixel data, both ways, on every path.
