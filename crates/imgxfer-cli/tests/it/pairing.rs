//! `imgxfer pair`.
