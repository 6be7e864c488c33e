//! `imgxfer demo`.
