//! imgxfer
fn main() {}
